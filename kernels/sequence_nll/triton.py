"""``sequence_nll`` on a GPU: the launches of the kernels in ``triton_kernels.py``, and how they are laid out.

Tokens of all sequences stand one behind the other, so one launch serves ragged sequences. The grid is blocks of tokens
times parts of the vocabulary; a program alone writes what it owns, so there are no locks or atomics and every run
gives the same bits. Parts are joined by torch: a log-sum-exp, or a sum, over their few rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import triton
from mmsrarec.kernels.sequence_nll import triton_kernels

__all__ = ["forward", "splits_for", "weight_gradient"]

# Float32 partial gradients are read and written once for every tile of the vocabulary, so that they have to stay in
# the second cache: half of an A100's 40 MiB.
_CACHED_BYTES = 20 << 20
_MOST_BLOCK = max(block.words for block in triton_kernels.BLOCKS)


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
    tokens, width = hidden.shape
    wide = hidden.new_zeros(0, dtype=torch.float32)
    gradient = wide.new_zeros(tokens if with_gradient else 0, width)
    if tokens == 0:
        return wide, wide.clone(), gradient
    targets = targets.contiguous()
    splits = splits_for(tokens, weight.shape[0], _processors(hidden.device))
    log_sums, at_target = wide.new_empty(splits, tokens), wide.new_empty(splits, tokens)
    shape = _shape(hidden, weight, softcap)
    triton_kernels.log_sum_exp[_grid(tokens, splits)](
        hidden, weight, targets, log_sums, at_target, part=_part(weight, splits), **shape
    )
    counted = targets != ignore_index
    log_sum = log_sums.logsumexp(dim=0).where(counted, 0.0)  # (tokens,)
    nll = (log_sum - at_target.sum(dim=0)).where(counted, 0.0)
    if with_gradient and width:
        splits = splits_for(tokens, weight.shape[0], _processors(hidden.device), gradient_width=width)
        parts = wide.new_zeros(splits, tokens, width)
        triton_kernels.hidden_gradient[_grid(tokens, splits)](
            hidden,
            weight,
            targets,
            log_sum,
            parts,
            skip_below,
            ignore_index,
            part=_part(weight, splits),
            **shape,
        )
        gradient = parts[0]
        for part in parts[1:]:
            gradient += part
    return nll, log_sum, gradient


def weight_gradient(
    upstream: torch.Tensor,
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    log_sum: torch.Tensor,
    softcap: float | None,
    ignore_index: int,
) -> torch.Tensor:
    """See ``cpu.weight_gradient``; a program owns a tile of the vocabulary and meets all tokens."""
    gradient = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
    if weight.numel() and len(targets):
        triton_kernels.weight_gradient[lambda meta: (triton.cdiv(weight.shape[0], meta["BLOCK_WORDS"]),)](
            hidden,
            weight,
            targets.contiguous(),
            log_sum.contiguous(),
            upstream.contiguous(),
            gradient,
            ignore_index,
            **_shape(hidden, weight, softcap),
        )
    return gradient.to(weight.dtype)


def splits_for(tokens: int, words: int, processors: int, gradient_width: int = 0) -> int:
    """Into how many parts the vocabulary is cut, so that few tokens keep all processors busy.

    Parameters
    ----------
    tokens, words
        Sizes T and V.
    processors
        Streaming multiprocessors of the card.
    gradient_width
        If given, each part has a float32 gradient of this width for every token. All of them have to fit into the
        cache, and those beyond the first to add no more than a fifth to the bytes of the weights.

    Returns
    -------
    int
        1 or more.

    Examples
    --------
    >>> splits_for(2048, 49152, 108), splits_for(2048, 49152, 108, gradient_width=576)
    (6, 3)
    """
    rows = triton_kernels.blocks_for(gradient=bool(gradient_width))[0].tokens
    wanted = processors // triton.cdiv(tokens, rows)
    if gradient_width:
        wanted = min(wanted, _CACHED_BYTES // (4 * tokens * gradient_width), 1 + words // (10 * tokens))
    return max(1, min(wanted, triton.cdiv(words, _MOST_BLOCK)))


def _shape(hidden: torch.Tensor, weight: torch.Tensor, softcap: float | None) -> dict[str, object]:
    return {
        "tokens": hidden.shape[0],
        "words": weight.shape[0],
        "softcap": softcap or 0.0,
        "hidden_row": hidden.stride(0),
        "hidden_column": hidden.stride(1),
        "weight_row": weight.stride(0),
        "weight_column": weight.stride(1),
        "WIDTH": hidden.shape[1],
        "CAPPED": softcap is not None,
        # TF32 would round what was asked for in float32; it is ignored for 16-bit operands.
        "PRECISION": "ieee",
        "WIDEN": triton_kernels.interpreted(),
        "enable_fp_fusion": True,
    }


def _grid(tokens: int, splits: int) -> Callable[[dict[str, int]], tuple[int, int]]:
    # Blocks of tokens vary fastest: programs that run together read the same weights, from the cache.
    return lambda meta: (triton.cdiv(tokens, meta["BLOCK_TOKENS"]), splits)


def _part(weight: torch.Tensor, splits: int) -> int:
    """Words of one part, a multiple of every block."""
    return triton.cdiv(triton.cdiv(weight.shape[0], splits), _MOST_BLOCK) * _MOST_BLOCK


@functools.cache
def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 4  # under the interpreter: several parts, so that joining them is tested
    return torch.cuda.get_device_properties(device).multi_processor_count
