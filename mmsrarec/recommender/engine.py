"""Scores in dense ids: everything a fitted recommender computes, without ids, frames or files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmsrarec.errors import InputError
from mmsrarec.rank import BlendRanker, CandidateSource, FeatureBuilder, MLLMRanker
from mmsrarec.retrieve import ContextBuilder, SequenceModel, UserContext

__all__ = ["Engine", "Ranked"]

_USERS_AT_ONCE = 256


@dataclass(frozen=True)
class Ranked:
    """Ranked candidates of one user.

    Attributes
    ----------
    items
        int64 (n,), dense ids, best first, ties by smaller id.
    scores
        float64 (n,), blended probability.
    probabilities
        float32 (n,), the language model's p(yes); NaN where it was not asked.
    features
        float64 (n, features).
    context
        What the prompts said of the user.
    """

    items: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray
    context: UserContext


@dataclass(frozen=True)
class Engine:
    """The fitted parts, joined.

    Attributes
    ----------
    sequence_model, builder, source, feature_builder, ranker, blend
        The rooms' own objects over one catalogue; `ranker` is ``None`` where the language model is left out.
    """

    sequence_model: SequenceModel
    builder: ContextBuilder
    source: CandidateSource
    feature_builder: FeatureBuilder
    ranker: MLLMRanker | None
    blend: BlendRanker

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue."""
        return len(self.builder.view)

    def without_language_model(self) -> Engine:
        """Return the same parts with nobody to ask for p(yes)."""
        return replace(self, ranker=None)

    def probability(
        self,
        histories: Sequence[np.ndarray],
        candidates: Sequence[np.ndarray],
        *,
        exclude_users: np.ndarray | None = None,
        progress: str | None = None,
    ) -> list[np.ndarray]:
        """Return the paper's p(yes) of each candidate, float32, one array a user.

        Raises
        ------
        InputError
            If the language model was left out.
        """
        if self.ranker is None:
            raise InputError(
                "the language model was left out (without=['mllm']), so there is no p(yes); use recommend."
            )
        contexts = self.builder.build(histories, exclude_users=exclude_users)
        evidence = self.builder.evidence(histories, candidates, exclude_users=exclude_users)
        return self.ranker.probability(contexts, candidates, evidence, progress=progress)

    def rank(
        self,
        histories: Sequence[np.ndarray],
        candidates: Sequence[np.ndarray],
        *,
        exclude_users: np.ndarray | None = None,
        progress: str | None = None,
    ) -> list[Ranked]:
        """Rank given candidates of each user by the blended probability.

        Parameters
        ----------
        histories
            Dense item ids, oldest first, one array a user.
        candidates
            Dense item ids, one array a user.
        exclude_users
            Knowledge-base id of each user, −1 for none.
        progress
            Description to show while the language model scores.

        Returns
        -------
        list of Ranked
            One a user.
        """
        contexts = self.builder.build(histories, exclude_users=exclude_users)
        sequence_scores = self.sequence_model.scores(histories)
        return self._rank(histories, contexts, candidates, sequence_scores, exclude_users, progress)

    def recommend(
        self,
        histories: Sequence[np.ndarray],
        allowed: Sequence[np.ndarray],
        *,
        k: int,
        exclude_users: np.ndarray | None = None,
        progress: str | None = None,
    ) -> list[Ranked]:
        """Find candidates in the whole catalogue and rank them.

        Parameters
        ----------
        histories
            Dense item ids, oldest first, one array a user.
        allowed
            bool (n_items,), one a user: what may be recommended.
        k
            At least this many candidates are looked for.
        exclude_users, progress
            As in :meth:`rank`.

        Returns
        -------
        list of Ranked
            All candidates of each user, best first.
        """
        contexts = self.builder.build(histories, exclude_users=exclude_users)
        sequence_scores = self.sequence_model.scores(histories)
        excluded = np.full(len(histories), -1) if exclude_users is None else exclude_users
        candidates = [
            self.source.candidates(history, context, scores, mask, exclude_user=user, at_least=k)
            for history, context, scores, mask, user in zip(
                histories, contexts, sequence_scores, allowed, excluded, strict=True
            )
        ]
        return self._rank(histories, contexts, candidates, sequence_scores, exclude_users, progress)

    def candidates(
        self, histories: Sequence[np.ndarray], contexts: Sequence[UserContext], exclude_users: np.ndarray
    ) -> list[np.ndarray]:
        """Return what the whole catalogue would be narrowed down to, one int64 array a user."""
        everything = np.ones(self.n_items, bool)
        found = []
        for first in range(0, len(histories), _USERS_AT_ONCE):
            part = slice(first, first + _USERS_AT_ONCE)
            scores = self.sequence_model.scores(histories[part])
            for history, context, row, user in zip(
                histories[part], contexts[part], scores, exclude_users[part], strict=True
            ):
                found.append(
                    self.source.candidates(history, context, row, everything, exclude_user=int(user))
                )
        return found

    def features(
        self,
        histories: Sequence[np.ndarray],
        contexts: Sequence[UserContext],
        candidates: Sequence[np.ndarray],
        sequence_scores: np.ndarray,
        *,
        exclude_users: np.ndarray | None = None,
        progress: str | None = None,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return p(yes) and the blend's features of each candidate, one pair of arrays a user."""
        if self.ranker is None:
            # Log-odds of 0 for everybody: the blend gives a constant no weight.
            probabilities = [np.full(len(items), 0.5, np.float32) for items in candidates]
        else:
            evidence = self.builder.evidence(histories, candidates, exclude_users=exclude_users)
            probabilities = self.ranker.probability(contexts, candidates, evidence, progress=progress)
        matrices = self.feature_builder.build(
            histories, contexts, candidates, sequence_scores, probabilities, exclude_users=exclude_users
        )
        if self.ranker is None:
            probabilities = [np.full_like(p, np.nan) for p in probabilities]
        return probabilities, matrices

    def _rank(
        self,
        histories: Sequence[np.ndarray],
        contexts: Sequence[UserContext],
        candidates: Sequence[np.ndarray],
        sequence_scores: np.ndarray,
        exclude_users: np.ndarray | None,
        progress: str | None,
    ) -> list[Ranked]:
        probabilities, matrices = self.features(
            histories, contexts, candidates, sequence_scores, exclude_users=exclude_users, progress=progress
        )
        ranked = []
        for context, items, p, matrix in zip(contexts, candidates, probabilities, matrices, strict=True):
            scores = self.blend.probability(matrix)
            order = np.lexsort((items, -scores))
            ranked.append(Ranked(np.asarray(items)[order], scores[order], p[order], matrix[order], context))
        return ranked
