"""The three rewards are the paper's, computed once a batch, and what games them does not pay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.errors import InputError
from mmsrarec.summarize import evaluation
from mmsrarec.summarize.keywords import ParsedAnswer, parse_answer
from mmsrarec.summarize.prompts import reconstruction_prompt
from mmsrarec.summarize.rewards import (
    KeywordScorer,
    RewardSettings,
    information_reward,
    length_reward,
    reconstruction_reward,
    reward_functions,
)
from mmsrarec.summarize.scored_batch import ScoredBatch, answer_parser

TEXTS = ["a red lamp", "a steel bottle"]
KEYWORDS = [("red", "lamp"), ("bottle",)]


def scorer(backbone: Backbone, encoder: SentenceEncoder, **settings: object) -> KeywordScorer:
    return KeywordScorer(backbone, encoder, RewardSettings(**settings))


def test_each_component_is_its_formula(tiny_llava: Backbone, tiny_encoder: SentenceEncoder) -> None:
    reward = scorer(
        tiny_llava, tiny_encoder, information=0.5, reconstruction=2.0, length=0.1, form="perplexity"
    ).score(KEYWORDS, [2, 3], TEXTS)
    embedded = tiny_encoder.encode(["red, lamp", "bottle", *TEXTS])
    cosine = (embedded[:2] * embedded[2:]).sum(axis=1)
    nll = tiny_llava.mean_nll([reconstruction_prompt(words) for words in KEYWORDS], TEXTS)
    assert reward.information.numpy() == pytest.approx(cosine, abs=1e-5)
    assert reward.reconstruction.numpy() == pytest.approx(-np.exp(nll), rel=1e-4)
    assert reward.length.tolist() == [-2.0, -3.0]
    total = 0.5 * cosine - 2.0 * np.exp(nll) - 0.1 * np.array([2, 3])
    assert reward.total.numpy() == pytest.approx(total, rel=1e-4)


def test_the_bounded_forms_order_as_the_perplexity_does(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder
) -> None:
    forms = {
        form: scorer(tiny_llava, tiny_encoder, form=form).score(KEYWORDS, [2, 1], TEXTS).reconstruction
        for form in ("perplexity", "nll", "clipped")
    }
    assert torch.allclose(forms["perplexity"], -forms["nll"].neg().exp(), rtol=1e-4)
    assert torch.equal(forms["clipped"], forms["perplexity"].clamp(min=-100.0))


def test_the_reference_is_the_base_model_whatever_adapter_is_active(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder
) -> None:
    from mmsrarec.summarize.warm_start import add_fresh_adapter, language_lora

    judge = scorer(tiny_llava, tiny_encoder)
    expected = judge.score(KEYWORDS, [2, 1], TEXTS)
    add_fresh_adapter(tiny_llava, "noisy", language_lora(tiny_llava), seed=0)
    try:
        with torch.no_grad():
            for name, parameter in tiny_llava.model.named_parameters():
                if ".noisy." in name:
                    parameter.add_(1.0)
        with tiny_llava.adapter("noisy"):
            assert torch.equal(judge.score(KEYWORDS, [2, 1], TEXTS).total, expected.total)
    finally:
        tiny_llava.remove_adapter("noisy")


def test_only_the_beginning_of_a_long_text_is_reconstructed(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder
) -> None:
    judge = scorer(tiny_llava, tiny_encoder, text_tokens=8)
    first = judge.score([("red",)], [1], ["red lamp " * 20])
    second = judge.score([("red",)], [1], ["red lamp " * 20 + "steel bottle " * 20])
    assert first.reconstruction == second.reconstruction
    assert first.information != second.information


def test_trl_gets_three_functions_and_one_computation(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = scorer(tiny_llava, tiny_encoder)
    calls = []
    score = judge.score
    monkeypatch.setattr(judge, "score", lambda *arguments: calls.append(1) or score(*arguments))
    seen: list[ParsedAnswer] = []
    batch = ScoredBatch(judge, answer_parser(8, 4, [7]), seen.extend)
    columns = {
        "prompts": [None, None],
        "text": TEXTS,
        "completion_ids": [[1, 7], [1, 2, 3, 4]],
        "trainer_state": None,
    }
    for completions in (
        ["red, lamp", "steel, bot"],
        [[{"role": "assistant", "content": text}] for text in ("red, lamp", "steel, bot")],
    ):
        values = [reward(completions=completions, **columns) for reward in reward_functions(batch)]
        expected = score([("red", "lamp"), ()], [2, 2], TEXTS)
        assert values == [
            expected.information.tolist(),
            expected.reconstruction.tolist(),
            expected.length.tolist(),
        ]
    assert len(calls) == 1
    assert [answer.keywords for answer in seen] == [("red", "lamp"), ()]
    names = [reward.func for reward in reward_functions(batch)]
    assert names == [information_reward, reconstruction_reward, length_reward]


def test_an_answer_is_read_unless_it_filled_its_budget_without_a_stop() -> None:
    parse = answer_parser(8, 3, [7])
    assert parse("tea, mu", [1, 2, 3]) == ParsedAnswer((), written=2, repaired=True)
    assert parse("tea, mug", [1, 2, 7]).keywords == ("tea", "mug")
    assert parse("tea, mug", [1, 2]).keywords == ("tea", "mug")


def test_a_repeated_word_costs_and_gains_nothing(tiny_llava: Backbone, tiny_encoder: SentenceEncoder) -> None:
    judge = scorer(tiny_llava, tiny_encoder)
    once, often = parse_answer("red"), parse_answer("red, red, Red, reds")
    reward = judge.score(
        [once.keywords, often.keywords], [once.written, often.written], ["a red lamp"] * 2, group_size=2
    )
    assert reward.information[0] == reward.information[1]
    assert reward.total[1] < reward.total[0]
    assert reward.advantage[0] > 0 > reward.advantage[1]


def test_an_empty_answer_has_no_information(tiny_llava: Backbone, tiny_encoder: SentenceEncoder) -> None:
    reward = scorer(tiny_llava, tiny_encoder).score([(), ("red",)], [0, 1], ["a red lamp"] * 2)
    assert reward.information[0] == 0.0
    assert torch.isfinite(reward.total).all()


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(InputError, match="length must be 0 or more, got -1"):
        RewardSettings(length=-1)
    with pytest.raises(InputError, match="information"):
        RewardSettings(information=float("nan"))
    with pytest.raises(InputError, match="form must be"):
        RewardSettings(form="bleu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="text_tokens"):
        RewardSettings(text_tokens=0)


def test_measuring_shows_the_signs_of_reward_hacking(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder, contents: list
) -> None:
    judge = scorer(tiny_llava, tiny_encoder)
    some = contents[:6]
    honest = [parse_answer(f"thing {index}, colour {index}") for index in range(6)]
    copied = [parse_answer(", ".join(content.title.split())) for content in some]
    repeated = [parse_answer("sale, sale, sale, sale")] * 6
    honest_row, copied_row, generic_row = (
        evaluation.measure(answers, some, judge) for answers in (honest, copied, repeated)
    )
    assert honest_row["copied_title"] == honest_row["repeats"] == 0
    assert honest_row["most_common_list"] == pytest.approx(1 / 6)
    assert copied_row["copied_title"] == 1.0
    assert generic_row["repeats"] == 0.75
    assert generic_row["most_common_list"] == generic_row["most_common_keyword"] == 1.0
    assert generic_row["items"] == 6


def test_a_generic_list_is_seen_however_it_is_spelled(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder, contents: list
) -> None:
    spelled = [
        "action, thriller",
        "action thriller, thriller",
        "thriller, actions",
        "action thriller thriller",
    ]
    answers = [parse_answer(answer) for answer in spelled]
    row = evaluation.measure(answers, contents[:4], scorer(tiny_llava, tiny_encoder))
    assert row["most_common_list"] == 1.0
