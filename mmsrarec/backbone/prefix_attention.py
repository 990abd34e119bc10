"""Attention of many branches to one shared prefix, without a copy of the prefix for each branch.

Stands under ``shared_prefix``. transformers' own attention wants keys and values of every row in one block, so a
prefix of 1,000 tokens would be copied for each candidate in each layer, and once more for grouped heads: a quarter of
the time of a whole pass on a CPU. Here the queries of all branches attend to the prefix as one long row, to
their own branch as usual, and the two results are merged by their log-sum-exp, which is exact.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["PrefixNotReached", "attending_to", "branch_attention", "is_available"]

_NAME = "mmsrarec_shared_prefix"
# An architecture that sets one of these does more in its attention than is done here.
_UNKNOWN_EXTRAS = ("softcap", "s_aux", "position_bias", "sliding_window")

LayerPrefix = tuple[torch.Tensor, torch.Tensor]


class PrefixNotReached(Exception):  # noqa: N818
    """The architecture does not hand the prefix to its attention, or wants more of it; expand the cache instead."""


def is_available(backbone: Backbone) -> bool:
    """Whether this way of attention can be tried: on a CPU, in a model whose attention can be exchanged."""
    decoder = backbone.inner.get_decoder()
    takes_more = any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD
        for parameter in inspect.signature(backbone.inner.forward).parameters.values()
    )
    return (
        backbone.device.type == "cpu"
        and takes_more
        and bool(getattr(decoder, "_supports_attention_backend", False))
        and hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu")
    )


@contextmanager
def attending_to(backbone: Backbone, prefix: Sequence[LayerPrefix]) -> Iterator[dict[str, Any]]:
    """Let the model's text layers attend to a prefix inside a block.

    Parameters
    ----------
    backbone
        The model.
    prefix
        For each layer keys and values of the prefix, shape (1, key heads, P, d).

    Yields
    ------
    dict
        Further arguments for the inner model's forward pass.
    """
    config = backbone.inner.get_decoder().config
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield {"shared_prefix": prefix, "use_cache": False}
    finally:
        config._attn_implementation = before


def branch_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    shared_prefix: Sequence[LayerPrefix] | None = None,
    **extras: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to the shared prefix and to the own branch; the signature is that of transformers' attention functions.

    Parameters
    ----------
    module
        The attention layer, for its number.
    query
        Shape (B, heads, T, d).
    key, value
        Of the branch, shape (B, key heads, T, d).
    attention_mask
        Of the branch, shape (B, 1, T, T), bool or additive; ``None`` is causal.
    scaling
        Factor on the scores; ``None`` is d ** -0.5.
    shared_prefix
        As in :func:`attending_to`.
    **extras
        What else the architecture passes.

    Returns
    -------
    tuple
        Result, shape (B, T, heads, d), and ``None``.

    Raises
    ------
    PrefixNotReached
        If the prefix does not come through, or `extras` change what attention is.
    """
    if shared_prefix is None or any(extras.get(name) is not None for name in _UNKNOWN_EXTRAS):
        raise PrefixNotReached(type(module).__name__)
    rows, heads, length, width = query.shape
    prefix_key, prefix_value = shared_prefix[module.layer_idx]
    key_heads = key.shape[1]
    # All queries that read one key head become one row of that head: (1, key heads, rows * group * T, d).
    folded = query.reshape(rows, key_heads, -1, width).transpose(0, 1).reshape(1, key_heads, -1, width)
    seen, seen_weight = _attend(folded, prefix_key, prefix_value, None, scaling, causal=False)
    seen = seen.reshape(key_heads, rows, -1, width).transpose(0, 1).reshape(query.shape)
    seen_weight = seen_weight.reshape(key_heads, rows, -1).transpose(0, 1).reshape(rows, heads, length)
    group = heads // key_heads
    own, own_weight = _attend(
        query,
        key.repeat_interleave(group, dim=1),
        value.repeat_interleave(group, dim=1),
        _additive(attention_mask, query.dtype),
        scaling,
        causal=attention_mask is None,
    )
    # Softmax over both is a mixture of the two softmaxes, weighted by their normalizers.
    share = torch.sigmoid(seen_weight - own_weight).unsqueeze(-1).to(own.dtype)  # (B, heads, T, 1)
    return torch.lerp(own, seen, share).transpose(1, 2).contiguous(), None


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    *,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention and the log-sum-exp of its scores, which the public function does not return."""
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, causal, attn_mask=mask, scale=scaling
    )


def _additive(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, float("-inf"))


AttentionInterface.register(_NAME, branch_attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
