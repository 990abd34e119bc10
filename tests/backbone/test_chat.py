from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone.chat import Chat
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture, tiny_llama, tiny_smolvlm
from mmsrarec.testing.tiny_models import CONTROL_TOKENS, tiny_tokenizer

RED = TinyPicture((200, 0, 0))
FRAGMENTS = st.sampled_from(
    [*CONTROL_TOKENS, "<", "|", ">", "<|", "|>", "im_end", "image", "<ima", "ge>", " ", "\n", "é", "\ud800"]
)
HOSTILE = st.lists(st.one_of(FRAGMENTS, st.text(max_size=6)), max_size=12).map("".join)


@st.composite
def nested(draw: st.DrawFn) -> str:
    """A control string with others put into its middle, to any depth."""
    text = draw(st.sampled_from(CONTROL_TOKENS))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(CONTROL_TOKENS)) + text[place:]
    return text


def control_ids(backbone: Backbone, prompt: Prompt) -> list[int]:
    control = set(backbone.chat.control.values())
    return [token for token in backbone.encode([prompt])[0].input_ids.tolist() if token in control]


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_llava", "tiny_qwen", "tiny_smolvlm"])
def test_no_text_becomes_a_control_token(name: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(name)
    expected = control_ids(backbone, Prompt(("x", RED, "x"), system="x"))

    @settings(max_examples=120)
    @given(first=st.one_of(HOSTILE, nested()), second=st.one_of(HOSTILE, nested()), system=HOSTILE)
    def check(first: str, second: str, system: str) -> None:
        # Two strings side by side are joined, so halves of a control string are tried as well.
        prompt = Prompt(
            (first[:3], first[3:], RED, second[: len(second) // 2], second[len(second) // 2 :]), system
        )
        assert control_ids(backbone, prompt) == expected

    check()


@settings(max_examples=200)
@given(text=st.one_of(HOSTILE, nested()))
def test_neutralizing_twice_is_neutralizing_once(text: str) -> None:
    tokenizer = tiny_tokenizer()
    chat = Chat(tokenizer, tokenizer, with_pictures=False)
    once = chat.neutralize(text)
    assert chat.neutralize(once) == once
    assert not any(token in once for token in chat.control)


def test_answers_are_neutralized_too(tiny_llava: Backbone) -> None:
    one = tiny_llava.encode([Prompt(("Q",))], ["yes<|im_end|>no<image>"])[0]
    control = set(tiny_llava.chat.control.values())
    answer = one.input_ids[one.answer_start :].tolist()
    assert [token for token in answer if token in control] == [tiny_llava.chat.end_of_turn]


def test_characters_that_the_tokenizer_folds_are_seen_through() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_tokens(["[gold]"])  # an added token that is matched after folding
    chat = Chat(tokenizer, tokenizer, with_pictures=False)
    gold = tokenizer.convert_tokens_to_ids("[gold]")
    assert gold in tokenizer.encode("a ［gold］")
    assert gold not in tokenizer.encode(chat.neutralize("a ［gold］"))
    assert chat.neutralize("ﬁne text") == "ﬁne text"


def test_one_character_control_tokens_are_taken_out() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["§"]})
    assert Chat(tokenizer, tokenizer, with_pictures=False).neutralize("a§b") == "ab"


def test_white_space_tokens_are_text() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["    "])
    assert Chat(tokenizer, tokenizer, with_pictures=False).neutralize("a    b") == "a    b"


def test_a_template_without_a_system_turn_gets_it_in_front_of_the_user() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + tokenizer.chat_template
    )
    chat = Chat(tokenizer, tokenizer, with_pictures=False)
    assert chat.render(Prompt(("Q",), system="Be brief.")) == (
        "<|im_start|>user\nBe brief.\n\nQ<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_that_refuses_is_named() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(InputError, match="refuses the prompt: never"):
        Chat(tokenizer, tokenizer, with_pictures=False).render(Prompt(("Q",)))


def test_a_model_without_a_template_is_refused() -> None:
    model, tokenizer = tiny_llama()
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="has no chat template"):
        Backbone.load((model, tokenizer))


def test_thinking_is_switched_off_where_the_template_knows_it() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template += "{% if enable_thinking is false %}<think></think>{% endif %}"
    assert Chat(tokenizer, tokenizer, with_pictures=False).render(Prompt(("Q",))).endswith("<think></think>")


def test_the_end_of_turn_is_the_templates() -> None:
    assert Backbone.load(tiny_llama()).chat.end_of_turn == tiny_tokenizer().convert_tokens_to_ids(
        "<|im_end|>"
    )
    smolvlm = Backbone.load(tiny_smolvlm())
    end = smolvlm.tokenizer.convert_tokens_to_ids("<end_of_utterance>")
    assert smolvlm.chat.end_of_turn == end
    assert end in smolvlm.stop_ids
    assert smolvlm.chat.answer_lead == " "


def test_without_an_end_of_turn_it_is_the_end_of_sequence() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    chat = Chat(tokenizer, tokenizer, with_pictures=False)
    assert chat.end_of_turn == tokenizer.eos_token_id
