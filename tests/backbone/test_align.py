"""Alignment: the projector alone learns captions, deterministically, and an interrupted run ends the same."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmsrarec import testing
from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone import align as align_module
from mmsrarec.backbone import embedded as embedded_package
from mmsrarec.backbone.align import align, caption_of
from mmsrarec.backbone.pictures import RecentlyUsed
from mmsrarec.backbone.projection import image_features, merge_image_features, projector_of
from mmsrarec.data import ItemContent, catalogue_facts, make_catalogue
from mmsrarec.errors import InputError, StoredFileError


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    data = make_catalogue(24, 2, 5, folder=tmp_path_factory.mktemp("shop"))
    return [data.item_content(item) for item in range(data.n_items)]


@pytest.fixture
def fresh():
    """A LLaVA whose projector may be changed."""
    return Backbone.load(testing.tiny_llava(), device="cpu")


def state_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def differing(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("fixture", ["tiny_llava", "embedded"])
def test_merged_features_equal_the_models_own_path(fixture, request, shop):
    backbone = request.getfixturevalue(fixture)
    pictures = [shop[0].picture, shop[1].picture]
    encoded = backbone.encode(
        [Prompt(("What is this? ", pictures[0])), Prompt((pictures[1], "Which colour?"))]
    )
    batch = backbone.collate(encoded)
    features = image_features(backbone, pictures)
    embeddings = merge_image_features(backbone, batch["input_ids"], features)
    with torch.no_grad():
        expected = backbone.hf(**batch).logits
        got = backbone.hf(inputs_embeds=embeddings, attention_mask=batch["attention_mask"]).logits
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_features_have_the_towers_shape_and_repeat(embedded, shop):
    pictures = [shop[0].picture, shop[1].picture, shop[0].picture]
    cache = RecentlyUsed(1 << 20, lambda kept: kept.nbytes)
    first = image_features(embedded, pictures, cache=cache)
    assert first.shape == (3, 16, 1280)
    assert torch.equal(first[0], first[2])
    assert len(cache) == 2
    assert torch.equal(first, image_features(embedded, pictures, cache=cache))


def test_only_the_projector_changes_and_the_loss_falls(fresh, shop):
    projector = projector_of(fresh)
    before = state_of(fresh.hf)
    result = align(fresh, shop, epochs=12, learning_rate=3e-3, held_out=0.0, progress=None)
    changed = differing(before, fresh.hf.state_dict())
    assert changed
    assert all(".multi_modal_projector." in name for name in changed)
    assert len(result.losses) == 12 * math.ceil(len(shop) / 8)
    assert np.mean(result.losses[-3:]) < result.losses[0]
    assert not any(parameter.requires_grad for parameter in projector.parameters())
    assert not fresh.hf.training


def test_same_seed_same_result_and_another_seed_another(shop):
    runs = {}
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        backbone = Backbone.load(testing.tiny_llava(), device="cpu")
        result = align(backbone, shop, seed=seed, progress=None)
        runs[name] = (result, state_of(projector_of(backbone)))
    assert runs["first"][0] == runs["again"][0]
    assert not differing(runs["first"][1], runs["again"][1])
    assert runs["first"][0].losses != runs["other"][0].losses


def test_a_caption_token_is_scored_as_the_model_scores_it(fresh, shop):
    """The first loss is the mean NLL of the captions under the model's own logits."""
    few = shop[:4]
    answers = [caption_of(content) for content in few]
    batch = fresh.collate(fresh.encode([Prompt((align_module.LEAD, c.picture)) for c in few], answers))
    with torch.no_grad():
        expected = fresh.hf(**batch).loss.item()
    result = align(fresh, few, max_caption_tokens=200, progress=None)
    assert result.losses[0] == pytest.approx(expected, abs=1e-4)


def test_held_out_items_are_measured_before_and_after(fresh, shop):
    result = align(fresh, shop, epochs=6, learning_rate=3e-3, held_out=0.25, progress=None)
    assert result.n_held_out == 6
    assert result.n_items == len(shop) - 6
    assert result.held_out_after < result.held_out_before
    assert math.isfinite(result.held_out_other)


def test_few_items_hold_none_out(fresh, shop):
    result = align(fresh, shop[:3], progress=None)
    assert (result.n_items, result.n_held_out) == (3, 0)
    assert math.isnan(result.held_out_before)


class InterruptedRunError(Exception):
    pass


def test_an_interrupted_run_goes_on_and_ends_as_if_it_never_was(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(align_module, "CHECKPOINT_STEPS", 2)
    settings = {"epochs": 3, "seed": 1, "progress": None, "held_out": 0.25}
    whole = Backbone.load(testing.tiny_llava(), device="cpu")
    expected = align(whole, shop, **settings)

    steps = 0
    step = align_module._train_step

    def stop_at_the_sixth(*arguments):
        nonlocal steps
        steps += 1
        if steps == 6:
            raise InterruptedRunError
        return step(*arguments)

    monkeypatch.setattr(align_module, "_train_step", stop_at_the_sixth)
    stopped = Backbone.load(testing.tiny_llava(), device="cpu")
    with pytest.raises(InterruptedRunError):
        align(stopped, shop, workdir=tmp_path, **settings)
    assert not any(parameter.requires_grad for parameter in projector_of(stopped).parameters())
    steps = 100

    again = Backbone.load(testing.tiny_llava(), device="cpu")
    assert align(again, shop, workdir=tmp_path, **settings) == expected
    assert steps == 100 + len(expected.losses) - 4
    assert not differing(state_of(projector_of(whole)), projector_of(again).state_dict())

    finished = Backbone.load(testing.tiny_llava(), device="cpu")
    assert align(finished, shop, workdir=tmp_path, **settings) == expected
    assert steps == 100 + len(expected.losses) - 4
    assert not differing(state_of(projector_of(whole)), projector_of(finished).state_dict())


def test_a_checkpoint_of_other_items_is_not_used(shop, tmp_path):
    align(Backbone.load(testing.tiny_llava(), device="cpu"), shop[:8], workdir=tmp_path, progress=None)
    result = align(
        Backbone.load(testing.tiny_llava(), device="cpu"), shop[8:16], workdir=tmp_path, progress=None
    )
    expected = align(Backbone.load(testing.tiny_llava(), device="cpu"), shop[8:16], progress=None)
    assert result.losses == expected.losses


def test_a_damaged_checkpoint_is_named(fresh, shop, tmp_path):
    align(fresh, shop[:4], workdir=tmp_path, progress=None)
    file = tmp_path / align_module.CHECKPOINT
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StoredFileError, match=r"align\.safetensors is damaged"):
        align(fresh, shop[:4], workdir=tmp_path, progress=None)


def test_a_model_in_bfloat16_keeps_its_dtype(shop):
    backbone = Backbone.load(testing.tiny_llava(), device="cpu", dtype="bfloat16")
    before = state_of(projector_of(backbone))
    align(backbone, shop[:8], epochs=3, progress=None)
    after = projector_of(backbone).state_dict()
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert differing(before, after)


def test_the_backbone_method_does_the_same(fresh, shop):
    result = fresh.align(shop[:8], epochs=2, seed=1)
    expected = align(Backbone.load(testing.tiny_llava(), device="cpu"), shop[:8], epochs=2, seed=1)
    assert result.losses == expected.losses


def test_items_without_picture_or_caption_are_passed_over(fresh, shop):
    mixed = [ItemContent("No picture"), *shop[:2], ItemContent("", picture=shop[2].picture)]
    assert align(fresh, mixed, progress=None).n_items == 2
    with pytest.raises(InputError, match="a picture and a caption"):
        align(fresh, [ItemContent("No picture")], progress=None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"held_out": 1.0}, "held_out must be at least 0 and below 1"),
        ({"max_caption_tokens": 0}, "max_caption_tokens must be 1 or more"),
        ({"captions": ["one"]}, "captions must be as many as contents, got 1 for 2"),
    ],
)
def test_settings_are_checked(fresh, shop, settings, message):
    with pytest.raises(InputError, match=message):
        align(fresh, shop[:2], **settings)


@pytest.mark.parametrize("fixture", ["tiny_llama", "tiny_qwen", "tiny_smolvlm"])
def test_a_model_without_such_a_projector_is_refused(fixture, request, shop):
    with pytest.raises(InputError, match="cannot be aligned"):
        align(request.getfixturevalue(fixture), shop[:2])


def test_captions_name_categories_first():
    content = ItemContent(" Blue Mug ", "Holds tea.", ("Kitchen", "Mugs", "blue mug"))
    assert caption_of(content) == "kitchen, mugs, blue mug"


def test_the_shipped_projector_sees_what_is_in_a_picture(embedded, shop):
    """Facts of pictures it was not trained on are likelier, and written, with the right picture."""
    facts = catalogue_facts(12, 5).to_dicts()
    captions = [f"{fact['colour']}, {fact['pattern']}, {fact['kind']}" for fact in facts]
    prompts = [Prompt((align_module.LEAD, content.picture)) for content in shop[:12]]
    right = embedded.mean_nll(prompts, captions)
    other = embedded.mean_nll(prompts[6:] + prompts[:6], captions)
    assert right.mean() < 0.5
    assert other.mean() > right.mean() + 2.0
    written = embedded.generate(prompts, max_new_tokens=12)
    for name, least in (("kind", 11), ("pattern", 10), ("colour", 8)):
        assert sum(fact[name] in answer for fact, answer in zip(facts, written, strict=True)) >= least


def test_the_shipped_projector_is_small(embedded):
    file = Path(embedded_package.__file__).with_name("projector.safetensors")
    assert file.stat().st_size < 3_000_000
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}
