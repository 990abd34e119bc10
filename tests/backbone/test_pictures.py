from __future__ import annotations

import numpy as np
import pytest
import torch

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone.forward import embed, picture_features
from mmsrarec.backbone.pictures import RecentlyUsed
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture, tiny_llava, tiny_qwen

PICTURES = [TinyPicture((index * 20, 90, 10), (40 + 12 * index, 60)) for index in range(5)]
FAMILIES = ["tiny_llava", "tiny_qwen", "tiny_smolvlm"]


@pytest.mark.parametrize("name", FAMILIES)
def test_embeddings_are_those_of_the_models_own_forward_pass(
    name: str, request: pytest.FixtureRequest
) -> None:
    backbone = request.getfixturevalue(name)
    encoded = backbone.encode([Prompt(("a ", *PICTURES[:3])), Prompt(("longer text", PICTURES[1]))])
    batch = backbone.collate(encoded)
    seen = {}

    def keep(module: torch.nn.Module, arguments: tuple, named: dict) -> None:
        seen["embeddings"] = named["inputs_embeds"]

    hook = backbone.inner.get_decoder().register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad():
            backbone.hf(**batch)
            ours = embed(backbone, batch["input_ids"], [picture for one in encoded for picture in one.images])
    finally:
        hook.remove()
    torch.testing.assert_close(ours, seen["embeddings"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_picture_goes_through_the_tower_once(name: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(name)
    backbone.features.clear()
    tower = getattr(backbone.inner, backbone.family.vision_parts[0])
    calls = []
    hook = tower.register_forward_pre_hook(lambda *arguments: calls.append(1))
    try:
        prompts = [Prompt(("history", PICTURES[0], "candidate ", picture)) for picture in PICTURES[:3] * 2]
        first = backbone.first_token_probability(prompts)
        ran = len(calls)
        assert 1 <= ran <= 3
        np.testing.assert_array_equal(backbone.first_token_probability(prompts), first)
        backbone.mean_nll(prompts, ["x"] * len(prompts))
        assert len(calls) == ran
    finally:
        hook.remove()


def test_features_follow_the_towers_weights() -> None:
    backbone = Backbone.load(tiny_llava())
    before = picture_features(backbone, PICTURES[:1])[0]
    with torch.no_grad():
        backbone.inner.multi_modal_projector.linear_2.weight.mul_(2.0)
    after = picture_features(backbone, PICTURES[:1])[0]
    assert not torch.equal(before, after)


def test_a_tower_in_training_gets_gradients() -> None:
    backbone = Backbone.load(tiny_llava())
    frozen = picture_features(backbone, PICTURES[:1])[0]
    assert not frozen.requires_grad
    backbone.inner.multi_modal_projector.requires_grad_(True)
    (made,) = picture_features(backbone, PICTURES[:1])
    made.sum().backward()
    assert backbone.inner.multi_modal_projector.linear_1.weight.grad is not None
    torch.testing.assert_close(made.detach(), frozen)


def test_what_was_not_used_for_longest_goes_first() -> None:
    kept: RecentlyUsed[str] = RecentlyUsed(6, len)
    for word in ("aa", "bb", "cc"):
        kept.put(word, word)
    assert kept.get("aa") == "aa"
    kept.put("dd", "dd")
    assert [kept.get(word) for word in ("aa", "bb", "cc", "dd")] == ["aa", None, "cc", "dd"]
    kept.put("aa", "a")
    kept.put("e", "e")
    assert len(kept) == 4
    kept.put("long", "longer than the limit")
    assert len(kept) == 1
    kept.clear()
    assert len(kept) == 0


def test_a_picture_that_the_processor_refuses_is_named() -> None:
    backbone = Backbone.load(tiny_qwen())
    with pytest.raises(InputError, match="of 4000x4 pixels cannot be used"):
        backbone.encode([Prompt((TinyPicture((1, 2, 3), (4000, 4)),))])
