"""Scores in dense ids: everything a fitted recommender computes, without ids, frames or files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.rank import (
    FEATURES,
    BlendRanker,
    MLLMRanker,
    Signals,
    Student,
    UserSignals,
    choose_candidates,
    logit,
    student_inputs,
)
from mmsrarec.retrieve import ContextBuilder, Neighbours, SequenceModel, UserContext

__all__ = ["Engine", "Ranked"]

_MLLM, _STUDENT = FEATURES.index("mllm_logit"), FEATURES.index("student_logit")

Choose = Callable[[int, UserSignals], np.ndarray]
"""Row of a user and the user's signals → dense ids of the candidates."""


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
    builder, signals, ranker, blend
        The rooms' own objects over one catalogue; `ranker` is ``None`` where the language model is left out.
    budget
        Candidates a user in a recommendation from the whole catalogue.
    student
        Guesses what the language model would say where there is nobody to ask; ``None`` leaves it out.
    vectors
        float (n_items, width), what the items' texts say; needed by a student.
    """

    builder: ContextBuilder
    signals: Signals
    ranker: MLLMRanker | None
    blend: BlendRanker
    budget: int
    student: Student | None = None
    vectors: np.ndarray | None = None

    @property
    def sequence_model(self) -> SequenceModel:
        """What the next item is by the history alone."""
        return self.signals.sequence_model

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue."""
        return len(self.builder.view)

    def without_language_model(self) -> Engine:
        """Return the same parts with nobody to ask for p(yes); the student guesses, if there is one."""
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
        excluded = np.full(len(histories), -1) if exclude_users is None else exclude_users
        # Entries of one person stand together so that the prompt's beginning is run once for all of them.
        order = sorted(range(len(histories)), key=lambda row: (histories[row].tobytes(), excluded[row]))
        people, items = Histories.of(histories).select(order), [candidates[row] for row in order]
        contexts = self.builder.build(people, exclude_users=excluded[order])
        evidence = self.builder.evidence(people, items, exclude_users=excluded[order])
        found = self.ranker.probability(contexts, items, evidence, progress=progress)
        by_row = dict(zip(order, found, strict=True))
        return [by_row[row] for row in range(len(order))]

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
            Dense item ids, oldest first, one array a user; :class:`~mmsrarec.data.Histories` also tell when.
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
        return self._rank(histories, lambda row, _: candidates[row], exclude_users, progress)

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
            As in :meth:`rank`.
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
        budget = max(self.budget, k)
        return self._rank(
            histories,
            lambda row, signals: choose_candidates(signals, allowed[row], budget),
            exclude_users,
            progress,
        )

    def candidates(
        self, histories: Sequence[np.ndarray], contexts: Sequence[UserContext], exclude_users: np.ndarray
    ) -> list[np.ndarray]:
        """Return what the whole catalogue would be narrowed down to, one int64 array a user."""
        everything = np.ones(self.n_items, bool)
        return [
            choose_candidates(signals, everything, self.budget)
            for signals in self.signals.of(histories, contexts, exclude_users)
        ]

    def features(
        self,
        histories: Sequence[np.ndarray],
        contexts: Sequence[UserContext],
        choose: Sequence[Choose],
        *,
        exclude_users: np.ndarray | None = None,
        found: Neighbours | None = None,
    ) -> list[list[tuple[np.ndarray, np.ndarray]]]:
        """Return candidates and their features, but for the language model's, for several ways to choose them.

        Parameters
        ----------
        histories, contexts
            One a user.
        choose
            Ways to choose candidates; the signals of a user are computed once for all of them.
        exclude_users
            As in :meth:`rank`.
        found
            Similar users, as ``signals.find_neighbours`` gives them, if they were asked for already.

        Returns
        -------
        list of list of (items, matrix)
            One list a way, one pair a user.
        """
        excluded = np.full(len(histories), -1) if exclude_users is None else exclude_users
        by_way: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in choose]
        for row, signals in enumerate(self.signals.of(histories, contexts, excluded, found)):
            for pairs, choice in zip(by_way, choose, strict=True):
                items = np.asarray(choice(row, signals))
                pairs.append((items, self.signals.features(signals, histories[row], items)))
        return by_way

    def ask(
        self,
        histories: Sequence[np.ndarray],
        contexts: Sequence[UserContext],
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
        *,
        exclude_users: np.ndarray | None = None,
        progress: str | None = None,
    ) -> list[np.ndarray]:
        """Ask the language model about candidates and put what it says into their features, or the student's guess.

        Returns
        -------
        list of numpy.ndarray
            p(yes), float32, one array a user; NaN where the language model was left out.
        """
        candidates = [items for items, _ in pairs]
        if self.ranker is None:
            self.guess(contexts, pairs)
            return [np.full(len(items), np.nan, np.float32) for items in candidates]
        evidence = self.builder.evidence(histories, candidates, exclude_users=exclude_users)
        probabilities = self.ranker.probability(contexts, candidates, evidence, progress=progress)
        for (_, matrix), p in zip(pairs, probabilities, strict=True):
            matrix[:, _MLLM] = logit(p)
        return probabilities

    def student_inputs(
        self, contexts: Sequence[UserContext], pairs: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Give what a student reads of candidates and their features, one matrix a user.

        Raises
        ------
        InputError
            If there are no vectors of the texts.
        """
        if self.vectors is None:
            raise InputError("a student reads what items' texts say; give the engine their vectors.")
        for context, (items, matrix) in zip(contexts, pairs, strict=True):
            yield student_inputs(matrix, context, items, self.vectors)

    def guess(self, contexts: Sequence[UserContext], pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Put what the student guesses into the features of candidates, if there is one that learned something."""
        if self.student is None or not self.student.informative:
            return
        for (_, matrix), inputs in zip(pairs, self.student_inputs(contexts, pairs), strict=True):
            matrix[:, _STUDENT] = self.student.predict(inputs)

    def _rank(
        self,
        histories: Sequence[np.ndarray],
        choose: Choose,
        exclude_users: np.ndarray | None,
        progress: str | None,
    ) -> list[Ranked]:
        found = self.signals.find_neighbours(histories, exclude_users)
        contexts = self.builder.build(histories, found=found)
        [pairs] = self.features(histories, contexts, [choose], exclude_users=exclude_users, found=found)
        probabilities = self.ask(histories, contexts, pairs, exclude_users=exclude_users, progress=progress)
        ranked = []
        for context, (items, matrix), p in zip(contexts, pairs, probabilities, strict=True):
            scores = self.blend.probability(matrix)
            order = np.lexsort((items, -scores))
            ranked.append(Ranked(items[order], scores[order], p[order], matrix[order], context))
        return ranked
