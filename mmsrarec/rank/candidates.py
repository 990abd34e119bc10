"""Candidates of full-catalogue recommendation: sequence model and keyword index, under a budget.

Filters come before the budget, so that what may not be shown never takes the place of what may.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsrarec.errors import InputError
from mmsrarec.retrieve import KeywordSearch, UserContext

__all__ = ["CandidateSource", "top_items"]


def top_items(scores: np.ndarray, allowed: np.ndarray, count: int) -> np.ndarray:
    """Return the allowed items with the highest scores, best first, ties by smaller id.

    Parameters
    ----------
    scores
        float (n_items,); −inf marks an item without a score.
    allowed
        bool (n_items,).
    count
        At most this many.

    Returns
    -------
    numpy.ndarray
        int64 (≤ count,).

    Examples
    --------
    >>> top_items(np.array([1.0, 3.0, 3.0]), np.array([True, True, True]), 2)
    array([1, 2])
    """
    items = np.flatnonzero(allowed & np.isfinite(scores))
    return items[np.argsort(-scores[items], kind="stable")[:count]]


class CandidateSource:
    """Union of what the sequence model and the user's keywords suggest.

    Parameters
    ----------
    search
        Keyword index over the catalogue.
    keywords
        Keywords of every item, by dense id.
    budget
        Candidates a user, 1 or more. The two sources take turns, best first.

    Raises
    ------
    InputError
        If `budget` is below 1.
    """

    def __init__(self, search: KeywordSearch, keywords: Sequence[tuple[str, ...]], *, budget: int) -> None:
        if budget < 1:
            raise InputError(f"candidates must be 1 or more, got {budget}.")
        self.search = search
        self.keywords = keywords
        self.budget = budget

    def query(self, context: UserContext) -> list[str]:
        """Return the keywords a user is searched with: the history's and the similar users' next items'."""
        items = [*context.history, *(neighbour.item for neighbour in context.neighbours)]
        return [word for item in items for word in self.keywords[item]]

    def candidates(
        self, context: UserContext, sequence_scores: np.ndarray, allowed: np.ndarray, *, at_least: int = 0
    ) -> np.ndarray:
        """Return candidates of one user.

        Parameters
        ----------
        context
            What is known of the user.
        sequence_scores
            float (n_items,), the sequence model's scores.
        allowed
            bool (n_items,), items that may be recommended.
        at_least
            Raises the budget for this call, so that `k` recommendations can be filled.

        Returns
        -------
        numpy.ndarray
            int64 (≤ max(budget, at_least),) distinct dense ids.
        """
        budget = max(self.budget, at_least)
        by_sequence = top_items(sequence_scores, allowed, budget)
        by_keywords, _ = self.search.search(self.query(context), budget, allow=allowed)
        turns = np.full(2 * budget, -1, np.int64)
        turns[0 : 2 * len(by_sequence) : 2] = by_sequence
        turns[1 : 2 * len(by_keywords) : 2] = by_keywords
        turns = turns[turns >= 0]
        _, first = np.unique(turns, return_index=True)
        return turns[np.sort(first)][:budget]
