"""What is taken together with, and what is taken after, the items of a history: plain counts, hard to beat.

``ItemKNN`` and ``Transitions`` have the face of every scorer: ``scores(histories, candidates=None)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from mmsrarec.data import Histories
from mmsrarec.errors import InputError

__all__ = ["ItemKNN", "Transitions"]

Scores = npt.NDArray[np.float32]

_STEPS = 3


class Transitions:
    """Scores an item by how often training users took it soon after the items of the history.

    ``score(j) = Σ_i recency^age(i) · P(j soon after i)``, where an event counts as 1, ½ and ⅓ after the three events
    before it, and each row of P sums to 1.

    Parameters
    ----------
    recency
        Weight of an event relative to the next newer one, above 0 and up to 1.

    Raises
    ------
    InputError
        If `recency` is out of range.

    Examples
    --------
    >>> model = Transitions().fit(Histories.from_lists([[0, 1], [0, 1], [0, 2]]), n_items=3)
    >>> model.scores([[0]]).astype(float).round(2).tolist()
    [[0.0, 0.67, 0.33]]
    """

    def __init__(self, recency: float = 0.7) -> None:
        self.recency = _checked_recency(recency)

    def fit(self, histories: Histories, n_items: int) -> Transitions:
        """Count which items follow which.

        Parameters
        ----------
        histories
            Training users, oldest event first.
        n_items
            Size of the catalogue.

        Returns
        -------
        Transitions
            Itself; ``probability_`` is a sparse float32 (n_items, n_items) matrix, from row to column.
        """
        owner = np.repeat(np.arange(len(histories)), histories.lengths)
        items = histories.items
        counted = sp.csr_matrix((n_items, n_items), dtype=np.float32)
        for step in range(1, _STEPS + 1):
            same = owner[step:] == owner[:-step]
            weight = np.full(int(same.sum()), 1 / step, np.float32)
            pairs = (items[:-step][same], items[step:][same])
            counted = counted + sp.csr_matrix((weight, pairs), shape=(n_items, n_items))
        total = np.asarray(counted.sum(axis=1)).ravel()
        self.probability_ = sp.csr_matrix(
            sp.diags(1 / np.where(total > 0, total, 1)) @ counted, dtype=np.float32
        )
        return self

    def scores(self, histories: Sequence[npt.ArrayLike], candidates: npt.ArrayLike | None = None) -> Scores:
        """Score items.

        Parameters
        ----------
        histories
            Dense item ids of each user, oldest first; an empty one scores 0.
        candidates
            int (users, c) dense ids; ``None`` scores the whole catalogue.

        Returns
        -------
        numpy.ndarray
            float32 (users, c) or (users, n_items).
        """
        return _columns(_weighted_sum(histories, self.recency, self.probability_), candidates)


class ItemKNN:
    """Scores an item by its cosine to each item of the history, recent ones weighing more.

    ``score(j) = Σ_i recency^age(i) · cos(i, j) + 10⁻⁶ · popularity(j) / max popularity``, where cos is over the
    users of two items, an item is no neighbour of its own, and the last term breaks ties.

    Parameters
    ----------
    recency
        Weight of an event relative to the next newer one, above 0 and up to 1.

    Raises
    ------
    InputError
        If `recency` is out of range.

    Examples
    --------
    >>> model = ItemKNN().fit(Histories.from_lists([[0, 1], [0, 1], [2, 3]]), n_items=4)
    >>> int(model.scores([[0]]).argmax())
    1
    """

    def __init__(self, recency: float = 0.8) -> None:
        self.recency = _checked_recency(recency)

    def fit(self, histories: Histories, n_items: int) -> ItemKNN:
        """Count which items share users.

        Parameters
        ----------
        histories
            Training users.
        n_items
            Size of the catalogue.

        Returns
        -------
        ItemKNN
            Itself; ``similarity_`` is a sparse float32 (n_items, n_items) matrix.
        """
        rows = np.repeat(np.arange(len(histories)), histories.lengths)
        touched = sp.csr_matrix(
            (np.ones(len(rows), np.float32), (rows, histories.items)), shape=(len(histories), n_items)
        )
        touched.data[:] = 1  # repeated events were summed
        users = np.asarray(touched.sum(axis=0)).ravel()
        shared = touched.T.tocsr() @ touched  # (n_items, n_items)
        # In place: the matrix is the largest thing of a fit without a language model.
        owner = np.repeat(np.arange(n_items, dtype=np.int32), np.diff(shared.indptr))
        shared.data[shared.indices == owner] = 0
        inverse = (1 / np.sqrt(np.maximum(users, 1))).astype(np.float32)
        shared.data *= inverse[owner]
        shared.data *= inverse[shared.indices]
        shared.eliminate_zeros()
        self.similarity_ = shared
        self._tie_break = (1e-6 * users / max(users.max(initial=0), 1)).astype(np.float32)
        return self

    def scores(self, histories: Sequence[npt.ArrayLike], candidates: npt.ArrayLike | None = None) -> Scores:
        """Score items.

        Parameters
        ----------
        histories
            Dense item ids of each user, oldest first; an empty one scores by popularity.
        candidates
            int (users, c) dense ids; ``None`` scores the whole catalogue.

        Returns
        -------
        numpy.ndarray
            float32 (users, c) or (users, n_items).
        """
        together = _weighted_sum(histories, self.recency, self.similarity_)
        return _columns(together + self._tie_break, candidates)


def _weighted_sum(histories: Sequence[npt.ArrayLike], recency: float, by_item: sp.csr_matrix) -> Scores:
    """Add up the rows of each history's items, each event weighed by its age; float32 (users, n_items)."""
    flat = Histories.of(histories)
    age = np.repeat(flat.indptr[1:], flat.lengths) - 1 - np.arange(len(flat.items))
    weights = sp.csr_matrix(
        ((recency**age).astype(np.float32), flat.items, flat.indptr), shape=(len(flat), by_item.shape[0])
    )
    return np.asarray((weights @ by_item).todense(), np.float32)


def _columns(scores: Scores, candidates: npt.ArrayLike | None) -> Scores:
    if candidates is None:
        return scores
    return np.take_along_axis(scores, np.asarray(candidates, np.int64), axis=1)


def _checked_recency(recency: float) -> float:
    if not 0 < recency <= 1:
        raise InputError(f"recency must be above 0 and up to 1, got {recency!r}.")
    return recency
