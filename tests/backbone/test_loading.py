from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel

from mmsrarec import testing
from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.errors import InputError, MissingDependencyError, StoredFileError
from mmsrarec.testing import TinyPicture

PROMPTS = [Prompt(("a ", TinyPicture((200, 0, 0)), " b")), Prompt(("only text",))]


@pytest.fixture(scope="module", params=["tiny_llama", "tiny_llava", "tiny_qwen", "tiny_smolvlm"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Path]:
    made = Backbone.load(getattr(testing, request.param)())
    folder = tmp_path_factory.mktemp("saved") / request.param
    made.hf.save_pretrained(folder)
    made.processor.save_pretrained(folder)
    return made, folder


@pytest.mark.filterwarnings("ignore:backbone")
def test_a_folder_gives_the_same_backbone(saved: tuple[Backbone, Path]) -> None:
    made, folder = saved
    loaded = Backbone.load(str(folder), device="cpu")
    assert loaded.name == folder.name
    assert loaded.family == made.family
    assert loaded.fingerprint == made.fingerprint
    np.testing.assert_array_equal(
        loaded.first_token_probability(PROMPTS), made.first_token_probability(PROMPTS)
    )


def test_a_pair_is_frozen_and_in_evaluation_mode() -> None:
    model, processor = testing.tiny_llava()
    model.train()
    backbone = Backbone.load((model, processor))
    assert backbone.model is model
    assert not any(module.training for module in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())
    assert Backbone.load(backbone) is backbone
    assert backbone.has_images


def test_dtype_and_device_are_taken(saved: tuple[Backbone, Path]) -> None:
    _, folder = saved
    for dtype in ("bfloat16", torch.bfloat16):
        assert Backbone.load(folder, device="cpu", dtype=dtype).dtype == torch.bfloat16
    assert Backbone.load(testing.tiny_llama(), dtype="float64").dtype == torch.float64
    with pytest.raises(InputError, match="dtype must be a torch dtype or its name"):
        Backbone.load(folder, dtype="eight bits")


@pytest.mark.parametrize("spec", ["/no/such/folder", "./missing", "~/missing", "a/b/c", "justname"])
def test_what_is_neither_folder_nor_hub_id_is_named(spec: str) -> None:
    with pytest.raises(InputError, match="neither a folder nor a hub id") as caught:
        Backbone.load(spec)
    assert "\n" not in str(caught.value)


def test_a_hub_id_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match="network, give the folder of a downloaded model, or use backbone='embedded'"
    ):
        Backbone.load("nobody/no-such-model")


@pytest.mark.parametrize("spec", [None, 3, ("a", "b"), (1, 2, 3)])
def test_other_things_are_no_backbone(spec: object) -> None:
    with pytest.raises(InputError, match="backbone"):
        Backbone.load(spec)


def test_a_pair_needs_a_processor() -> None:
    model, _ = testing.tiny_llama()
    with pytest.raises(InputError, match="processor must be"):
        Backbone.load((model, "tokenizer"))


class TestDamage:
    """A folder with one file changed is refused by name, whatever the change."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        model, processor = testing.tiny_llava()
        model.save_pretrained(tmp_path / "model")
        processor.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    @pytest.mark.parametrize(
        "name", ["model.safetensors", "config.json", "tokenizer.json", "processor_config.json"]
    )
    @pytest.mark.parametrize("change", ["truncated", "replaced", "gone"])
    def test_damaged_files(self, folder: Path, name: str, change: str) -> None:
        path = folder / name
        if change == "truncated":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif change == "replaced":
            path.write_bytes(b"\x00\xff nonsense")
        else:
            path.unlink()
        with pytest.raises(StoredFileError, match="model") as caught:
            Backbone.load(folder)
        assert "\n" not in str(caught.value)

    def test_a_missing_weight_is_named(self, folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        gone = next(name for name in weights if "q_proj" in name)
        del weights[gone]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(StoredFileError, match=r"lacks 1 weights.*q_proj"):
            Backbone.load(folder)

    def test_weights_of_another_size_are_refused(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["intermediate_size"] *= 2
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(StoredFileError, match="damaged or foreign"):
            Backbone.load(folder)

    def test_pickled_weights_are_not_opened(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save({}, folder / "pytorch_model.bin")
        with pytest.raises(StoredFileError):
            Backbone.load(folder)

    def test_another_kind_of_model_is_refused(self, tmp_path: Path) -> None:
        config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
        ViTModel(config).save_pretrained(tmp_path / "vit")
        with pytest.raises(InputError, match="is a 'vit' model; only image-text-to-text models and causal"):
            Backbone.load(tmp_path / "vit")

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StoredFileError, match="not a complete transformers model"):
            Backbone.load(tmp_path)

    def test_code_in_the_folder_does_not_run(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForImageTextToText": "evil.Model"}
        config["model_type"] = "evil"
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()")
        with pytest.raises((InputError, StoredFileError, MissingDependencyError)):
            Backbone.load(folder)
        assert not (folder / "ran").exists()


def test_saved_embedded_backbone_loads_from_its_folder(embedded: Backbone, tmp_path: Path) -> None:
    embedded.hf.save_pretrained(tmp_path / "model")
    embedded.processor.save_pretrained(tmp_path / "model")
    loaded = Backbone.load(tmp_path / "model", device="cpu")
    shutil.rmtree(tmp_path / "model")
    assert loaded.fingerprint == embedded.fingerprint
