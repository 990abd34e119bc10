"""Fits the blend, and the language model's student, on people outside the training of their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmsrarec.data import Histories, sample_negatives
from mmsrarec.errors import InputError
from mmsrarec.progress import logger
from mmsrarec.rank import FEATURES, BlendRanker, Student, UserSignals, choose_candidates
from mmsrarec.recommender.engine import Engine
from mmsrarec.retrieve import UserContext

__all__ = ["MOST_BLEND_USERS", "fit_blend"]

MOST_BLEND_USERS = 5000
"""More make the order no better, and would take memory that grows with the data."""

_MLLM, _STUDENT = FEATURES.index("mllm_logit"), FEATURES.index("student_logit")
_NEGATIVES = 20

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]
"""Candidates and their features, one pair a user."""


def fit_blend(
    engine: Engine,
    whole: Histories,
    *,
    exclude_users: np.ndarray,
    asked: int,
    seed: int,
) -> tuple[BlendRanker, Student | None]:
    """Fit the order on what `recommend` would find for each person, and on uniform negatives.

    Parameters
    ----------
    engine
        The fitted parts; its blend and its student are not used.
    whole
        Histories of two events or more; the last one is the next item.
    exclude_users
        int (people,), knowledge-base id of each, −1 for none.
    asked
        The language model is asked about the first so many people.
    seed
        Of the negatives.

    Returns
    -------
    blend : BlendRanker
        Fitted.
    student : Student or None
        Fitted on what the language model was asked for the blend, and on nothing else: 21 candidates of each of
        `asked` people, so up to 210 with preset ``demo``, 672 with ``quick``, 10,500 with ``default``. ``None`` if the
        language model was left out, or the engine has no vectors of the texts.

    Raises
    ------
    InputError
        If somebody touched every item of the catalogue.
    """
    histories = whole.without_last()
    drawn = _draw_negatives(whole, engine.n_items, seed)
    neighbours = engine.signals.find_neighbours(histories, exclude_users)
    contexts = engine.builder.build(histories, found=neighbours)

    def found(row: int, signals: UserSignals) -> np.ndarray:
        unseen = np.ones(engine.n_items, bool)
        unseen[histories[row]] = False
        items, answer = choose_candidates(signals, unseen, engine.budget), whole[row][-1:]
        return np.concatenate([answer, items[items != answer]]) if answer in items else items[:0]

    def protocol(row: int, _: UserSignals) -> np.ndarray:
        return np.concatenate([whole[row][-1:], drawn[row]])

    retrieved, sampled = engine.features(
        histories, contexts, [found, protocol], exclude_users=exclude_users, found=neighbours
    )
    engine.ask(
        histories[:asked],
        contexts[:asked],
        sampled[:asked],
        exclude_users=exclude_users[:asked],
        progress="scoring validation users",
    )
    student = None
    if engine.ranker is not None and engine.vectors is not None:
        student = _fit_student(engine, contexts, sampled, asked)
    blend = BlendRanker().fit([matrix for _, matrix in retrieved], [matrix for _, matrix in sampled])
    logger.info(
        "blend of %d users, for %d of whom the next item was found: %s, NDCG@10 of users left out %s",
        len(whole), sum(len(items) > 0 for items, _ in retrieved), blend.kind_, blend.cross_validated_,
    )  # fmt: skip
    return blend, student


def _fit_student(engine: Engine, contexts: Sequence[UserContext], sampled: Pairs, asked: int) -> Student:
    """Fit on the people the language model was asked about, and put guesses into everybody's features.

    A guess for somebody asked about comes from a student that has not seen that person: what the blend makes of
    guesses must hold for people who were never asked about.
    """
    inputs = list(engine.student_inputs(contexts[:asked], sampled[:asked]))
    student = Student().fit(inputs, [matrix[:, _MLLM] for _, matrix in sampled[:asked]])
    logger.info("student of the language model: %s", student)
    if student.informative:
        for (_, matrix), guess in zip(sampled[:asked], student.out_of_fold_, strict=True):
            matrix[:, _STUDENT] = guess
        replace(engine, student=student).guess(contexts[asked:], sampled[asked:])
    return student


def _draw_negatives(whole: Sequence[np.ndarray], n_items: int, seed: int) -> np.ndarray:
    count = min(_NEGATIVES, n_items - max(len(set(history.tolist())) for history in whole))
    if count < 1:
        raise InputError(
            "a validation user touched every item of the catalogue, so no negative is left; give more items."
        )
    return sample_negatives(whole, n=count, n_items=n_items, seed=seed)
