"""The definition of ``group_reward`` in plain torch; every faster path is held to it."""

from __future__ import annotations

import torch

__all__ = ["accumulating", "group_reward"]


def accumulating(values: torch.Tensor) -> torch.Tensor:
    """Float64 stays, everything else becomes float32."""
    return values if values.dtype == torch.float64 else values.float()


def group_reward(
    keyword_embedding: torch.Tensor,
    text_embedding: torch.Tensor,
    nll: torch.Tensor,
    length: torch.Tensor,
    group_size: int,
    *,
    weights: tuple[float, ...],
    reconstruction: str,
    clip: float,
    epsilon: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Components, total and advantage, each (B,); arguments as in the package's ``group_reward``, checked there."""
    information = _cosine(keyword_embedding, text_embedding).to(accumulating(keyword_embedding).dtype)
    reconstructed = _reconstruction(accumulating(nll), reconstruction, clip)
    shortness = -accumulating(length).to(information.dtype)
    alpha, beta, gamma = weights
    largest_finite = torch.finfo(information.dtype).max
    total = alpha * information + beta * reconstructed + gamma * shortness  # (B,)
    total = total.clamp(-largest_finite, largest_finite)
    # Sums and squares of rewards near the largest float32 fit into float64, scaled ones into any.
    groups = total.double().reshape(-1, group_size)  # (groups, group size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    largest = centred.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    deviation = largest * (centred / largest).square().mean(dim=1, keepdim=True).sqrt()
    advantage = (centred / (deviation + epsilon)).reshape(-1).to(total.dtype)
    return information, reconstructed, shortness, total, advantage


def _cosine(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    # Scaled to a largest entry of 1: squares of huge or tiny entries would overflow or vanish.
    first, second = (_scaled(values.double()) for values in (first, second))
    norms = first.norm(dim=1) * second.norm(dim=1)
    cosine = (first * second).sum(dim=1) / norms.where(norms != 0, 1.0)
    return torch.where(norms == 0, 0.0, cosine)


def _scaled(values: torch.Tensor) -> torch.Tensor:
    if not values.shape[1]:
        return values
    largest = values.abs().amax(dim=1, keepdim=True)
    return values / largest.where(largest != 0, 1.0)


def _reconstruction(nll: torch.Tensor, form: str, clip: float) -> torch.Tensor:
    if form == "nll":
        return -nll
    bound = clip if form == "clipped" else torch.finfo(nll.dtype).max
    return -nll.exp().clamp(max=bound)
