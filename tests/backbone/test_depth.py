"""Reading below the top: nothing above is run, the model is whole afterwards, layers that are not there are named."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from mmsrarec.backbone import Backbone, Prompt, Readout, depth
from mmsrarec.backbone.forward import whole_inputs
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture, tiny_llama, tiny_llava, tiny_qwen, tiny_smolvlm
from mmsrarec.testing.tiny_models import tiny_tokenizer

HISTORY = "a history of some length, told in the same words for every candidate of the user, "
PROMPTS = [Prompt((HISTORY, TinyPicture((red, 0, 90)), "does she like it?")) for red in (10, 120, 250)]
FAMILIES = {"llama": tiny_llama, "llava": tiny_llava, "qwen": tiny_qwen, "smolvlm": tiny_smolvlm}


def layers_of(backbone: Backbone) -> list:
    return list(backbone.inner.get_decoder().layers)


@pytest.mark.filterwarnings("ignore:backbone 'llama' reads text only")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share_prefix", [True, False])
def test_a_readout_below_the_top_says_p_and_nothing_above_is_run(family: str, share_prefix: bool) -> None:
    backbone = Backbone.load(FAMILIES[family](num_hidden_layers=4), device="cpu")
    whole, before = layers_of(backbone), backbone.first_token_probability(PROMPTS)
    rng = np.random.default_rng(0)
    readout = Readout(
        rng.normal(size=backbone.hf.config.get_text_config().hidden_size).astype(np.float32), 0.2, 3
    )
    calls = []
    hooks = [
        layer.register_forward_hook(lambda *_, number=number: calls.append(number))
        for number, layer in enumerate(whole, start=1)
    ]
    p = backbone.first_token_probability(PROMPTS, readout=readout, share_prefix=share_prefix)
    for hook in hooks:
        hook.remove()
    assert set(calls) == {1, 2, 3}
    states = backbone.hidden_states(PROMPTS, layers=[3])[:, 0].astype(np.float64)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-states @ readout.direction - 0.2)), atol=1e-5)
    assert layers_of(backbone) == whole
    np.testing.assert_array_equal(backbone.first_token_probability(PROMPTS), before)


def test_the_model_is_whole_again_after_an_error() -> None:
    backbone = Backbone.load(tiny_llava(), device="cpu")
    whole = layers_of(backbone)
    with pytest.raises(KeyboardInterrupt), depth.reading(backbone, [1]) as read:
        assert layers_of(backbone) == whole[:1]
        encoded = backbone.encode(PROMPTS)
        read(whole_inputs(backbone, encoded), [len(one) for one in encoded])
        raise KeyboardInterrupt
    assert layers_of(backbone) == whole
    assert not whole[0]._forward_hooks
    # transformers' own way to the states, which tuning uses, was not installed on the cut model.
    own = backbone.hf(**backbone.collate(encoded), output_hidden_states=True).hidden_states
    assert len(own) == 1 + backbone.depth


@pytest.mark.parametrize("layers", [[0], [3], [1, -1], []])
def test_layers_that_are_not_there_are_named(tiny_llava: Backbone, layers: list[int]) -> None:
    with pytest.raises(InputError, match="layers must be from 1 to 2 for backbone"):
        tiny_llava.hidden_states(PROMPTS, layers=layers)


def test_another_name_for_the_layers_and_none_at_all() -> None:
    tokenizer = tiny_tokenizer()
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=3, n_head=4)
    backbone = Backbone.load((GPT2LMHeadModel(config), tokenizer), device="cpu")
    assert depth.reads_below_the_top(backbone)
    prompts = [Prompt((HISTORY, word)) for word in ("a", "b c", "d")]
    assert len(np.unique(backbone.hidden_states(prompts, layers=[2])[:, 0, 0])) == 3
    # Layers that are no list of the decoder: their states below the top cannot be had, the top can.
    decoder = backbone.inner.get_decoder()
    decoder.h = decoder.h[:2]
    assert not depth.reads_below_the_top(backbone)
    with pytest.raises(InputError, match="keeps its layers in a way that is not known here"):
        backbone.hidden_states(prompts, layers=[1])
    assert backbone.hidden_states(prompts, layers=[3]).shape == (3, 1, 32)
