"""Wrong answers of training examples: drawn evenly, by popularity, or from what a recommender would suggest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmsrarec.data import Histories, sample_negatives
from mmsrarec.retrieve import UserContext

__all__ = ["DEFAULT_NEGATIVES", "HardCandidates", "draw_negatives"]

DEFAULT_NEGATIVES = {"uniform": 0.5, "popularity": 0.25, "hard": 0.25}
"""Share of examples that take their negatives from each source."""

HardCandidates = Callable[[Sequence[np.ndarray], Sequence[UserContext], np.ndarray], Sequence[np.ndarray]]
"""``(histories, contexts, exclude_users) → candidates``: one int array a history, what a recommender would suggest."""


def draw_negatives(
    histories: Histories,
    users: np.ndarray,
    counts: np.ndarray,
    *,
    n_items: int,
    shares: Mapping[str, float],
    suggest: Callable[[np.ndarray], Sequence[np.ndarray]] | None,
    rng: np.random.Generator,
) -> list[list[int]]:
    """Draw negatives of each example.

    Parameters
    ----------
    histories
        All that each user ever took; a negative is never among it.
    users
        User of each example, int (examples,).
    counts
        Negatives of each example, int (examples,), 0 or more.
    n_items
        Size of the catalogue.
    shares
        Share of examples that take ``"uniform"``, ``"popularity"`` and ``"hard"`` negatives.
    suggest
        Gives candidates of the examples whose numbers it is given, for ``"hard"``; where too few of them are untouched,
        uniform ones fill up. ``None`` draws evenly in their place.
    rng
        Of all draws.

    Returns
    -------
    list of list of int
        Dense item ids, distinct within an example.

    Raises
    ------
    InputError
        If a user has too few untouched items.

    Examples
    --------
    >>> drawn = draw_negatives(
    ...     Histories.from_lists([[0, 1]]), np.array([0]), np.array([2]), n_items=4,
    ...     shares={"hard": 1.0}, suggest=lambda rows: [np.array([1, 3])], rng=np.random.default_rng(0))
    >>> sorted(drawn[0])
    [2, 3]
    """  # fmt: skip
    weights = np.array(list(shares.values()), float)
    sources = rng.choice(list(shares), len(users), p=weights / weights.sum())
    drawn: list[list[int]] = [[] for _ in users]
    for count in np.unique(counts[counts > 0]):
        for by in ("uniform", "popularity"):
            rows = np.flatnonzero(
                (counts == count) & ((sources == by) | ((by == "uniform") & (sources == "hard")))
            )
            if len(rows):
                seed = int(rng.integers(2**31))
                found = sample_negatives(
                    histories, n=int(count), n_items=n_items, users=users[rows], seed=seed, by=by
                )
                for row, items in zip(rows, found, strict=True):
                    drawn[row] = items.tolist()
    hard = np.flatnonzero((sources == "hard") & (counts > 0))
    if suggest is not None and len(hard):
        for row, suggested in zip(hard, suggest(hard), strict=True):
            usable = np.setdiff1d(suggested, histories[int(users[row])])
            chosen = rng.permutation(usable)[: counts[row]].tolist()
            rest = [item for item in drawn[row] if item not in chosen]
            drawn[row] = [*chosen, *rest][: counts[row]]
    return drawn
