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
_DECIMALS = 12
# Of histories with training users; 12 bytes each where all of them share something.
_PAIRS_AT_ONCE = 1 << 21


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
        # In the matrix's own precision: of another one SciPy would make a copy of all of it at each call.
        asked = _recency_weights(histories, self.recency, self.probability_.shape[0]).astype(np.float32)
        return _columns(np.asarray((asked @ self.probability_).todense()), candidates)


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
            Itself; 16 bytes an event.
        """
        rows = np.repeat(np.arange(len(histories), dtype=np.int32), histories.lengths)
        touched = sp.csr_matrix(
            (np.ones(len(rows)), (rows, histories.items)), shape=(len(histories), n_items)
        )
        touched.data[:] = 1  # repeated events were summed
        users = np.bincount(touched.indices, minlength=n_items)
        self._touched, self._touched_by = touched, touched.T.tocsr()
        self._touched_by.data = touched.data  # ones as well
        self._inverse_norm = 1 / np.sqrt(np.maximum(users, 1))
        self._is_known = users > 0
        self._tie_break = 1e-6 * users / max(users.max(initial=0), 1)
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
        asked = _recency_weights(histories, self.recency, len(self._tie_break))
        scores = np.empty(asked.shape, np.float32)
        at_once = max(1, _PAIRS_AT_ONCE // max(1, self._touched.shape[0]))
        for first in range(0, len(scores), at_once):
            part = slice(first, first + at_once)
            scores[part] = self._cosines(asked[part]) + self._tie_break
        return _columns(scores, candidates)

    def _cosines(self, asked: sp.csr_matrix) -> npt.NDArray[np.float64]:
        weighted = asked.copy()
        weighted.data *= self._inverse_norm[asked.indices]
        # (users, items) @ (items, items) without the second, which would be the largest thing of a fit without a
        # language model: first how much of each history a training user shares, then what that user touched.
        together = np.asarray((weighted @ self._touched_by @ self._touched).todense()) * self._inverse_norm
        # The cosine of an item to itself, of which rounding would leave something.
        owner = np.repeat(np.arange(len(together)), np.diff(asked.indptr))
        others = together[owner, asked.indices] - asked.data * self._is_known[asked.indices]
        together[owner, asked.indices] = np.round(others, _DECIMALS)
        return together


def _recency_weights(histories: Sequence[npt.ArrayLike], recency: float, n_items: int) -> sp.csr_matrix:
    """Return float64 (users, n_items), each event of a history weighed by its age."""
    flat = Histories.of(histories)
    age = np.repeat(flat.indptr[1:], flat.lengths) - 1 - np.arange(len(flat.items))
    # Adding up repeated events works in place, on what would be the histories' own arrays.
    weights = sp.csr_matrix((recency**age, flat.items, flat.indptr), shape=(len(flat), n_items), copy=True)
    weights.sum_duplicates()
    return weights


def _columns(scores: Scores, candidates: npt.ArrayLike | None) -> Scores:
    if candidates is None:
        return scores
    return np.take_along_axis(scores, np.asarray(candidates, np.int64), axis=1)


def _checked_recency(recency: float) -> float:
    if not 0 < recency <= 1:
        raise InputError(f"recency must be above 0 and up to 1, got {recency!r}.")
    return recency
