"""Popularity, the model without a history, always shown beside ours together with item-kNN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mmsrarec.data import Histories

__all__ = ["Popularity"]

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
