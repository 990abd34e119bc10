"""What the rule for answers lets through is a list of keywords that needs no repair, in any script."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.summarize.constraint import KeywordRule
from mmsrarec.summarize.keywords import parse_answer
from mmsrarec.testing import TinyPicture
from mmsrarec.testing.tiny_models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
STOP = TOKENIZER.eos_token_id
RULES = {limit: KeywordRule(TOKENIZER, [STOP], limit=limit) for limit in (1, 2, 8)}
FAMILIES = ["tiny_llama", "tiny_llava", "tiny_qwen", "tiny_smolvlm"]


def write(text: str, limit: int = 8) -> tuple[str, bool]:
    """Push a text as far as the rule lets it; returns what was written and whether it may stop there."""
    state = RULES[limit].start()
    written: list[int] = []
    for token in TOKENIZER.encode(text):
        if state.finished or not state.allowed[token]:
            break
        state.push(token)
        written.append(token)
    return TOKENIZER.decode(written), bool(state.finished or state.allowed[STOP])


def unrepairable(text: str) -> bool:
    """Bytes can spell what is no letter, and a random model can write the prompt's own word for keywords."""
    return "keyword" in text or not text.isprintable() or not any(map(str.isalnum, text))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 8]))
@settings(max_examples=150)
@example(523, 1)
def test_any_answer_the_rule_allows_is_a_list_that_needs_no_repair(seed: int, limit: int) -> None:
    generator = np.random.default_rng(seed)
    rule = RULES[limit]
    state, written = rule.start(), []
    for _ in range(40):
        choices = np.flatnonzero(state.allowed.numpy())
        assert len(choices)
        token = int(generator.choice(choices))
        if token == STOP:
            break
        state.push(token)
        written.append(token)
        if state.finished:
            break
    text = TOKENIZER.decode(written)
    answer = parse_answer(text, limit=limit, cut_short=token != STOP)
    assert not answer.repaired or unrepairable(text), text
    assert len(answer.keywords) <= limit


@pytest.mark.parametrize(
    "answer",
    [
        "red lamp, cosy knitwear, 80s",
        "コメディ、犬、Москва",
        "R&B, sci-fi, rock'n roll",
        "हिन्दी, می\u200cخواهم, café",
    ],
)
def test_lists_in_any_script_come_through_unchanged(answer: str) -> None:
    assert write(answer) == (answer, True)


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        ("Keywords: red", "Keywords"),
        ("red lamp\nThe", "red lamp"),
        (", red", ""),
        ("- red", ""),
        ("a b c d e", "a b c d"),
        ("red,, lamp", "red,"),
        ("red (dark)", "red"),
        ("<|im_start|>red", ""),
    ],
)
def test_what_is_no_list_of_keywords_cannot_be_written(answer: str, written: str) -> None:
    assert write(answer)[0].rstrip() == written


def test_a_list_has_an_end() -> None:
    assert write("a, b, c", limit=2) == ("a, b", True)
    assert len(write("x" * 100)[0]) <= 48
    # The second "lamp" is told by the comma behind it; nothing comes after.
    assert write("lamp, red, lamps, blue") == ("lamp, red, lamps,", True)
    # A separator that is spelled by its bytes counts like one that is a token.
    assert write("犬、猫、鳥", limit=2)[0].rstrip("\ufffd") == "犬、猫"
    assert write("犬、猫、犬、鳥") == ("犬、猫、犬、", True)


def test_an_unfinished_character_is_finished_first() -> None:
    state = RULES[8].start()
    head, *rest = TOKENIZER.encode("犬")
    state.push(head)
    assert rest
    assert not state.allowed[STOP]
    assert not state.allowed[TOKENIZER.encode("a")[0]]
    for token in rest:
        assert state.allowed[token]
        state.push(token)
    assert state.allowed[STOP]


@pytest.mark.filterwarnings("ignore:backbone")
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_answers_by_the_rule(name: str, request: pytest.FixtureRequest) -> None:
    backbone: Backbone = request.getfixturevalue(name)
    rule = KeywordRule(backbone.tokenizer, backbone.stop_ids, limit=3)
    prompts = [
        Prompt(("what is it?", TinyPicture((200, 0, 0)))),
        Prompt(("short",)),
        Prompt(("a red lamp " * 5,)),
    ]
    for temperature in (0.0, 1.5):
        for text in backbone.generate(prompts * 4, max_new_tokens=12, rule=rule, temperature=temperature):
            answer = parse_answer(text, limit=3, cut_short=True)
            assert not answer.repaired or unrepairable(text), text
            assert len(answer.keywords) <= 3
