from __future__ import annotations

import warnings

import pytest
import torch

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone.batching import length_sorted_batches
from mmsrarec.backbone.encoding import _collate_extra, _joined
from mmsrarec.backbone.families import _FAMILIES
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture, tiny_llama, tiny_llava

RED, WIDE = TinyPicture((200, 0, 0)), TinyPicture((0, 0, 200), (90, 40))
FAMILIES = ["tiny_llava", "tiny_qwen", "tiny_smolvlm"]


@pytest.mark.parametrize("name", FAMILIES)
def test_spans_hold_a_pictures_tokens_and_nothing_else(name: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(name)
    one = backbone.encode([Prompt(("a ", RED, " b ", WIDE, RED))])[0]
    assert one.images == (RED, WIDE, RED)
    for picture, (start, end) in zip(one.images, one.image_spans, strict=True):
        assert torch.equal(one.input_ids[start:end], backbone.reader.expansion(picture).input_ids)
    assert (one.input_ids[one.image_spans[0][1] : one.image_spans[1][0]] != backbone.image_token_id).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_holds_what_the_processor_makes_of_it(name: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(name)
    prompts = [Prompt(("a ", RED, " and ", WIDE)), Prompt(("only text",)), Prompt((WIDE, "?"))]
    texts = [backbone.chat.render(prompt) for prompt in prompts]
    if name == "tiny_qwen":
        images = [picture.load() for prompt in prompts for picture in prompt.pictures]
    else:
        images = [[picture.load() for picture in prompt.pictures] for prompt in prompts]
    expected = backbone.processor(
        text=texts, images=images, padding=True, padding_side="left", return_tensors="pt"
    )
    made = backbone.collate(backbone.encode(prompts), side="left")
    assert set(expected) == set(made)
    for key, value in expected.items():
        assert torch.equal(made[key].float(), value.float()), key


def test_without_an_answer_there_are_no_labels(tiny_llama: Backbone) -> None:
    encoded = tiny_llama.encode([Prompt(("a",)), Prompt(("b b b",))])
    assert [one.answer_start for one in encoded] == [len(one) for one in encoded]
    batch = tiny_llama.collate(encoded)
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["attention_mask"].sum(1).tolist() == [len(one) for one in encoded]


def test_pictures_of_a_text_only_model_are_dropped_with_one_warning() -> None:
    backbone = Backbone.load(tiny_llama())
    with pytest.warns(UserWarning, match="reads text only") as caught:
        made = backbone.encode([Prompt(("a", RED, "b")), Prompt((RED, "c"))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.encode([Prompt((RED, "d"))])
    assert len(caught) == 1
    assert torch.equal(made[0].input_ids, backbone.encode([Prompt(("ab",))])[0].input_ids)


def test_a_picture_is_read_once(tiny_llava: Backbone) -> None:
    class Counted(TinyPicture):
        loads = 0

        def load(self):
            Counted.loads += 1
            return super().load()

    picture = Counted((1, 2, 3))
    tiny_llava.encode([Prompt((RED,)), Prompt((picture,))])
    assert Counted.loads == 0  # all pictures of this family are as long
    for _ in range(3):
        tiny_llava.collate(tiny_llava.encode([Prompt((picture, "a", picture))] * 2))
    assert Counted.loads == 1


def test_a_template_that_loses_pictures_is_named() -> None:
    model, processor = tiny_llava()
    processor.chat_template = processor.tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'][0]['text'] }}<|im_end|>{% endfor %}"
    )
    backbone = Backbone.load((model, processor))
    with pytest.raises(InputError, match="0 picture placeholders for 1 pictures"):
        backbone.encode([Prompt(("a", RED))])


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "idefics3"])
def test_an_unknown_family_runs_through_its_own_processor(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixture = {"llava": "tiny_llava", "qwen2_5_vl": "tiny_qwen", "idefics3": "tiny_smolvlm"}[name]
    known = request.getfixturevalue(fixture)
    monkeypatch.delitem(_FAMILIES, name)
    unknown = Backbone.load((known.hf, known.processor))
    assert unknown.family is None
    wide = WIDE if name == "llava" else RED
    prompts = [Prompt(("a ", RED, " b")), Prompt(("a ", wide, " c")), Prompt((RED, "longer than that"))]
    ours, theirs = known.encode(prompts, ["yes", "no", "no"]), unknown.encode(prompts, ["yes", "no", "no"])
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
    for key, value in known.collate(ours).items():
        assert torch.equal(value.float(), unknown.collate(theirs)[key].float()), key
    expected = known.first_token_probability(prompts, share_prefix=False)
    assert abs(unknown.first_token_probability(prompts) - expected).max() < 1e-5
    assert unknown.generate(prompts, max_new_tokens=4) == known.generate(prompts, max_new_tokens=4)
    targets = ["a b", "c", ""]
    assert abs(unknown.mean_nll(prompts, targets) - known.mean_nll(prompts, targets)).max() < 1e-4


def test_arguments_are_checked(tiny_llama: Backbone) -> None:
    with pytest.raises(InputError, match=r"write \[prompt\]"):
        tiny_llama.encode(Prompt(("a",)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="got 0 for 1"):
        tiny_llama.encode([Prompt(("a",))], [])
    with pytest.raises(InputError, match="at least one sequence"):
        tiny_llama.collate([])
    with pytest.raises(InputError, match="'left' or 'right', got 'up'"):
        tiny_llama.collate(tiny_llama.encode([Prompt(("a",))]), side="up")  # type: ignore[arg-type]
    assert tiny_llama.encode([]) == []
    assert _collate_extra([], "left") == {}


def test_batches_keep_to_the_budget() -> None:
    lengths = [5, 1, 9, 9, 2, 30, 4]
    batches = length_sorted_batches(lengths, 18)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= 18
    assert batches[0] == [5]


def test_pictures_of_an_unknown_family_are_filled_up_to_one_size() -> None:
    wide, high = torch.ones(1, 3, 4, 8), torch.ones(2, 3, 6, 5)
    joined = _joined([wide, high])
    assert joined.shape == (3, 3, 6, 8)
    assert torch.equal(joined[:1, :, :4, :8], wide)
    assert torch.equal(joined[1:, :, :6, :5], high)
    assert joined.sum() == wide.sum() + high.sum()
