"""What the blend knows of a user and a candidate besides the language model's probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsrarec.rank.candidates import CandidateSource
from mmsrarec.retrieve import SimilarUsers, UserContext

__all__ = ["FEATURES", "FeatureBuilder", "logit", "sequence_log_probability"]

FEATURES = ("mllm_logit", "sequence", "keywords", "neighbours", "popularity", "shared_paths")
"""Names of the features, in the order of the matrix's columns."""

_NEIGHBOURS_ASKED = 50
_PROBABILITY_FLOOR = 1e-6


def logit(probability: np.ndarray) -> np.ndarray:
    """Return log(p / (1 − p)) in float64, with p held 1e-6 away from 0 and 1.

    Examples
    --------
    >>> logit(np.array([0.5]))
    array([0.])
    """
    p = np.clip(np.asarray(probability, np.float64), _PROBABILITY_FLOOR, 1 - _PROBABILITY_FLOOR)
    return np.log(p) - np.log1p(-p)


def sequence_log_probability(scores: np.ndarray) -> np.ndarray:
    """Return log-softmax of the sequence model's scores over the catalogue.

    Scores of different users are not on one scale; log-probabilities are, and one logistic model serves all.

    Parameters
    ----------
    scores
        float (n, n_items).

    Returns
    -------
    numpy.ndarray
        float64 (n, n_items).
    """
    scores = np.asarray(scores, np.float64)
    highest = scores.max(axis=1, keepdims=True)
    return scores - highest - np.log(np.exp(scores - highest).sum(axis=1, keepdims=True))


class FeatureBuilder:
    """Builds the feature matrix of the blend.

    Parameters
    ----------
    source
        Keyword search, the words a user is searched with, and co-interaction paths.
    similar_users
        Retrieval over training users; asked for more of them than the prompt shows.
    popularity
        int (n_items,), events of each item in training.
    """

    def __init__(self, source: CandidateSource, similar_users: SimilarUsers, popularity: np.ndarray) -> None:
        self.source = source
        self.similar_users = similar_users
        self.popularity = np.log1p(np.asarray(popularity, np.float64))

    def build(
        self,
        histories: Sequence[np.ndarray],
        contexts: Sequence[UserContext],
        candidates: Sequence[np.ndarray],
        sequence_scores: np.ndarray,
        probabilities: Sequence[np.ndarray],
        *,
        exclude_users: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """Return one matrix a user.

        Parameters
        ----------
        histories, contexts, candidates
            One a user.
        sequence_scores
            float (users, n_items).
        probabilities
            p(yes) of each candidate, one array a user.
        exclude_users
            Knowledge-base ids that may not vote for themselves or be their own bridge, −1 for none.

        Returns
        -------
        list of numpy.ndarray
            float64 (candidates of the user, features), columns as in :data:`FEATURES`.
        """
        if not len(histories):
            return []
        log_probability = sequence_log_probability(sequence_scores)
        votes = self._votes(histories, exclude_users, sequence_scores.shape[1])
        excluded = np.full(len(histories), -1) if exclude_users is None else exclude_users
        return [
            np.column_stack(
                [
                    logit(probability),
                    log_probability[user, items],
                    self._keyword_scores(context, items, sequence_scores.shape[1]),
                    votes[user, items],
                    self.popularity[items],
                    self._shared_paths(history, items, own_id),
                ]
            )
            for user, (history, context, items, probability, own_id) in enumerate(
                zip(histories, contexts, candidates, probabilities, excluded, strict=True)
            )
        ]

    def _keyword_scores(self, context: UserContext, items: np.ndarray, n_items: int) -> np.ndarray:
        found, scores = self.source.search.search(
            self.source.query(context), len(items), allow=np.unique(np.asarray(items, np.int64))
        )
        by_item = np.zeros(n_items)
        by_item[found] = scores
        return np.log1p(by_item[items])

    def _shared_paths(self, history: np.ndarray, items: np.ndarray, exclude_user: int) -> np.ndarray:
        counts, _ = self.source.paths.evidence(history, items, max_paths=0, exclude_user=exclude_user)
        return np.log1p(counts)

    def _votes(
        self, histories: Sequence[np.ndarray], exclude_users: np.ndarray | None, n_items: int
    ) -> np.ndarray:
        votes = np.zeros((len(histories), n_items))
        found = self.similar_users.search(
            [np.asarray(history) for history in histories], _NEIGHBOURS_ASKED, exclude_users=exclude_users
        )
        rows, columns = np.nonzero(found.users >= 0)
        weight = np.maximum(found.similarity[rows, columns], 0)
        np.add.at(votes, (rows, found.next_items[rows, columns]), weight)
        return np.log1p(votes)
