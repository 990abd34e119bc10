from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.testing import TinyPicture, tiny_llama, tiny_llava

RED = TinyPicture((200, 0, 0))
PROMPTS = [Prompt(("a history of things ", RED, one)) for one in ("a", "b", "c")]
RANDOM = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
EVERYWHERE = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)


@pytest.fixture
def backbone() -> Backbone:
    return Backbone.load(tiny_llava())


def trainable(backbone: Backbone) -> list[str]:
    return [name for name, weight in backbone.model.named_parameters() if weight.requires_grad]


def test_two_adapters_do_not_touch_each_other(backbone: Backbone) -> None:
    base = backbone.first_token_probability(PROMPTS)
    backbone.add_adapter("one", RANDOM)
    backbone.add_adapter("two", EVERYWHERE)
    assert backbone.adapters == ("one", "two")
    scores = {}
    for name in ("one", "two", None, "one", "two"):
        with backbone.adapter(name):
            made = backbone.first_token_probability(PROMPTS)
        np.testing.assert_array_equal(scores.setdefault(name, made), made)
    np.testing.assert_array_equal(scores[None], base)
    assert len({tuple(one) for one in scores.values()}) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.remove_adapter("two")
    with backbone.adapter("one"):
        np.testing.assert_array_equal(backbone.first_token_probability(PROMPTS), scores["one"])


def test_an_error_inside_the_block_ends_it(backbone: Backbone) -> None:
    backbone.add_adapter("one", RANDOM)
    with pytest.raises(ZeroDivisionError), backbone.adapter("one"):
        assert backbone.active_adapter == "one"
        raise ZeroDivisionError
    assert backbone.active_adapter is None


def test_training_changes_this_adapter_and_nothing_else(backbone: Backbone) -> None:
    torch.manual_seed(0)  # of the adapter and its dropout
    backbone.add_adapter("one", RANDOM)
    backbone.add_adapter("two", RANDOM)
    before = {name: weight.clone() for name, weight in backbone.model.named_parameters()}
    batch = backbone.collate(backbone.encode(PROMPTS, ["yes", "no", "yes"]))
    with backbone.train_adapter("one") as model:
        assert model is backbone.model
        assert isinstance(model, PeftModel)
        assert model.training
        assert all(".one." in name for name in trainable(backbone))
        backbone.hf.activation_checkpointing_enable()
        model.enable_input_require_grads()
        optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1.0)
        losses = []
        for _ in range(4):
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert trainable(backbone) == []
    assert not any(module.training for module in backbone.model.modules())
    assert not any(getattr(module, "gradient_checkpointing", False) for module in backbone.hf.modules())
    changed = {
        name for name, weight in backbone.model.named_parameters() if not torch.equal(weight, before[name])
    }
    assert changed
    assert all(".one." in name for name in changed)


def test_features_of_a_picture_follow_an_adapter_on_the_tower(backbone: Backbone) -> None:
    backbone.add_adapter(
        "tower", LoraConfig(r=2, target_modules=r".*vision_tower.*q_proj", init_lora_weights=False)
    )
    base = backbone.first_token_probability(PROMPTS)
    with backbone.adapter("tower"):
        changed = backbone.first_token_probability(PROMPTS)
    assert np.abs(changed - base).max() > 1e-5
    np.testing.assert_array_equal(backbone.first_token_probability(PROMPTS), base)


def test_an_adapter_on_the_output_layer_counts(backbone: Backbone) -> None:
    backbone.add_adapter("head", LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False))
    base = backbone.first_token_probability(PROMPTS)
    with backbone.adapter("head"):
        changed = backbone.first_token_probability(PROMPTS)
        batch = backbone.collate(backbone.encode(PROMPTS[:1]))
        with torch.no_grad():
            p = backbone.hf(**batch).logits[0, -1].softmax(-1)
    from mmsrarec.backbone.first_token import spellings

    yes, no = (spellings(backbone.tokenizer, word) for word in ("yes", "no"))
    assert abs(changed[0] - float(p[yes].sum() / (p[yes].sum() + p[no].sum()))) < 1e-5
    assert np.abs(changed - base).max() > 1e-4


class TestStored:
    """What is written can be read by PEFT, and damage is named."""

    @pytest.fixture
    def folder(self, backbone: Backbone, tmp_path: Path) -> Path:
        backbone.add_adapter("one", RANDOM)
        backbone.save_adapter("one", tmp_path / "adapter")
        return tmp_path / "adapter"

    def test_files_are_safetensors_and_json(self, folder: Path) -> None:
        assert {path.name for path in folder.iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
            "manifest.json",
        }

    def test_peft_reads_it(self, backbone: Backbone, folder: Path) -> None:
        model, _ = tiny_llava()
        theirs = PeftModel.from_pretrained(model, folder)
        batch = backbone.collate(backbone.encode(PROMPTS[:1]))
        with torch.no_grad(), backbone.adapter("one"):
            np.testing.assert_allclose(theirs(**batch).logits, backbone.hf(**batch).logits, atol=1e-5)

    def test_what_peft_wrote_is_read(self, backbone: Backbone, folder: Path, tmp_path: Path) -> None:
        model, _ = tiny_llava()
        PeftModel.from_pretrained(model, folder).save_pretrained(tmp_path / "theirs")
        file = tmp_path / "theirs" / "adapter_config.json"
        config = json.loads(file.read_text())
        file.write_text(json.dumps(config | {"base_model_name_or_path": "where/the-model-was"}))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fresh = Backbone.load(tiny_llava())
            fresh.load_adapter("any", tmp_path / "theirs")
        with fresh.adapter("any"), backbone.adapter("one"):
            np.testing.assert_array_equal(
                fresh.first_token_probability(PROMPTS), backbone.first_token_probability(PROMPTS)
            )
        assert trainable(fresh) == []

    @pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
    @pytest.mark.parametrize("manifest", [True, False])
    def test_damage_is_named(self, backbone: Backbone, folder: Path, name: str, manifest: bool) -> None:
        if not manifest:
            (folder / "manifest.json").unlink()
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(StoredFileError, match=r"damaged|bytes"):
            backbone.load_adapter("two", folder)
        path.unlink()
        with pytest.raises(StoredFileError, match="missing"):
            backbone.load_adapter("two", folder)
        assert backbone.adapters == ("one",)

    def test_another_architecture_is_refused(self, backbone: Backbone, folder: Path) -> None:
        (folder / "manifest.json").unlink()
        weights = load_file(folder / "adapter_model.safetensors")
        first = sorted(weights)[0]
        weights[first] = weights[first][:, :-1].contiguous()
        save_file(weights, folder / "adapter_model.safetensors")
        with pytest.raises(StoredFileError, match="does not fit this model: 1 tensors differ"):
            backbone.load_adapter("two", folder)
        assert backbone.adapters == ("one",)

    def test_unknown_settings_are_refused(self, backbone: Backbone, folder: Path) -> None:
        (folder / "manifest.json").unlink()
        config = json.loads((folder / "adapter_config.json").read_text())
        config["target_modules"] = ["no_such_layer"]
        (folder / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises((InputError, StoredFileError), match="no_such_layer"):
            backbone.load_adapter("two", folder)
        assert backbone.adapters == ("one",)

    def test_other_weights_are_warned_of(self, folder: Path) -> None:
        with pytest.warns(UserWarning, match="was trained on other weights"):
            Backbone.load(tiny_llava(seed=1)).load_adapter("one", folder)


@pytest.mark.parametrize("make", [tiny_llama, tiny_llava])
def test_the_base_model_is_saved_without_its_adapters(make: Callable[[], Any], tmp_path: Path) -> None:
    backbone = Backbone.load(make())
    backbone.add_adapter("one", EVERYWHERE)
    backbone.save_pretrained(tmp_path / "model")
    assert Backbone.load(tmp_path / "model", device="cpu").fingerprint == backbone.fingerprint


def test_names_are_checked(backbone: Backbone) -> None:
    for name in ("", "a.b", "a/b", "../up", "ü"):
        with pytest.raises(InputError, match="letters, digits"):
            backbone.add_adapter(name, RANDOM)
    backbone.add_adapter("one", RANDOM)
    with pytest.raises(InputError, match="'one' is there already"):
        backbone.add_adapter("one", RANDOM)
    for call in (backbone.remove_adapter, lambda name: backbone.save_adapter(name, "nowhere")):
        with pytest.raises(InputError, match=r"'two' is not there; there are \['one'\]"):
            call("two")


def test_a_configuration_that_fits_nothing_leaves_no_trace() -> None:
    backbone = Backbone.load(tiny_llama())
    before = backbone.fingerprint
    for _ in range(2):
        with pytest.raises(InputError, match="lora_config does not fit"):
            backbone.add_adapter("one", LoraConfig(r=2, target_modules=["no_such_layer"]))
        assert backbone.adapters == ()
        assert backbone.model is backbone.hf
    backbone.add_adapter("one", LoraConfig(r=2, target_modules=["q_proj"]))
    assert backbone.fingerprint == before


def test_equal_adapters_are_equal_files(tiny_llama: Backbone, tmp_path: Path) -> None:
    """The order in which layers are named, a set's and so a process's own, does not reach the file."""
    import hashlib

    digests = set()
    for turn, names in enumerate((["q_proj", "v_proj", "o_proj"], ["o_proj", "v_proj", "q_proj"])):
        torch.manual_seed(0)
        tiny_llama.add_adapter("twin", LoraConfig(r=2, target_modules=names))
        tiny_llama.save_adapter("twin", tmp_path / str(turn))
        held, written = (
            tiny_llama.adapter_weights("twin"),
            load_file(tmp_path / str(turn) / "adapter_model.safetensors"),
        )
        assert {key: value.numpy().tolist() for key, value in written.items()} == {
            key: value.tolist() for key, value in held.items()
        }
        tiny_llama.remove_adapter("twin")
        digests.add(hashlib.sha256((tmp_path / str(turn) / "adapter_config.json").read_bytes()).hexdigest())
        listed = json.loads((tmp_path / str(turn) / "adapter_config.json").read_text())["target_modules"]
        assert listed == sorted(listed)
    assert len(digests) == 1
