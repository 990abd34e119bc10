from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone.first_token import spellings
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture
from mmsrarec.testing.tiny_models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
TEXT = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": TOKENIZER.eos_token_id,
    "initializer_range": 0.4,
}
USER = "the history of a user is told here at some length, and then comes "
PROMPTS = [Prompt((USER, candidate)) for candidate in ("a lamp", "a tent for two", "tea", "tea")]
PROMPTS += [Prompt(("someone else's history, also of some length, then ", one)) for one in ("a", "b b")]


def made(model_class: type, config: object) -> Backbone:
    torch.manual_seed(0)
    return Backbone.load((model_class(config), tiny_tokenizer()), device="cpu")


def own_scores(backbone: Backbone, prompts: list[Prompt]) -> np.ndarray:
    """The paper's p from the model's own logits, one prompt at a time."""
    yes, no = (spellings(backbone.tokenizer, word) for word in ("yes", "no"))
    scores = []
    for prompt in prompts:
        with torch.no_grad():
            logits = backbone.hf(**backbone.collate(backbone.encode([prompt]))).logits[0, -1].double()
        p = logits.softmax(-1)
        scores.append(float(p[yes].sum() / (p[yes].sum() + p[no].sum())))
    return np.array(scores)


ARCHITECTURES = {
    # Learnt positions, a word-embedding module of another name.
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=len(TOKENIZER), n_embd=32, n_layer=2, n_head=4, initializer_range=0.4),
    ),
    # Every second layer sees a window only, logits are capped, embeddings scaled.
    "gemma2": (Gemma2ForCausalLM, Gemma2Config(**TEXT, sliding_window=8, final_logit_softcapping=2.0)),
    "mistral": (MistralForCausalLM, MistralConfig(**TEXT, sliding_window=8)),
    "granite": (GraniteForCausalLM, GraniteConfig(**TEXT, logits_scaling=3.0)),
    # A hybrid: short convolutions with a running state beside attention.
    "lfm2": (
        Lfm2ForCausalLM,
        Lfm2Config(**TEXT, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False),
    ),
    "tied": (LlamaForCausalLM, LlamaConfig(**TEXT, tie_word_embeddings=True)),
}


FORGETFUL = {"gemma2": "sliding window", "mistral": "sliding window", "lfm2": "no full cache"}


@pytest.mark.filterwarnings("ignore:.*cannot run what prompts share")
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("share_prefix", [True, False])
def test_architectures_score_as_their_own_logits_say(name: str, share_prefix: bool) -> None:
    backbone = made(*ARCHITECTURES[name])
    told = {}
    ours = backbone.first_token_probability(
        PROMPTS,
        share_prefix=share_prefix,
        answered=lambda places, found: told.update(zip(places, found.tolist(), strict=True)),
    )
    assert [told[place] for place in range(len(PROMPTS))] == ours.tolist()
    np.testing.assert_allclose(ours, own_scores(backbone, PROMPTS), rtol=0, atol=1e-5)
    assert ours.dtype == np.float32
    assert len(set(ours.round(6))) > 3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_cache_that_forgets_the_prefix_is_refused_with_one_warning(name: str) -> None:
    backbone = made(*ARCHITECTURES[name])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        backbone.first_token_probability(PROMPTS, share_prefix=False)
        backbone.first_token_probability(PROMPTS[:1])
        assert not caught
        backbone.first_token_probability(PROMPTS)
        backbone.first_token_probability(PROMPTS)
    told = [str(warning.message) for warning in caught]
    assert len(told) == (name in FORGETFUL)
    assert all(FORGETFUL[name] in message for message in told)


def test_an_output_layer_with_a_bias() -> None:
    backbone = made(LlamaForCausalLM, LlamaConfig(**TEXT))
    head = torch.nn.Linear(32, len(TOKENIZER)).requires_grad_(False)
    backbone.hf.lm_head = head
    np.testing.assert_allclose(
        backbone.first_token_probability(PROMPTS), own_scores(backbone, PROMPTS), rtol=0, atol=1e-5
    )


def test_logits_made_in_an_unknown_way_are_refused() -> None:
    class Odd(LlamaForCausalLM):
        def forward(self, *arguments, **named):
            output = super().forward(*arguments, **named)
            output.logits = output.logits**3
            return output

    with pytest.raises(InputError, match="computes its logits in a way that is not known"):
        made(Odd, LlamaConfig(**TEXT)).first_token_probability(PROMPTS)


def test_every_spelling_counts() -> None:
    tokenizer = tiny_tokenizer()
    texts = {tokenizer.decode([token]) for token in spellings(tokenizer, "Yes")}
    assert texts == {"yes", "Yes", " yes", " Yes"}


def test_a_word_without_a_token_is_named(tiny_llama: Backbone) -> None:
    with pytest.raises(InputError, match="yes='certainly not' is no single token"):
        tiny_llama.first_token_probability(PROMPTS, yes="certainly not")
    with pytest.raises(InputError, match="no=' '"):
        tiny_llama.first_token_probability(PROMPTS, no=" ")
    with pytest.raises(InputError, match="share a spelling"):
        tiny_llama.first_token_probability(PROMPTS, yes="yes", no="YES")
    with pytest.raises(InputError, match="is no single token"):
        tiny_llama.first_token_probability(PROMPTS, no="<|im_end|>")


def test_a_vocabulary_without_yes_and_no_is_named() -> None:
    letters = Tokenizer(
        BPE({letter: place for place, letter in enumerate("abcdefghijklmnopqrstuvwxyz<|>_ ")}, [])
    )
    letters.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters, eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    config = LlamaConfig(**TEXT | {"vocab_size": len(tokenizer), "pad_token_id": 0})
    backbone = Backbone.load((LlamaForCausalLM(config), tokenizer), device="cpu")
    with pytest.raises(InputError, match=r"yes='yes' is no single token .* choose a short, common word"):
        backbone.first_token_probability(PROMPTS)
    assert 0 < backbone.first_token_probability(PROMPTS[:1], yes="y", no="n")[0] < 1


def test_every_spelling_is_summed(tiny_llama: Backbone) -> None:
    [p] = tiny_llama.first_token_probability(PROMPTS[:1])
    with torch.no_grad():
        inputs = tiny_llama.collate(tiny_llama.encode(PROMPTS[:1]))
        shares = tiny_llama.hf(**inputs).logits[0, -1].softmax(-1)
    vocabulary = tiny_llama.tokenizer.get_vocab()
    yes, no = (
        sum(
            float(shares[place])
            for text, place in vocabulary.items()
            if text.removeprefix("\u0120").lower() == word
        )
        for word in ("yes", "no")
    )
    assert abs(p - yes / (yes + no)) < 1e-5
    # One spelling of each alone would give another number.
    alone = [float(shares[vocabulary[word]]) for word in ("Yes", "No")]
    assert abs(p - alone[0] / sum(alone)) > 1e-3


def test_words_can_be_swapped(tiny_llama: Backbone) -> None:
    forward = tiny_llama.first_token_probability(PROMPTS)
    backward = tiny_llama.first_token_probability(PROMPTS, yes="no", no="yes")
    np.testing.assert_allclose(forward, 1 - backward, atol=1e-6)


def test_nothing_to_score(tiny_llama: Backbone) -> None:
    assert tiny_llama.first_token_probability([]).shape == (0,)
    assert tiny_llama.hidden_states([]).shape == (0, 32)


def test_hidden_states_are_the_last_ones(tiny_llava: Backbone) -> None:
    picture = TinyPicture((1, 200, 3))
    prompts = [Prompt(("longer text of a prompt ", picture)), Prompt((picture, "b"))]
    states = tiny_llava.hidden_states(prompts)
    for prompt, state in zip(prompts, states, strict=True):
        with torch.no_grad():
            output = tiny_llava.hf(
                **tiny_llava.collate(tiny_llava.encode([prompt])), output_hidden_states=True
            )
        np.testing.assert_allclose(state, output.hidden_states[-1][0, -1].numpy(), atol=1e-5)


def test_half_precision_scores_are_near(tiny_llava: Backbone) -> None:
    from mmsrarec.testing import tiny_llava as make

    half = Backbone.load(make(), dtype="bfloat16")
    picture = TinyPicture((1, 200, 3))
    prompts = [Prompt((USER, picture, text)) for text in ("a", "b", "c")]
    scores = half.first_token_probability(prompts)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, tiny_llava.first_token_probability(prompts), atol=0.1)
