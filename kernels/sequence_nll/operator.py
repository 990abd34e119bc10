"""The fused kernels as one registered operator of torch, so that compiling, autograd and autocast see one step.

Stands between the signature in the package and ``cpu.py`` or ``triton.py``. Each of these has two functions:

- ``forward`` gives the NLL of every token and, if asked, its gradient to the token's hidden state: the factor that
  comes from above is one number a token, so the gradient can be made while the probabilities are at hand;
- ``weight_gradient`` makes the probabilities again, a tile of the vocabulary at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from mmsrarec.kernels.dispatch import choose, implementation

__all__ = ["token_nll"]


@torch.library.custom_op("mmsrarec::token_nll", mutates_args=())
def token_nll(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    softcap: float | None,
    ignore_index: int,
    skip_below: float,
    with_gradient: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Score each token.

    Parameters
    ----------
    hidden, weight, targets, softcap, ignore_index, skip_below
        As in ``sequence_nll``.
    with_gradient
        Whether the gradient to `hidden` will be asked for.

    Returns
    -------
    nll, log_sum, gradient
        Shapes (T,), (T,) and (T, d), or (0, d) without a gradient; float32. ``log_sum`` is the logarithm of the sum of
        exponentials. All are 0 for an ignored token.
    """
    # The kernels accumulate in float32 whatever autocast would have products do.
    with torch.autocast(hidden.device.type, enabled=False):
        return _module(hidden).forward(
            hidden, weight, targets, softcap, ignore_index, skip_below, with_gradient
        )


@token_nll.register_fake
def _(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    softcap: float | None,
    ignore_index: int,
    skip_below: float,
    with_gradient: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, width = hidden.shape
    nll, log_sum = (hidden.new_empty(rows, dtype=torch.float32) for _ in range(2))
    return nll, log_sum, nll.new_empty(rows if with_gradient else 0, width)


@torch.library.custom_op("mmsrarec::token_nll_weight_gradient", mutates_args=())
def _weight_gradient(
    upstream: torch.Tensor,
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    log_sum: torch.Tensor,
    softcap: float | None,
    ignore_index: int,
) -> torch.Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        return _module(hidden).weight_gradient(
            upstream, hidden, weight, targets, log_sum, softcap, ignore_index
        )


@_weight_gradient.register_fake
def _(
    upstream: torch.Tensor,
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    log_sum: torch.Tensor,
    softcap: float | None,
    ignore_index: int,
) -> torch.Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


def _module(hidden: torch.Tensor) -> Any:
    return implementation("sequence_nll", choose(hidden.device.type))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    hidden, weight, targets, softcap, ignore_index, _, _ = inputs
    _, log_sum, gradient = output
    ctx.save_for_backward(hidden, weight, targets, log_sum, gradient)
    ctx.softcap, ctx.ignore_index = softcap, ignore_index


def _backward(ctx: Any, upstream: torch.Tensor, *unused: Any) -> tuple[torch.Tensor | None, ...]:
    hidden, weight, targets, log_sum, gradient = ctx.saved_tensors
    to_hidden = to_weight = None
    if ctx.needs_input_grad[0]:
        to_hidden = (gradient * upstream.unsqueeze(1)).to(hidden.dtype)
    if ctx.needs_input_grad[1]:
        to_weight = _weight_gradient(
            upstream, hidden, weight, targets, log_sum, ctx.softcap, ctx.ignore_index
        )
    return to_hidden, to_weight, None, None, None, None, None


token_nll.register_autograd(_backward, setup_context=_setup_context)
