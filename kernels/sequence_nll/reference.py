"""The definition of ``sequence_nll`` in plain torch; every faster path is held to it.

Works a block of rows at a time, so that even here the logits of all tokens are never in memory at once.
"""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

__all__ = ["reduce_by_sequence", "token_nll"]

# A block's logits are at most this many numbers (64 MiB in float32).
_BLOCK_NUMBERS = 1 << 24


def token_nll(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    softcap: float | None,
    ignore_index: int,
) -> torch.Tensor:
    """Negative log-likelihood of each target, shape (T,); arguments as in ``sequence_nll``.

    Everything is computed in float32 (float64 for float64 input).
    """
    rows = max(1, _BLOCK_NUMBERS // max(1, weight.shape[0]))
    needs_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    wide = _accumulating(weight)
    blocks = []
    for start in range(0, hidden.shape[0], rows):
        block = (hidden[start : start + rows], wide, targets[start : start + rows], softcap, ignore_index)
        # Recomputed in the backward pass: otherwise autograd would keep the logits of every block.
        blocks.append(
            checkpoint(_block_nll, *block, use_reentrant=False) if needs_gradient else _block_nll(*block)
        )
    if not blocks:
        # Keeps the empty result in the graph, with zero gradients.
        return _accumulating(hidden).sum(dim=1) + 0 * wide.sum()
    return torch.cat(blocks)


def _accumulating(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _block_nll(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    softcap: float | None,
    ignore_index: int,
) -> torch.Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        logits = _accumulating(hidden) @ weight.T  # (rows, vocabulary)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    counted = targets != ignore_index
    at_target = logits.gather(1, targets.where(counted, 0).unsqueeze(1)).squeeze(1)
    return torch.where(counted, logits.logsumexp(dim=1) - at_target, 0.0)


def reduce_by_sequence(
    tokens: torch.Tensor, counted: torch.Tensor, offsets: torch.Tensor, reduction: str
) -> torch.Tensor:
    """Sum or average token values by sequence, shape (S,).

    Parameters
    ----------
    tokens
        Shape (T,).
    counted
        Which tokens count, shape (T,), bool.
    offsets
        Borders, shape (S + 1,).
    reduction
        ``"mean"`` or ``"sum"``.
    """
    sequences = offsets.shape[0] - 1
    place = torch.arange(tokens.shape[0], device=tokens.device)
    sequence = torch.searchsorted(offsets[1:].contiguous(), place, right=True)  # (T,)
    sums = tokens.new_zeros(sequences).index_add(0, sequence, tokens)
    if reduction == "sum":
        return sums
    counts = tokens.new_zeros(sequences).index_add(0, sequence, counted.to(tokens.dtype))
    return sums / counts.clamp(min=1)
