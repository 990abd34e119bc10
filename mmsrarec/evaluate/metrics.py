"""Ranking metrics of one positive among negatives, a value a user, vectorized over users.

Everything follows from the mid-rank ``r = #(score > positive's) + ½ #(score = positive's)`` among the negatives: ties
are neither won nor lost. Without ties the values are those of ``torchmetrics.functional.retrieval``, which the tests
hold them to; torchmetrics itself takes one user a call, decides ties by the order of candidates, and needs scores
between 0 and 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmsrarec.errors import InputError

__all__ = ["auc", "hit_rate", "mid_ranks", "ndcg", "reciprocal_rank"]

Values = npt.NDArray[np.float64]


def mid_ranks(positive: npt.ArrayLike, negatives: npt.ArrayLike) -> Values:
    """Rank each positive among its negatives, from 0 for the best.

    Parameters
    ----------
    positive
        float (users,), score of the positive.
    negatives
        float (users, n), scores of the negatives; −inf leaves one out.

    Returns
    -------
    numpy.ndarray
        float64 (users,), from 0 to the number of negatives.

    Raises
    ------
    InputError
        If a score is NaN.

    Examples
    --------
    >>> mid_ranks([0.5, 0.5], [[0.9, 0.1], [0.5, 0.1]]).tolist()
    [1.0, 0.5]
    """
    wanted = np.asarray(positive)[:, None]
    others = np.asarray(negatives)
    if np.isnan(wanted).any() or np.isnan(others).any():
        raise InputError("scores must be numbers, got NaN; a model must score every candidate.")
    return (others > wanted).sum(axis=1) + 0.5 * (others == wanted).sum(axis=1)


def hit_rate(ranks: Values, k: int) -> Values:
    """HR@k: 1 where the positive is among the first `k`, otherwise 0.

    Examples
    --------
    >>> hit_rate(np.asarray([0.0, 4.5, 5.0]), 5).tolist()
    [1.0, 1.0, 0.0]
    """
    return (ranks < k).astype(np.float64)


def ndcg(ranks: Values, k: int) -> Values:
    """NDCG@k with one positive: 1 / log₂(r + 2) where it is among the first `k`, otherwise 0.

    Examples
    --------
    >>> ndcg(np.asarray([0.0, 2.0, 7.0]), 5).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.where(ranks < k, 1 / np.log2(ranks + 2), 0.0)


def reciprocal_rank(ranks: Values) -> Values:
    """Reciprocal rank, 1 / (r + 1); its mean is MRR.

    Examples
    --------
    >>> reciprocal_rank(np.asarray([0.0, 1.0])).tolist()
    [1.0, 0.5]
    """
    return 1 / (ranks + 1)


def auc(ranks: Values, n_negatives: int | npt.NDArray[np.integer]) -> Values:
    """Area under the ROC curve, 1 − r / negatives: the share of negatives below the positive, ties by half.

    Examples
    --------
    >>> auc(np.asarray([0.0, 5.0]), 20).tolist()
    [1.0, 0.75]
    """
    return 1 - ranks / n_negatives
