"""The three verifiable rewards of summarization and GRPO's group-relative advantage, in one call.

Used by the room ``summarize``; the formulas are those of the paper's first stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from mmsrarec.kernels.dispatch import choose, implementation
from mmsrarec.kernels.group_reward import reference

from mmsrarec.errors import InputError

__all__ = ["GroupReward", "group_reward"]


class GroupReward(NamedTuple):
    """What :func:`group_reward` returns; each of shape (B,), float32 (float64 for float64 input)."""

    information: torch.Tensor
    reconstruction: torch.Tensor
    length: torch.Tensor
    total: torch.Tensor
    advantage: torch.Tensor


@torch.no_grad()
def group_reward(
    keyword_embedding: torch.Tensor,
    text_embedding: torch.Tensor,
    nll: torch.Tensor,
    length: torch.Tensor,
    group_size: int,
    *,
    weights: Sequence[float] = (1.0, 1.0, 1.0),
    reconstruction: Literal["perplexity", "nll", "clipped"] = "perplexity",
    clip: float = 100.0,
    epsilon: float = 1e-4,
) -> GroupReward:
    """Reward keyword lists, and compare each with the others that were drawn for the same item.

    ``information = cos(keyword_embedding, text_embedding)``, ``reconstruction = -exp(nll)`` (or a bounded form),
    ``length = -length``, ``total`` their weighted sum, and ``advantage = (total - mean of group) / (deviation of
    group + epsilon)``.

    Parameters
    ----------
    keyword_embedding, text_embedding
        Sentence embeddings of the keywords and of the item's text, shape (B, d), floating point.
    nll
        Mean negative log-likelihood of the text given the keywords, shape (B,).
    length
        Number of keywords, shape (B,).
    group_size
        Number of keyword lists of one item; they stand next to each other, so it divides B.
    weights
        Weights of information, reconstruction and length (the paper's alpha, beta, gamma).
    reconstruction
        ``"perplexity"`` is the paper's ``-exp(nll)``, at least the most negative finite number; ``"nll"`` is
        ``-nll``; ``"clipped"`` is ``-min(exp(nll), clip)``.
    clip
        Largest perplexity that ``"clipped"`` tells apart.
    epsilon
        Added to the group's deviation (of the population, as a group of one has no other).

    Returns
    -------
    GroupReward
        Components, total and advantage. A zero vector has cosine 0; in a group of equal rewards, or of one,
        every advantage is 0. Totals that overflow are the largest finite number of their sign. NaN in the input
        reaches the output. Rewards are judged, not differentiated: no gradient passes.

    Raises
    ------
    InputError
        If a shape, dtype, device or setting is not as above.

    Examples
    --------
    >>> same = torch.ones(2, 3)
    >>> made = group_reward(same, same, torch.zeros(2), torch.tensor([2.0, 4.0]), 2)
    >>> made.total.round().tolist(), made.advantage.round().tolist()
    ([-2.0, -4.0], [1.0, -1.0])
    """
    rows = _check(keyword_embedding, text_embedding, nll, length, group_size)
    if len(weights) != 3 or not all(weight == weight and abs(weight) < float("inf") for weight in weights):
        raise InputError(f"weights must be three finite numbers, got {tuple(weights)}.")
    if reconstruction not in ("perplexity", "nll", "clipped"):
        raise InputError(f"reconstruction must be 'perplexity', 'nll' or 'clipped', got {reconstruction!r}.")
    if not clip > 0 or not epsilon > 0:
        raise InputError(f"clip and epsilon must be above 0, got clip={clip}, epsilon={epsilon}.")
    if rows == 0:
        empty = reference.accumulating(nll)
        return GroupReward(empty, empty, empty, empty, empty)
    name = choose(nll.device.type)
    if torch.float64 in (keyword_embedding.dtype, nll.dtype, length.dtype):
        name = "reference"  # the only one that computes in float64
    return GroupReward(
        *implementation("group_reward", name).group_reward(
            keyword_embedding,
            text_embedding,
            nll,
            length,
            group_size,
            weights=tuple(weights),
            reconstruction=reconstruction,
            clip=clip,
            epsilon=epsilon,
        )
    )


def _check(
    keyword_embedding: torch.Tensor,
    text_embedding: torch.Tensor,
    nll: torch.Tensor,
    length: torch.Tensor,
    group_size: int,
) -> int:
    shape = tuple(keyword_embedding.shape)
    if len(shape) != 2 or not keyword_embedding.is_floating_point():
        raise InputError(
            f"keyword_embedding must be floating point of shape (B, d), got {keyword_embedding.dtype} {shape}."
        )
    if tuple(text_embedding.shape) != shape or text_embedding.dtype != keyword_embedding.dtype:
        raise InputError(
            f"text_embedding must be {keyword_embedding.dtype} of shape {shape}, got {text_embedding.dtype} "
            f"{tuple(text_embedding.shape)}."
        )
    for name, values in (("nll", nll), ("length", length)):
        if tuple(values.shape) != shape[:1]:
            raise InputError(f"{name} must have shape ({shape[0]},), got {tuple(values.shape)}.")
    if group_size < 1 or shape[0] % group_size:
        raise InputError(f"group_size must divide the {shape[0]} rows, got {group_size}.")
    if len({values.device for values in (keyword_embedding, text_embedding, nll, length)}) != 1:
        raise InputError("keyword_embedding, text_embedding, nll and length must be on one device.")
    return shape[0]
