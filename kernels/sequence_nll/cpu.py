"""``sequence_nll`` on the CPU: product, online softmax and gradient fused in C++ (``csrc/sequence_nll``).

A block of the vocabulary meets a panel of tokens in a register tile whose logits go through exp while they are still
in the first cache, so no array of logits exists, and the second product follows at once. Only the gradient to the
output matrix, which frozen backbones never ask for, is left to torch's products over tiles.
"""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["forward", "weight_gradient"]

# Logits of a tile of the gradient to the output matrix are at most this many numbers (16 MiB).
_TILE_NUMBERS = 1 << 22


def forward(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    softcap: float | None,
    ignore_index: int,
    skip_below: float,
    with_gradient: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See ``operator.token_nll``; float32, bfloat16 or float16."""
    counted = targets != ignore_index
    if bool(counted.all()):
        return _forward_counted(hidden, weight, targets, softcap, skip_below, with_gradient)
    rows = counted.nonzero().squeeze(1)
    parts = _forward_counted(hidden[rows], weight, targets[rows], softcap, skip_below, with_gradient)
    nll, log_sum, gradient = (
        part.new_zeros(hidden.shape[0], *part.shape[1:]).index_copy_(0, rows, part)
        if part.shape[0] == len(rows)
        else part
        for part in parts
    )
    return nll, log_sum, gradient


def _forward_counted(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    softcap: float | None,
    skip_below: float,
    with_gradient: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    from mmsrarec import _native

    rows, width = hidden.shape
    nll, log_sum = torch.empty(rows), torch.empty(rows)
    gradient = torch.empty(rows if with_gradient else 0, width)
    _native.token_nll(
        _as_numpy(hidden),
        _as_numpy(weight),
        str(hidden.dtype).removeprefix("torch."),
        targets.contiguous().numpy(),
        softcap or 0.0,
        skip_below,
        torch.get_num_threads(),
        nll.numpy(),
        log_sum.numpy(),
        gradient.numpy() if with_gradient else None,
    )
    return nll, log_sum, gradient


def _as_numpy(values: torch.Tensor) -> np.ndarray:
    """View as NumPy, strides kept; NumPy has no bfloat16, so 16-bit floats go as integers."""
    values = values.detach()
    return (values if values.dtype == torch.float32 else values.view(torch.int16)).numpy()


def weight_gradient(
    upstream: torch.Tensor,
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    log_sum: torch.Tensor,
    softcap: float | None,
    ignore_index: int,
) -> torch.Tensor:
    """Gradient to `weight`, shape (V, d), of its dtype; accumulated in float32 over all tokens.

    Parameters
    ----------
    upstream
        Gradient of each token's NLL, shape (T,), float32.
    hidden, weight, targets, softcap, ignore_index
        As in ``sequence_nll``.
    log_sum
        From ``forward``, shape (T,).
    """
    counted = (targets != ignore_index).nonzero().squeeze(1)
    hidden, targets = hidden[counted].float(), targets[counted]
    upstream, log_sum = upstream[counted], log_sum[counted]
    result = torch.empty_like(weight, memory_format=torch.contiguous_format)
    words = max(1, _TILE_NUMBERS // max(1, len(counted)))
    for first in range(0, weight.shape[0], words):
        tile = weight[first : first + words].float()
        logits = hidden @ tile.T  # (tokens, words)
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        factor = (logits - log_sum.unsqueeze(1)).exp_()
        here = ((targets >= first) & (targets < first + len(tile))).nonzero().squeeze(1)
        factor[here, targets[here] - first] -= 1
        factor *= upstream.unsqueeze(1)
        if softcap is not None:
            factor *= 1 - (logits / softcap).square()
        result[first : first + words] = factor.T @ hidden
    return result
