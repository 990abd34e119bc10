"""Laid-out weights give the model's own numbers, under an adapter too, and leave nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone.packed_weights import packed_weights
from mmsrarec.testing import TinyPicture, tiny_qwen

PROMPTS = [Prompt(("what is it?", TinyPicture((200, 0, 0)))), Prompt(("a red lamp " * 4,))]


@pytest.fixture
def adapted() -> Backbone:
    backbone = Backbone.load(tiny_qwen(), device="cpu")
    backbone.add_adapter("a", LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    with torch.no_grad():
        for name, parameter in backbone.model.named_parameters():
            if "lora_" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)))
    return backbone


def test_the_numbers_are_those_of_the_plain_weights(adapted: Backbone) -> None:
    bare = adapted.hidden_states(PROMPTS, share_prefix=False)
    with adapted.adapter("a"):
        plain = adapted.hidden_states(PROMPTS, share_prefix=False)
        answers = adapted.generate(PROMPTS, max_new_tokens=6)
        with packed_weights(adapted) as done:
            assert done
            packed = adapted.hidden_states(PROMPTS, share_prefix=False)
            assert adapted.generate(PROMPTS, max_new_tokens=6) == answers
        assert np.array_equal(adapted.hidden_states(PROMPTS, share_prefix=False), plain)
    assert np.abs(packed - plain).max() < 1e-4
    assert np.abs(plain - bare).max() > 1e-2
    with packed_weights(adapted):
        assert np.abs(adapted.hidden_states(PROMPTS, share_prefix=False) - bare).max() < 1e-4


def test_an_error_inside_puts_the_plain_weights_back(adapted: Backbone) -> None:
    before = adapted.hidden_states(PROMPTS, share_prefix=False)
    with pytest.raises(KeyError), packed_weights(adapted):
        raise KeyError
    assert not [module for module in adapted.hf.modules() if "forward" in module.__dict__]
    assert np.array_equal(adapted.hidden_states(PROMPTS, share_prefix=False), before)


def test_what_is_more_than_a_product_keeps_its_own_way() -> None:
    backbone = Backbone.load(tiny_qwen(), device="cpu")
    backbone.add_adapter("d", LoraConfig(r=2, target_modules=["q_proj"], use_dora=True))
    with backbone.adapter("d"):
        plain = backbone.hidden_states(PROMPTS, share_prefix=False)
        with packed_weights(backbone):
            assert np.abs(backbone.hidden_states(PROMPTS, share_prefix=False) - plain).max() < 1e-4


def test_other_devices_and_precisions_are_left_alone() -> None:
    backbone = Backbone.load(tiny_qwen(), device="cpu", dtype="bfloat16")
    with packed_weights(backbone) as done:
        assert not done
