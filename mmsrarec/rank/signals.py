"""What is known of every item for one user besides the language model's probability: candidates and features.

Each signal scores the whole catalogue once. The best items of each become candidates, filters first, and the same
scores become columns of the blend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.retrieve import (
    CoInteraction,
    ItemKNN,
    KeywordSearch,
    Neighbours,
    SequenceModel,
    SimilarUsers,
    Transitions,
    UserContext,
)

__all__ = [
    "FEATURES",
    "PLAIN",
    "Signals",
    "UserSignals",
    "choose_candidates",
    "logit",
    "sequence_log_probability",
    "top_items",
]

PLAIN = (
    "sequence",
    "sequence_margin",
    "sequence_rank",
    "keywords",
    "item_knn",
    "transitions",
    "neighbours",
    "shared_paths",
    "popularity",
    "history_length",
)
"""Names of the features that are always known."""

FEATURES = ("mllm_logit", "student_logit", *PLAIN)
"""Names of the features, in the order of the matrix's columns. The first is NaN where nobody asked for it, the second
where no :class:`~mmsrarec.rank.Student` guessed it in its place."""

# Who is asked for a candidate, turn by turn. On validation users of microlens-50k the sequence model alone has most of
# what all of them find together, so every second turn is its.
_TURNS = (
    "sequence", "item_knn", "sequence", "transitions", "sequence", "neighbours", "sequence", "keywords",
    "sequence", "shared_paths",
)  # fmt: skip
_NEIGHBOURS_ASKED = 50
_PROBABILITY_FLOOR = 1e-6
# Scores in memory at a time, over users and items, for each of the signals: a few megabytes each.
_SCORES_AT_ONCE = 1 << 19

UserSignals = Mapping[str, np.ndarray]
"""Name of a signal → float (n_items,); 0 where it has nothing to say, but for ``sequence``, a log-probability."""


def logit(probability: np.ndarray) -> np.ndarray:
    """Return log(p / (1 − p)) in float64, with p held 1e-6 away from 0 and 1; NaN stays NaN.

    Examples
    --------
    >>> logit(np.array([0.5]))
    array([0.])
    """
    p = np.clip(np.asarray(probability, np.float64), _PROBABILITY_FLOOR, 1 - _PROBABILITY_FLOOR)
    return np.log(p) - np.log1p(-p)


def sequence_log_probability(scores: np.ndarray) -> np.ndarray:
    """Return log-softmax of the sequence model's scores over the catalogue.

    Scores of different users are not on one scale; log-probabilities are, and one model serves all.

    Parameters
    ----------
    scores
        float (n, n_items).

    Returns
    -------
    numpy.ndarray
        float64 (n, n_items).
    """
    shifted = np.subtract(scores, scores.max(axis=1, keepdims=True), dtype=np.float64)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


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
    if 0 < count < len(items):
        # All that are not below the last one wanted, so that ties are still decided by id.
        least = np.partition(scores[items], len(items) - count)[len(items) - count]
        items = items[scores[items] >= least]
    return items[np.argsort(-scores[items], kind="stable")[:count]]


def choose_candidates(signals: UserSignals, allowed: np.ndarray, budget: int) -> np.ndarray:
    """Return the union of what the signals suggest; they take turns, each with its best item left.

    Filters come before the budget, so that what may not be shown never takes the place of what may.

    Parameters
    ----------
    signals
        Of one user.
    allowed
        bool (n_items,), items that may be recommended.
    budget
        At most this many, 1 or more.

    Returns
    -------
    numpy.ndarray
        int64 (≤ budget,), distinct dense ids.

    Raises
    ------
    InputError
        If `budget` is below 1.
    """
    if budget < 1:
        raise InputError(f"candidates must be 1 or more, got {budget}.")
    best = {}
    for name in dict.fromkeys(_TURNS):
        scores = signals[name]
        suggested = scores if name == "sequence" else np.where(scores > 0, scores, -np.inf)
        best[name] = top_items(suggested, allowed, budget)
    turns = np.full((budget, len(_TURNS)), -1, np.int64)
    for name, items in best.items():
        columns = [column for column, turn in enumerate(_TURNS) if turn == name]
        rows = turns[:, columns].ravel()
        rows[: min(len(items), len(rows))] = items[: len(rows)]
        turns[:, columns] = rows.reshape(budget, len(columns))
    found = turns[turns >= 0]
    _, first = np.unique(found, return_index=True)
    return found[np.sort(first)][:budget]


class Signals:
    """Scores the catalogue for users, by everything but the language model. Made by :meth:`fit`.

    Attributes
    ----------
    sequence_model, similar_users, item_knn, transitions, paths
        Fitted on training users; similar users are asked for more of them than the prompt shows.
    search
        Keyword index over the catalogue.
    keywords
        Keywords of every item, by dense id.
    popularity
        int64 (n_items,), events of each item in training.
    """

    def __init__(
        self,
        sequence_model: SequenceModel,
        similar_users: SimilarUsers,
        item_knn: ItemKNN,
        transitions: Transitions,
        paths: CoInteraction,
        search: KeywordSearch,
        keywords: Sequence[tuple[str, ...]],
        popularity: np.ndarray,
    ) -> None:
        self.sequence_model = sequence_model
        self.similar_users = similar_users
        self.item_knn = item_knn
        self.transitions = transitions
        self.paths = paths
        self.search = search
        self.keywords = keywords
        self.popularity = popularity

    @classmethod
    def fit(
        cls,
        sequence_model: SequenceModel,
        similar_users: SimilarUsers,
        taken: Histories,
        keywords: Sequence[tuple[str, ...]],
    ) -> Signals:
        """Count what there is to count; nothing here is learned, so nothing of it needs to be stored.

        Parameters
        ----------
        sequence_model, similar_users
            Fitted.
        taken
            What each training user took, by knowledge-base id.
        keywords
            Keywords of every item, by dense id.

        Returns
        -------
        Signals
            Over as many items as there are `keywords`.
        """
        n_items = len(keywords)
        return cls(
            sequence_model,
            similar_users,
            ItemKNN().fit(taken, n_items),
            Transitions().fit(taken, n_items),
            CoInteraction.from_arrays(taken.indptr, taken.items, n_items),
            KeywordSearch(keywords),
            keywords,
            np.bincount(taken.items, minlength=n_items),
        )

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.popularity)

    def query(self, context: UserContext) -> list[str]:
        """Return the keywords a user is searched with: the history's and the similar users' next items'."""
        items = [*context.history, *(neighbour.item for neighbour in context.neighbours)]
        return [word for item in items for word in self.keywords[item]]

    def find_neighbours(
        self, histories: Sequence[np.ndarray], exclude_users: np.ndarray | None = None
    ) -> Neighbours:
        """Ask for as many similar users as vote; the first of them are those that a prompt tells of."""
        return self.similar_users.search(histories, _NEIGHBOURS_ASKED, exclude_users=exclude_users)

    def of(
        self,
        histories: Sequence[np.ndarray],
        contexts: Sequence[UserContext],
        exclude_users: np.ndarray,
        found: Neighbours | None = None,
    ) -> Iterator[UserSignals]:
        """Give the signals of one user after the other; a few users are computed together.

        Parameters
        ----------
        histories, contexts
            One a user.
        exclude_users
            int (users,), knowledge-base ids of those who may not vote for themselves or be their own bridge; −1 for
            none.
        found
            What :meth:`find_neighbours` gave for them, if it was asked already.
        """
        if found is None:
            found = self.find_neighbours(histories, exclude_users)
        at_once = max(1, _SCORES_AT_ONCE // self.n_items)
        for first in range(0, len(histories), at_once):
            part = slice(first, first + at_once)
            asked, excluded = Histories.of(histories[part]), exclude_users[part]
            sequence = sequence_log_probability(self.sequence_model.scores(asked))
            item_knn = self.item_knn.scores(asked)
            transitions = self.transitions.scores(asked)
            votes = self._votes(found.part(part))
            for row, (history, context) in enumerate(zip(asked, contexts[part], strict=True)):
                yield {
                    "sequence": sequence[row],
                    "keywords": self._keyword_scores(context),
                    "item_knn": item_knn[row],
                    "transitions": transitions[row],
                    "neighbours": votes[row],
                    "shared_paths": self._bridge_users(history, int(excluded[row])),
                }

    def features(self, signals: UserSignals, history: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the features of some items, without those of the language model.

        Parameters
        ----------
        signals
            Of the user.
        history
            What is known of the user, oldest first.
        items
            int (n,) dense ids, in any order.

        Returns
        -------
        numpy.ndarray
            float32 (n, features), columns as in :data:`FEATURES`, the first two NaN.
        """
        sequence = signals["sequence"]
        # Mid-ranks among all items, from 0.
        ordered = np.sort(-sequence)
        rank = 0.5 * (
            np.searchsorted(ordered, -sequence[items], "left")
            + np.searchsorted(ordered, -sequence[items], "right")
            - 1
        )
        columns = {
            "mllm_logit": np.full(len(items), np.nan),
            "student_logit": np.full(len(items), np.nan),
            "sequence": sequence[items],
            "sequence_margin": sequence[items] - sequence.max(initial=-np.inf),
            "sequence_rank": np.log1p(rank),
            "popularity": np.log1p(self.popularity[items]),
            "history_length": np.full(len(items), np.log1p(len(history))),
        }
        for name in ("keywords", "neighbours", "shared_paths"):
            columns[name] = np.log1p(signals[name][items])
        for name in ("item_knn", "transitions"):
            columns[name] = np.sqrt(signals[name][items])
        # Half the bytes: a fit of the blend holds them of all its users.
        return np.column_stack([columns[name] for name in FEATURES]).astype(np.float32)

    def _keyword_scores(self, context: UserContext) -> np.ndarray:
        found, scores = self.search.search(self.query(context), self.n_items)
        by_item = np.zeros(self.n_items)
        by_item[found] = scores
        return by_item

    def _bridge_users(self, history: np.ndarray, exclude_user: int) -> np.ndarray:
        everything = np.arange(self.n_items, dtype=np.int32)
        counts, _ = self.paths.evidence(history, everything, max_paths=0, exclude_user=exclude_user)
        return counts

    def _votes(self, found: Neighbours) -> np.ndarray:
        votes = np.zeros((len(found.users), self.n_items))
        rows, columns = np.nonzero(found.users >= 0)
        weight = np.maximum(found.similarity[rows, columns], 0)
        np.add.at(votes, (rows, found.next_items[rows, columns]), weight)
        return votes
