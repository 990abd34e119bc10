from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture, tiny_llama

RED = TinyPicture((200, 0, 0))
CONTEXTS = [
    Prompt((RED, "keywords: red, wool")),
    Prompt(("keywords: steel",)),
    Prompt(("keywords",)),
    Prompt(("k",)),
]
TARGETS = ["a red scarf of warm wool for the cold season", "a bottle", "", "  \n"]


def test_batches_do_not_change_it(tiny_llava: Backbone) -> None:
    whole = tiny_llava.mean_nll(CONTEXTS, TARGETS)
    alone = [tiny_llava.mean_nll([one], [target])[0] for one, target in zip(CONTEXTS, TARGETS, strict=True)]
    np.testing.assert_allclose(whole, alone, atol=1e-5)
    np.testing.assert_allclose(tiny_llava.mean_nll(CONTEXTS, TARGETS, batch_tokens=1), whole, atol=1e-5)
    assert whole.dtype == np.float32
    assert whole.shape == (4,)


def test_an_empty_target_is_zero(tiny_llava: Backbone) -> None:
    whole = tiny_llava.mean_nll(CONTEXTS, TARGETS)
    assert (whole[:2] > 0).all()
    assert (whole[2:] == 0).all()
    assert tiny_llava.mean_nll([], []).shape == (0,)


def test_a_scale_on_logits_is_part_of_it() -> None:
    from transformers import GraniteConfig, GraniteForCausalLM

    _, tokenizer = tiny_llama()
    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        logits_scaling=4.0,
        initializer_range=0.4,
    )
    backbone = Backbone.load((GraniteForCausalLM(config), tokenizer))
    one = backbone.encode([Prompt(("a",))], ["b c d"])[0]
    with torch.no_grad():
        logits = backbone.hf(input_ids=one.input_ids[None]).logits[0].log_softmax(-1)
    places = range(one.answer_start, len(one) - 1)
    expected = -np.mean([float(logits[place - 1, one.input_ids[place]]) for place in places])
    assert abs(backbone.mean_nll([Prompt(("a",))], ["b c d"])[0] - expected) < 1e-5


def test_the_base_model_is_used_unless_an_adapter_is_named() -> None:
    backbone = Backbone.load(tiny_llama())
    contexts, targets = CONTEXTS[1:2], TARGETS[1:2]
    base = backbone.mean_nll(contexts, targets)
    backbone.add_adapter("one", LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    changed = backbone.mean_nll(contexts, targets, adapter="one")
    assert changed != base
    with backbone.adapter("one"):
        assert backbone.mean_nll(contexts, targets) == base
        assert backbone.active_adapter == "one"
    with pytest.raises(InputError, match="adapter 'two' is not there"):
        backbone.mean_nll(contexts, targets, adapter="two")


def test_lists_must_match(tiny_llava: Backbone) -> None:
    with pytest.raises(InputError, match="got 1 for 4"):
        tiny_llava.mean_nll(CONTEXTS, ["a"])
