from __future__ import annotations

import pytest
import torch

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture, tiny_llama

RED, BLUE = TinyPicture((200, 0, 0)), TinyPicture((0, 0, 200), (100, 40))
PROMPTS = [Prompt((RED, "what is it?")), Prompt(("a much longer prompt than " * 3, BLUE)), Prompt(("short",))]
FAMILIES = ["tiny_llama", "tiny_llava", "tiny_qwen", "tiny_smolvlm"]


@pytest.mark.filterwarnings("ignore:backbone")
@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_answers_are_those_of_transformers(name: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(name)
    ours = backbone.generate(PROMPTS, max_new_tokens=8)
    for prompt, text in zip(PROMPTS, ours, strict=True):
        inputs = backbone.collate(backbone.encode([prompt]))
        ids = backbone.hf.generate(
            **inputs, max_new_tokens=8, do_sample=False, eos_token_id=backbone.stop_ids, pad_token_id=0
        )[0, inputs["input_ids"].shape[1] :]
        assert text == backbone.tokenizer.decode(ids, skip_special_tokens=True).strip()


@pytest.mark.filterwarnings("ignore:backbone")
def test_order_comes_back_whatever_the_budget(tiny_llama: Backbone) -> None:
    whole = tiny_llama.generate(PROMPTS * 3, max_new_tokens=5)
    assert whole == tiny_llama.generate(PROMPTS * 3, max_new_tokens=5, batch_tokens=1)
    assert whole[:3] * 3 == whole
    assert tiny_llama.generate([]) == []


@pytest.mark.filterwarnings("ignore:backbone")
@pytest.mark.parametrize("name", FAMILIES)
def test_common_beginnings_reading_in_parts_and_rows_that_leave_do_not_change_answers(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = request.getfixturevalue(name)
    told = "Keywords for this text of an item that everybody knows: "
    prompts = [
        Prompt((told, "lamp " * count, *picture)) for count in (1, 9, 4, 2, 7, 3) for picture in ((RED,), ())
    ]
    monkeypatch.setattr("mmsrarec.backbone.decoding._READ_ON_A_CPU", 60)
    together = backbone.generate(prompts, max_new_tokens=12)
    assert together == [backbone.generate([prompt], max_new_tokens=12)[0] for prompt in prompts]
    lengths = {len(backbone.tokenizer(text)["input_ids"]) for text in together}
    assert len(lengths) > 1, "no answer ended before another; choose other prompts"


@pytest.mark.filterwarnings("ignore:backbone")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_rule_is_kept_by_the_models_own_generation_as_well(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = request.getfixturevalue(name)
    ids = backbone.tokenizer(["red", "lamp"], add_special_tokens=False)["input_ids"]
    permitted = torch.zeros(len(backbone.tokenizer), dtype=torch.bool)
    permitted[[token for row in ids for token in row]] = True

    class Three:
        """At most three tokens, all of them of two words."""

        def __init__(self) -> None:
            self.written = 0
            self.allowed = permitted

        @property
        def finished(self) -> bool:
            return self.written == 3

        def push(self, token: int) -> None:
            self.written += 1

        def start(self) -> Three:
            return Three()

    ours = backbone.generate(PROMPTS, max_new_tokens=8, rule=Three())
    assert all(0 < len(backbone.tokenizer(text)["input_ids"]) <= 3 for text in ours)
    monkeypatch.setattr("mmsrarec.backbone.generation.why_not_shared", lambda backbone: "no")
    assert backbone.generate(PROMPTS, max_new_tokens=8, rule=Three()) == ours


def test_the_end_of_turn_stops_an_answer() -> None:
    backbone = Backbone.load(tiny_llama())
    end = backbone.chat.end_of_turn
    ordinary = backbone.generate([Prompt(("a",))], max_new_tokens=6)[0]
    assert ordinary
    # With a bias towards the end of turn nothing else can come.
    with torch.no_grad():
        head = torch.nn.Linear(32, len(backbone.tokenizer))
        head.weight.copy_(backbone.hf.lm_head.weight)
        head.bias.zero_()
        head.bias[end] = 1e4
    backbone.hf.lm_head = head
    assert backbone.generate([Prompt(("a",)), Prompt(("b b b",))], max_new_tokens=6) == ["", ""]


def test_what_a_checkpoint_ships_does_not_change_greedy_answers() -> None:
    backbone = Backbone.load(tiny_llama())
    before = backbone.generate(PROMPTS[2:], max_new_tokens=8)
    shipped = backbone.hf.generation_config
    shipped.repetition_penalty, shipped.temperature, shipped.top_k, shipped.do_sample = 5.0, 0.1, 1, True
    assert backbone.generate(PROMPTS[2:], max_new_tokens=8) == before


def test_draws_leave_the_callers_generator_alone(tiny_llama: Backbone) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    drawn = tiny_llama.generate(PROMPTS[2:] * 8, temperature=1.5, max_new_tokens=4)
    assert torch.equal(torch.rand(1), expected)
    assert len(set(drawn)) > 1


def test_settings_are_checked(tiny_llama: Backbone) -> None:
    with pytest.raises(InputError, match="max_new_tokens must be 1 or more, got 0"):
        tiny_llama.generate(PROMPTS, max_new_tokens=0)
    with pytest.raises(InputError, match="temperature must be 0"):
        tiny_llama.generate(PROMPTS, temperature=-1.0)


def test_progress_counts_prompts(tiny_llama: Backbone, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("mmsrarec.progress.LINE_INTERVAL_SECONDS", 0.0)
    tiny_llama.generate(PROMPTS[2:] * 3, max_new_tokens=1, progress="writing")
    assert "writing: 3/3" in capsys.readouterr().err
