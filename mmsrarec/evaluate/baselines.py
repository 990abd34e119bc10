"""Models without learning, always shown beside ours: popularity and item-kNN.

Both have the face of every scorer: ``scores(histories, candidates=None)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from mmsrarec.data import Histories
from mmsrarec.errors import InputError

__all__ = ["ItemKNN", "Popularity"]

Scores = npt.NDArray[np.float32]


class Popularity:
    """Scores an item by the number of its training events, whatever the history.

    Examples
    --------
    >>> model = Popularity().fit(Histories.from_lists([[0, 1], [1]]), n_items=3)
    >>> model.scores([[2]]).tolist()
    [[1.0, 2.0, 0.0]]
    """

    def fit(self, histories: Histories, n_items: int) -> Popularity:
        """Count events.

        Parameters
        ----------
        histories
            Training users.
        n_items
            Size of the catalogue.

        Returns
        -------
        Popularity
            Itself; ``counts_`` is float32 (n_items,).
        """
        self.counts_ = np.bincount(histories.items, minlength=n_items).astype(np.float32)
        return self

    def scores(self, histories: Sequence[npt.ArrayLike], candidates: npt.ArrayLike | None = None) -> Scores:
        """Score items.

        Parameters
        ----------
        histories
            One a user; only their number matters.
        candidates
            int (users, c) dense ids; ``None`` scores the whole catalogue.

        Returns
        -------
        numpy.ndarray
            float32 (users, c) or (users, n_items).
        """
        if candidates is not None:
            return self.counts_[np.asarray(candidates, np.int64)]
        return np.tile(self.counts_, (len(histories), 1))


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
        if not 0 < recency <= 1:
            raise InputError(f"recency must be above 0 and up to 1, got {recency!r}.")
        self.recency = recency

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
        shared = (touched.T @ touched).tocsr()
        shared.setdiag(0)
        shared.eliminate_zeros()
        inverse = sp.diags((1 / np.sqrt(np.maximum(users, 1))).astype(np.float32))
        self.similarity_ = sp.csr_matrix(inverse @ shared @ inverse, dtype=np.float32)
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
        flat = Histories.from_lists([np.asarray(history, np.int32) for history in histories])
        age = np.repeat(flat.indptr[1:], flat.lengths) - 1 - np.arange(len(flat.items))
        weights = sp.csr_matrix(
            ((self.recency**age).astype(np.float32), flat.items, flat.indptr),
            shape=(len(flat), self.similarity_.shape[0]),
        )
        scores = np.asarray((weights @ self.similarity_).todense(), np.float32) + self._tie_break
        if candidates is None:
            return scores
        return np.take_along_axis(scores, np.asarray(candidates, np.int64), axis=1)
