from __future__ import annotations

import subprocess
import sys

import torch
from peft import LoraConfig

from mmsrarec.backbone import Backbone
from mmsrarec.testing import tiny_llama, tiny_llava


def test_equal_models_are_equal_in_another_process() -> None:
    here = Backbone.load(tiny_llava()).fingerprint
    code = (
        "from mmsrarec.backbone import Backbone; from mmsrarec.testing import tiny_llava; "
        "print(Backbone.load(tiny_llava()).fingerprint)"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here
    assert len(here) == 32


def test_other_weights_vocabulary_template_or_configuration_are_another_model() -> None:
    seen = {Backbone.load(tiny_llama()).fingerprint, Backbone.load(tiny_llama(seed=1)).fingerprint}
    model, tokenizer = tiny_llama()
    tokenizer.chat_template += " "
    seen.add(Backbone.load((model, tokenizer)).fingerprint)
    model, tokenizer = tiny_llama()
    tokenizer.add_tokens(["more"])
    seen.add(Backbone.load((model, tokenizer)).fingerprint)
    model, tokenizer = tiny_llama()
    model.config.rms_norm_eps *= 2
    seen.add(Backbone.load((model, tokenizer)).fingerprint)
    assert len(seen) == 5


def test_a_written_weight_is_noticed_and_an_unchanged_one_is_not_hashed_again(monkeypatch) -> None:
    backbone = Backbone.load(tiny_llama())
    before = backbone.fingerprint
    weight = backbone.hf.model.layers[0].mlp.up_proj.weight
    kept = weight[0, 0].item()
    with torch.no_grad():
        weight[0, 0] += 1
    assert backbone.fingerprint != before
    with torch.no_grad():
        weight[0, 0] = kept
    assert backbone.fingerprint == before
    monkeypatch.setattr("mmsrarec.backbone.loaded.model_fingerprint", None)
    assert backbone.fingerprint == before


def test_adapters_are_not_part_of_it() -> None:
    backbone = Backbone.load(tiny_llama())
    before = backbone.fingerprint
    backbone.add_adapter("one", LoraConfig(r=2, target_modules="all-linear", modules_to_save=["lm_head"]))
    with backbone.adapter("one"):
        assert backbone.fingerprint == before
