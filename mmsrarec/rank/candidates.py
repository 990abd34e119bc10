"""Candidates of full-catalogue recommendation: sequence model, keyword index and paths, under a budget.

Filters come before the budget, so that what may not be shown never takes the place of what may.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsrarec.errors import InputError
from mmsrarec.retrieve import CoInteraction, KeywordSearch, UserContext

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
    """Union of what the sequence model, the user's keywords and co-interaction suggest.

    Parameters
    ----------
    search
        Keyword index over the catalogue.
    keywords
        Keywords of every item, by dense id.
    paths
        Co-interaction of training users; suggests the items with most bridge users.
    budget
        Candidates a user, 1 or more. The three sources take turns, best first.

    Raises
    ------
    InputError
        If `budget` is below 1.
    """

    def __init__(
        self, search: KeywordSearch, keywords: Sequence[tuple[str, ...]], paths: CoInteraction, *, budget: int
    ) -> None:
        if budget < 1:
            raise InputError(f"candidates must be 1 or more, got {budget}.")
        self.search = search
        self.keywords = keywords
        self.paths = paths
        self.budget = budget

    def query(self, context: UserContext) -> list[str]:
        """Return the keywords a user is searched with: the history's and the similar users' next items'."""
        items = [*context.history, *(neighbour.item for neighbour in context.neighbours)]
        return [word for item in items for word in self.keywords[item]]

    def candidates(
        self,
        history: np.ndarray,
        context: UserContext,
        sequence_scores: np.ndarray,
        allowed: np.ndarray,
        *,
        exclude_user: int = -1,
        at_least: int = 0,
    ) -> np.ndarray:
        """Return candidates of one user.

        Parameters
        ----------
        history
            Dense item ids, all that are known.
        context
            What is known of the user.
        sequence_scores
            float (n_items,), the sequence model's scores.
        allowed
            bool (n_items,), items that may be recommended.
        exclude_user
            Knowledge-base id of the user, who is never its own bridge; −1 for none.
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
        by_paths = top_items(self._path_counts(history, allowed, exclude_user), allowed, budget)
        turns = np.full((budget, 3), -1, np.int64)  # (turns, sources)
        for source, items in enumerate((by_sequence, by_keywords, by_paths)):
            turns[: len(items), source] = items
        found = turns[turns >= 0]
        _, first = np.unique(found, return_index=True)
        return found[np.sort(first)][:budget]

    def _path_counts(self, history: np.ndarray, allowed: np.ndarray, exclude_user: int) -> np.ndarray:
        """Return the bridge users of each allowed item, −inf where there is none."""
        items = np.flatnonzero(allowed)
        counts, _ = self.paths.evidence(history, items, max_paths=0, exclude_user=exclude_user)
        by_item = np.full(len(allowed), -np.inf)
        by_item[items[counts > 0]] = counts[counts > 0]
        return by_item
