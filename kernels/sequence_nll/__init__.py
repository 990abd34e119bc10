"""Negative log-likelihood of ragged sequences, from hidden states and the output matrix in one call.

Used by the reconstruction reward, by fine-tuning on answer tokens and by likelihood scoring.
"""

from __future__ import annotations

from typing import Literal

import torch
from mmsrarec.kernels.dispatch import choose
from mmsrarec.kernels.sequence_nll import operator, reference

from mmsrarec.errors import InputError

__all__ = ["sequence_nll"]


def sequence_nll(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    offsets: torch.Tensor,
    *,
    reduction: Literal["mean", "sum", "none"] = "mean",
    softcap: float | None = None,
    ignore_index: int = -100,
    skip_below: float = 0.0,
) -> torch.Tensor:
    """Score sequences: ``-log softmax(hidden @ weight.T)`` at the targets, gathered by sequence.

    The (tokens, vocabulary) logits are never in memory at once. NaN and infinities in the input reach the
    output.

    Parameters
    ----------
    hidden
        Hidden states that predict the targets, shape (T, d), floating point; the sequences one behind the other.
    weight
        Output matrix, shape (V, d), of the dtype of `hidden`.
    targets
        Token ids, shape (T,), int64, in [0, V) or `ignore_index`.
    offsets
        Borders of the sequences, shape (S + 1,), int64, non-decreasing from 0 to T. Equal neighbours are an empty
        sequence.
    reduction
        ``"mean"`` over a sequence's tokens that are not ignored, ``"sum"`` of them, or ``"none"`` for each token's own.
    softcap
        If given, logits are ``softcap * tanh(logits / softcap)`` (as in Gemma).
    ignore_index
        Target that does not count.
    skip_below
        Probabilities below it may be left out of the gradient to `hidden` (of a token's, on the CPU; of a tile's, on a
        GPU), which saves most of the second product once a model is trained. 0 is exact. What a token's gradient
        loses is at most the sum of the probabilities left out, itself at most ``skip_below * V``, times the largest
        norm of a row of `weight`; the NLL and the gradient to `weight` stay exact.

    Returns
    -------
    torch.Tensor
        Shape (S,), or (T,) for ``"none"``; float32, or float64 for float64 input. 0 for a sequence without
        tokens and for an ignored token. Gradients go to `hidden`, and to `weight` if it requires one; they can be
        taken once, not differentiated again.

    Raises
    ------
    InputError
        If a shape, dtype, device, border or target is not as above.

    Examples
    --------
    >>> hidden, weight = torch.zeros(3, 4), torch.zeros(8, 4)
    >>> targets, offsets = torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3])
    >>> sequence_nll(hidden, weight, targets, offsets).exp().round().tolist()
    [8.0, 8.0]

    Notes
    -----
    One implementation of ``reference``, ``cpu`` and ``triton`` runs, see :func:`mmsrarec.kernels.backend`; float64
    always takes the reference. Under ``torch.autocast`` the dtypes of `hidden` and `weight` may differ: `hidden` is
    brought to that of `weight`. Compiled code (``torch.compile``) does not look at the values of `offsets`.

    Equation of the reconstruction reward: ``NLL(text | W) = -1/N sum_j log P(w_j | w_<j, W)``; its exponential is the
    perplexity.
    """
    if torch.is_autocast_enabled(hidden.device.type) and hidden.dtype != weight.dtype:
        # Not the other way round: a copy of the output matrix would be the largest array of all.
        hidden = hidden.to(weight.dtype)
    _check(hidden, weight, targets, offsets, reduction, softcap, skip_below)
    if not torch.compiler.is_compiling():
        _check_values(weight, targets, offsets, ignore_index)
    if hidden.dtype == torch.float64 or choose(hidden.device.type) == "reference":
        tokens = reference.token_nll(hidden, weight, targets, softcap=softcap, ignore_index=ignore_index)
    else:
        with_gradient = torch.is_grad_enabled() and hidden.requires_grad
        tokens, _, _ = operator.token_nll(
            hidden, weight, targets, softcap, ignore_index, skip_below, with_gradient
        )  # (T,)
    if reduction == "none":
        return tokens
    return reference.reduce_by_sequence(tokens, targets != ignore_index, offsets, reduction)


def _check(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    offsets: torch.Tensor,
    reduction: str,
    softcap: float | None,
    skip_below: float,
) -> None:
    if hidden.ndim != 2 or not hidden.is_floating_point():
        raise InputError(
            f"hidden must be floating point of shape (T, d), got {hidden.dtype} {tuple(hidden.shape)}."
        )
    length, width = hidden.shape
    if weight.ndim != 2 or weight.shape[1] != width or weight.dtype != hidden.dtype:
        raise InputError(
            f"weight must be {hidden.dtype} of shape (V, {width}), got {weight.dtype} {tuple(weight.shape)}."
        )
    if targets.shape != (length,) or targets.dtype != torch.int64:
        raise InputError(
            f"targets must be int64 of shape ({length},), got {targets.dtype} {tuple(targets.shape)}."
        )
    if offsets.ndim != 1 or len(offsets) < 1 or offsets.dtype != torch.int64:
        raise InputError(
            f"offsets must be int64 of shape (S + 1,), got {offsets.dtype} {tuple(offsets.shape)}."
        )
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}.")
    if softcap is not None and not softcap > 0:
        raise InputError(f"softcap must be above 0 or None, got {softcap}.")
    if not 0 <= skip_below < 1:
        raise InputError(f"skip_below must be 0 or more and below 1, got {skip_below}.")
    if len({tensor.device for tensor in (hidden, weight, targets, offsets)}) != 1:
        raise InputError(
            "hidden, weight, targets and offsets must be on one device; move them with .to(device)."
        )


def _check_values(
    weight: torch.Tensor, targets: torch.Tensor, offsets: torch.Tensor, ignore_index: int
) -> None:
    length = len(targets)
    if offsets[0] != 0 or offsets[-1] != length or bool((offsets.diff() < 0).any()):
        raise InputError(f"offsets must rise from 0 to {length}, got {offsets.tolist()[:8]}.")
    counted = targets[targets != ignore_index]
    if counted.numel() and (int(counted.min()) < 0 or int(counted.max()) >= weight.shape[0]):
        raise InputError(
            f"targets must lie in [0, {weight.shape[0]}) or be {ignore_index}, got "
            f"{int(counted.min())} to {int(counted.max())}."
        )
