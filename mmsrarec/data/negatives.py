"""Items a user never touched, drawn at random: the other side of every training and test example.

Drawn without replacement, exactly from the distribution asked for, for all users at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from mmsrarec.data.dataset import Dataset
from mmsrarec.data.histories import Histories
from mmsrarec.errors import InputError

__all__ = ["sample_negatives"]

_CHUNK_DRAWS = 1 << 22
_SHOWN_USERS = 3


def sample_negatives(
    seen: Dataset | Histories | Sequence[npt.ArrayLike],
    *,
    n: int = 20,
    n_items: int | None = None,
    users: npt.ArrayLike | None = None,
    seed: int = 0,
    by: Literal["uniform", "popularity"] = "uniform",
    popularity: npt.ArrayLike | None = None,
) -> npt.NDArray[np.int32]:
    """Draw `n` different items for each user, none of which the user ever touched.

    Parameters
    ----------
    seen
        All that users ever touched: a dataset, histories, or one sequence of dense items a user. Give the whole
        dataset, not what is left after the last events were held out.
    n
        Items for each user.
    n_items
        Size of the catalogue; known if `seen` is a dataset.
    users
        Rows of `seen` to draw for, shape (rows,). Default: all.
    seed
        Seed of the draw. The same arguments give the same items.
    by
        ``"uniform"``: every untouched item alike. ``"popularity"``: one after the other with probability
        proportional to `popularity`; items of popularity 0 come only when there are no others left.
    popularity
        Weights, shape (n_items,), 0 or more. Default: the number of events of each item in `seen`.

    Returns
    -------
    numpy.ndarray
        int32, shape (rows, n), in the order drawn.

    Raises
    ------
    InputError
        If a user has fewer than `n` untouched items, or an argument is not allowed.

    Examples
    --------
    >>> sample_negatives([[0, 1], [4]], n=2, n_items=5, seed=0).shape
    (2, 2)
    >>> sorted(sample_negatives([[0, 1, 3]], n=2, n_items=5)[0].tolist())
    [2, 4]
    """
    histories, size = _histories_of(seen, n_items)
    if n < 1:
        raise InputError(f"n must be 1 or more, got {n}.")
    if by not in ("uniform", "popularity"):
        raise InputError(f"by must be 'uniform' or 'popularity', got {by!r}.")
    if len(histories.items) and not 0 <= histories.items.min() <= histories.items.max() < size:
        raise InputError(
            f"seen holds items outside 0 … {size - 1}; n_items is the size of the whole catalogue."
        )
    weights = _weights(histories, size, popularity) if by == "popularity" else None
    chosen = histories if users is None else histories.select(users)
    _check_enough(chosen, size, n, users)
    generator = np.random.default_rng(seed)
    result = np.empty((len(chosen), n), dtype=np.int32)
    rows_at_once = max(_CHUNK_DRAWS // _width(n), 1)
    for start in range(0, len(chosen), rows_at_once):
        rows = np.arange(start, min(start + rows_at_once, len(chosen)))
        result[rows] = _draw(chosen.select(rows), size, n, weights, generator)
    return result


def _histories_of(
    seen: Dataset | Histories | Sequence[npt.ArrayLike], n_items: int | None
) -> tuple[Histories, int]:
    if isinstance(seen, Dataset):
        if n_items not in (None, seen.n_items):
            raise InputError(f"n_items must be that of the dataset, {seen.n_items}, or None, got {n_items}.")
        return seen.histories(), seen.n_items
    if n_items is None or n_items < 1:
        raise InputError(f"n_items must be the size of the catalogue, 1 or more, got {n_items}.")
    return Histories.of(seen), n_items


def _weights(histories: Histories, n_items: int, popularity: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    if popularity is None:
        return np.bincount(histories.items, minlength=n_items).astype(np.float64)
    weights = np.asarray(popularity, dtype=np.float64)
    if weights.shape != (n_items,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(
            f"popularity must be {n_items} finite numbers of 0 or more, got shape {weights.shape}."
        )
    return weights


def _keys(histories: Histories, n_items: int) -> npt.NDArray[np.int64]:
    """Number each (row, touched item) pair; sorted, without repeats."""
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    return np.unique(rows * n_items + histories.items)


def _check_enough(histories: Histories, n_items: int, n: int, users: npt.ArrayLike | None) -> None:
    touched = np.bincount(_keys(histories, n_items) // n_items, minlength=len(histories))
    short = np.flatnonzero(n_items - touched < n)
    if len(short):
        names = short if users is None else np.asarray(users)[short]
        raise InputError(
            f"n is {n}, but {len(short)} users have fewer untouched items, first user "
            f"{', '.join(str(user) for user in names[:_SHOWN_USERS])} with {n_items - touched[short[0]]} of "
            f"{n_items}; ask for fewer or leave such users out."
        )


def _width(n: int) -> int:
    """Number of first draws: enough for nearly all users of a large catalogue."""
    return n + n // 2 + 8


def _draw(
    histories: Histories,
    n_items: int,
    n: int,
    weights: npt.NDArray[np.float64] | None,
    generator: np.random.Generator,
) -> npt.NDArray[np.int32]:
    """Draw with replacement and pass over what is touched or repeated; finish the few that ran out exactly."""
    rows, width = len(histories), _width(n)
    if weights is None or not weights.any():
        drawn = generator.integers(n_items, size=(rows, width))
    else:
        steps = np.cumsum(weights)
        drawn = np.searchsorted(steps, generator.random((rows, width)) * steps[-1], side="right")
        drawn = np.minimum(drawn, np.flatnonzero(weights)[-1])
    keys = drawn + np.arange(rows)[:, None] * n_items
    touched = _keys(histories, n_items)
    usable = ~_contains(touched, keys)
    order = np.argsort(drawn, axis=1, kind="stable")
    in_order = np.take_along_axis(drawn, order, axis=1)
    repeated = np.zeros_like(usable)
    np.put_along_axis(repeated, order, np.diff(in_order, axis=1, prepend=-1) == 0, axis=1)
    usable &= ~repeated
    usable &= np.cumsum(usable, axis=1) <= n
    result = np.empty((rows, n), dtype=np.int32)
    full = usable.sum(axis=1) == n
    result[full] = drawn[full][usable[full]].reshape(-1, n)
    for row in np.flatnonzero(~full):
        first = drawn[row][usable[row]]
        result[row] = _finish(histories[int(row)], first, n_items, n, weights, generator)
    return result


def _contains(ordered: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(keys.shape, dtype=bool)
    return ordered[np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)] == keys


def _finish(
    touched: npt.NDArray[np.int32],
    first: npt.NDArray[np.int64],
    n_items: int,
    n: int,
    weights: npt.NDArray[np.float64] | None,
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Go on drawing where the first draws ended.

    The largest of log weight + Gumbel noise are successive draws without replacement (Gumbel-top-k; Kool et al.
    2019, arXiv 1903.06059), and successive draws have no memory beyond what is already taken.
    """
    noise = generator.gumbel(size=n_items)
    if weights is not None:
        # Items of weight 0 stand behind all others, in random order among themselves.
        noise = np.where(
            weights > 0, np.log(np.maximum(weights, np.finfo(np.float64).tiny)) + noise, noise - 1e6
        )
    noise[touched] = -np.inf
    noise[first] = -np.inf
    missing = n - len(first)
    best = np.argpartition(-noise, missing - 1)[:missing]
    return np.concatenate([first, best[np.argsort(-noise[best], kind="stable")]])
