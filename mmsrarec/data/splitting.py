"""Which events go where: k-core, split by user or by time, last events held out.

Functions on columns and arrays; the methods of :class:`~mmsrarec.data.Dataset` of the same names apply them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from mmsrarec.errors import InputError

__all__ = ["core_events", "last_events", "split_times", "split_users"]


def core_events(interactions: pl.DataFrame, k: int, *, items: bool) -> pl.DataFrame:
    """Drop users, and items if asked, with fewer than `k` events, until none is left."""
    if k < 1:
        raise InputError(f"k must be 1 or more, got {k}.")
    while True:
        keep = pl.len().over("user") >= k
        if items:
            keep = keep & (pl.len().over("item") >= k)
        kept = interactions.filter(keep)
        if len(kept) == len(interactions):
            return kept
        interactions = kept


def check_ratios(ratios: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the shares of train, validation and test, summing to 1."""
    try:
        shares = np.asarray(ratios, dtype=np.float64)
    except (TypeError, ValueError):
        shares = np.empty(0)
    if shares.shape != (3,) or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() == 0:
        raise InputError(f"ratios must be three numbers of 0 or more that are not all 0, got {ratios!r}.")
    return shares / shares.sum()


def split_users(n_users: int, ratios: Sequence[float], seed: int) -> list[npt.NDArray[np.int64]]:
    """Deal users out at random.

    Parameters
    ----------
    n_users
        Number of users.
    ratios
        Three shares.
    seed
        Seed of the shuffle.

    Returns
    -------
    list of numpy.ndarray
        Three sorted int64 arrays that together hold every user once. A share above 0 gets at least one user
        if there are enough.
    """
    shares = check_ratios(ratios)
    counts = np.floor(shares * n_users + 0.5).astype(int)
    if n_users >= np.count_nonzero(shares):
        counts = np.where(shares > 0, np.maximum(counts, 1), 0)
    counts[int(np.argmax(shares))] += n_users - counts.sum()
    order = np.random.default_rng(seed).permutation(n_users)
    return [np.sort(part) for part in np.split(order, np.cumsum(counts)[:-1])]


def split_times(timestamps: npt.NDArray[np.generic], ratios: Sequence[float]) -> list[npt.NDArray[np.bool_]]:
    """Cut all events at two moments.

    Parameters
    ----------
    timestamps
        Shape (events,), any order.
    ratios
        Three shares of the number of events.

    Returns
    -------
    list of numpy.ndarray
        Three masks, shape (events,). Events of one moment stay together, in the earlier part, so no part
        holds an event that is older than one of the part before.
    """
    shares = check_ratios(ratios)
    ordered = np.sort(timestamps)
    parts, left = [], np.ones(len(ordered), dtype=bool)
    for share in np.cumsum(shares)[:2]:
        count = math.floor(share * len(ordered) + 0.5)
        early = timestamps <= ordered[count - 1] if count else np.zeros(len(ordered), dtype=bool)
        parts.append(left & early)
        left = left & ~early
    return [*parts, left]


def last_events(indptr: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.bool_]:
    """Mark the last `n` events of each user who has more than `n`; shape (events,)."""
    if n < 1:
        raise InputError(f"n must be 1 or more, got {n}.")
    lengths = np.diff(indptr)
    from_end = np.repeat(indptr[1:], lengths) - np.arange(indptr[-1])
    return (from_end <= n) & np.repeat(lengths > n, lengths)
