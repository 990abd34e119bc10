"""Which events go where: k-core, split by user or by time, last events held out.

Holds what the methods of :class:`~mmsrarec.data.Dataset` of these names do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mmsrarec.data.histories import Histories
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.data.dataset import Dataset

__all__ = ["hold_out_last", "k_core", "of_users", "split"]


def split(dataset: Dataset, by: str, ratios: Sequence[float], seed: int) -> tuple[Dataset, Dataset, Dataset]:
    """Split by user or by time; see :meth:`~mmsrarec.data.Dataset.split`."""
    if by == "user":
        parts = [of_users(dataset, users) for users in split_users(dataset.n_users, ratios, seed)]
    elif by == "time":
        masks = split_times(dataset.interactions["timestamp"].to_numpy(), ratios)
        frames = [dataset.interactions.filter(pl.Series(mask)) for mask in masks]
        parts = [of_users(dataset, frame["user"].unique().sort().to_numpy(), frame) for frame in frames]
    else:
        raise InputError(f"by must be 'user' or 'time', got {by!r}.")
    return parts[0], parts[1], parts[2]


def k_core(dataset: Dataset, k: int, *, items: bool) -> Dataset:
    """Keep the k-core; see :meth:`~mmsrarec.data.Dataset.k_core`."""
    kept = core_events(dataset.interactions, k, items=items)
    smaller = of_users(dataset, kept["user"].unique().sort().to_numpy(), kept)
    if not items:
        return smaller
    chosen = kept["item"].unique().sort().to_numpy()
    position = np.full(dataset.n_items, -1, dtype=np.int32)
    position[chosen] = np.arange(len(chosen), dtype=np.int32)
    events = smaller.interactions
    return replace(
        smaller,
        interactions=events.with_columns(item=pl.Series(position[events["item"].to_numpy()])),
        items=dataset.items[chosen],
        item_ids=dataset.item_ids.gather(chosen),
    )


def hold_out_last(dataset: Dataset, n: int) -> tuple[Dataset, Histories]:
    """Hold out last events; see :meth:`~mmsrarec.data.Dataset.hold_out_last`."""
    histories = dataset.histories()
    held = last_events(histories.indptr, n)
    indptr = np.concatenate([[0], np.cumsum(held)])[histories.indptr].astype(np.int64)
    rest = replace(
        dataset, interactions=dataset.interactions.filter(pl.Series(held, dtype=pl.Boolean).not_())
    )
    return rest, Histories(indptr, histories.items[held], histories.timestamps[held])


def of_users(dataset: Dataset, users: npt.NDArray[Any], interactions: pl.DataFrame | None = None) -> Dataset:
    """Keep some users, given ascending, with dense ids of their own; the catalogue stays."""
    events = dataset.interactions if interactions is None else interactions
    position = np.full(dataset.n_users, -1, dtype=np.int32)
    position[users] = np.arange(len(users), dtype=np.int32)
    events = events.with_columns(user=pl.Series(position[events["user"].to_numpy()], dtype=pl.Int32))
    return replace(
        dataset, interactions=events.filter(pl.col("user") >= 0), user_ids=dataset.user_ids.gather(users)
    )


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
