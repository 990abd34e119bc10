"""How much memory a backbone takes, before there is a machine to try it on.

Weights, adapters, gradients, optimizer state and caches are counted from the configuration, without loading anything.
Activations are bounded by what one decoder layer holds at its peak; a test holds all of it against what tiny models of
the same families take, tensor by tensor. What the picture tower holds while it reads pictures, and a kernel's tiles of
logits, are not in it: both are over before the layers begin, or small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

if TYPE_CHECKING:
    from peft import LoraConfig

__all__ = ["MemoryNeed", "scoring_memory", "tuning_memory"]

_FLOAT32 = 4
_GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes on the device, by what they are for.

    Attributes
    ----------
    weights
        Of the model, its picture tower and embeddings included.
    adapter
        LoRA matrices, their gradients and AdamW's two moments.
    cache
        Keys and values of prefixes and of the branches that read them.
    activations
        The largest that is alive at one moment besides.
    """

    weights: int
    adapter: int = 0
    cache: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        """Sum of all. A device needs about a gibibyte more for its own libraries, and some room for fragments."""
        return self.weights + self.adapter + self.cache + self.activations

    def __str__(self) -> str:
        parts = {name: value for name, value in vars(self).items() if value}
        told = ", ".join(f"{name} {value / _GIBIBYTE:.2f}" for name, value in parts.items())
        return f"{self.total / _GIBIBYTE:.2f} GiB ({told})"


@dataclass(frozen=True)
class _Widths:
    """Sizes of one decoder layer."""

    layers: int
    hidden: int
    inner: int
    queries: int
    keys: int

    @classmethod
    def of(cls, config: Any) -> _Widths:
        text = config.get_text_config()
        heads = text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // heads
        key_heads = getattr(text, "num_key_value_heads", None) or heads
        return cls(
            text.num_hidden_layers, text.hidden_size, text.intermediate_size, heads * width, key_heads * width
        )


def _empty_model(config: Any, dtype: torch.dtype) -> torch.nn.Module:
    auto = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(config, dtype=dtype)


def _weight_bytes(model: torch.nn.Module) -> int:
    # Tied matrices are one parameter.
    return sum(weight.nbytes for weight in model.parameters())


def _adapter_values(model: torch.nn.Module, lora: LoraConfig) -> int:
    from peft import get_peft_model

    tuned = get_peft_model(model, lora)
    return sum(weight.numel() for name, weight in tuned.named_parameters() if "lora_" in name)


def scoring_memory(
    config: Any,
    *,
    dtype: torch.dtype = torch.bfloat16,
    users: int = 1,
    prefix_tokens: int,
    candidates: int = 21,
    branch_tokens: int,
    batch_tokens: int = 32768,
    layers: int | None = None,
) -> MemoryNeed:
    """Compute what scoring candidates over shared prefixes takes, with the cache expanded as on a GPU.

    Parameters
    ----------
    config
        transformers' configuration of the model.
    dtype
        Of the weights.
    users
        Users whose prefixes are run as one batch.
    prefix_tokens, branch_tokens
        Tokens of a prefix, and of one candidate's branch.
    candidates
        Of each user.
    batch_tokens
        As :attr:`mmsrarec.backbone.Backbone.batch_tokens`: the budget of one forward pass.
    layers
        Layers that are run, fewer where a readout reads below the top; all by default. The others' weights stay.

    Returns
    -------
    MemoryNeed
        Kept picture features, at most half a gibibyte, are not in it.

    Examples
    --------
    >>> from transformers import LlamaConfig
    >>> need = scoring_memory(LlamaConfig(), prefix_tokens=400, branch_tokens=90)
    >>> round(need.weights / 2**30, 1), round(need.cache / 2**30, 1)
    (12.6, 5.2)
    """
    widths = _Widths.of(config)
    size = dtype.itemsize
    rows = min(users * candidates, max(1, batch_tokens // (prefix_tokens + branch_tokens)))
    expanded = rows * (prefix_tokens + branch_tokens)
    position_bytes = 2 * widths.keys * size  # keys and values of one layer
    cache = (layers or widths.layers) * position_bytes * (users * prefix_tokens + expanded)
    # A layer's longer keys and values are put together before the shorter ones go, and repeated for grouped heads.
    joining = expanded * (position_bytes + 2 * widths.queries * size)
    return MemoryNeed(
        _weight_bytes(_empty_model(config, dtype)),
        cache=cache,
        activations=max(
            _forward_bytes(widths, users * prefix_tokens, size),
            _forward_bytes(widths, rows * branch_tokens, size) + joining,
        ),
    )


def _forward_bytes(widths: _Widths, tokens: int, size: int) -> int:
    """Bound what one layer holds without gradients: residual and embeddings, then the wider of its two halves."""
    attention = 3 * widths.hidden + 4 * widths.queries + 4 * widths.keys
    feed_forward = 3 * widths.hidden + 4 * widths.inner
    return tokens * size * (2 * widths.hidden + max(attention, feed_forward))


def tuning_memory(
    config: Any,
    lora: LoraConfig,
    *,
    dtype: torch.dtype = torch.bfloat16,
    rows: int,
    tokens: int,
    checkpointing: bool = True,
) -> MemoryNeed:
    """Compute what fine-tuning an adapter takes.

    Parameters
    ----------
    config, dtype
        As in :func:`scoring_memory`.
    lora
        PEFT's configuration.
    rows
        Examples of a micro-batch.
    tokens
        Tokens of the longest of them.
    checkpointing
        Whether a layer's activations are made again in the backward pass in place of being kept.

    Returns
    -------
    MemoryNeed
        Adapter in float32, as PEFT makes it, under AdamW.

    Examples
    --------
    >>> from peft import LoraConfig
    >>> from transformers import LlamaConfig
    >>> need = tuning_memory(LlamaConfig(), LoraConfig(r=16, target_modules=["q_proj"]), rows=4, tokens=512)
    >>> need.adapter == 4 * 4 * 32 * 16 * (4096 + 4096)
    True
    """
    widths = _Widths.of(config)
    size = dtype.itemsize
    model = _empty_model(config, dtype)
    weights = _weight_bytes(model)
    positions = rows * tokens
    kept = positions * widths.hidden * size
    layer = positions * _layer_bytes(widths, size)
    flowing = 2 * positions * widths.inner * _FLOAT32
    return MemoryNeed(
        weights,
        adapter=4 * _FLOAT32 * _adapter_values(model, lora),
        activations=flowing
        + (widths.layers * kept + layer if checkpointing else 3 * kept + widths.layers * layer),
    )


def _layer_bytes(widths: _Widths, size: int) -> int:
    """Bound what one layer keeps of one position for its backward pass.

    In half precision every adapted projection keeps its input once more in float32, and normalization works in it.
    """
    own = 4 * (widths.hidden + widths.queries + widths.keys + widths.inner)
    in_float32 = 6 * widths.hidden + widths.queries + widths.inner
    return own * size + (in_float32 * _FLOAT32 if size < _FLOAT32 else 0)
