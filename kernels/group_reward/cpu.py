"""``group_reward`` on the CPU: one pass over the embeddings in C++ (``csrc/group_reward``)."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["group_reward"]


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
    from mmsrarec import _native

    rewards = torch.empty(5, nll.shape[0])
    alpha, beta, gamma = weights
    _native.group_reward(
        _as_numpy(keyword_embedding),
        _as_numpy(text_embedding),
        _as_numpy(nll),
        _as_numpy(length),
        group_size,
        (alpha, beta, gamma),
        reconstruction,
        clip,
        epsilon,
        torch.get_num_threads(),
        rewards.numpy(),
    )
    information, reconstructed, shortness, total, advantage = rewards
    return information, reconstructed, shortness, total, advantage


def _as_numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().float().contiguous().numpy()
