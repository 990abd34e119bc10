"""The cost line: what a recommendation takes of the language model, measured on a fitted recommender."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsrarec.backbone import counting
from mmsrarec.errors import InputError
from mmsrarec.evaluate.cases import EvaluationCases
from mmsrarec.tune import yes_no_prompt

if TYPE_CHECKING:
    from mmsrarec.data import Dataset
    from mmsrarec.recommender import Recommender

__all__ = ["RecommendationCost", "recommendation_cost"]


@dataclass(frozen=True)
class RecommendationCost:
    """What scoring each candidate of some users took.

    Attributes
    ----------
    users
        Number of users asked about.
    candidates
        Candidates scored, of all users.
    passes
        Calls of the language model.
    sequences
        Rows in them: a prefix and the branches of each user. The paper's inferences are one a candidate, and each of
        them reads the whole prompt.
    tokens
        Positions in them, padding included.
    tokens_one_by_one
        Positions that one inference a candidate would read.
    pictures
        Pictures the tower read; it has read none of them before.
    seconds
        Of scoring, retrieval and everything else included.
    seconds_without
        Of ranking the same candidates without the language model.
    """

    users: int
    candidates: int
    passes: int
    sequences: int
    tokens: int
    tokens_one_by_one: int
    pictures: int
    seconds: float
    seconds_without: float

    def __str__(self) -> str:
        each = self.candidates
        return (
            f"a recommendation ({each / self.users:.0f} candidates of {self.users} users): "
            f"{self.passes / each:.2f} passes, {self.tokens / each:.0f} tokens "
            f"({self.tokens_one_by_one / each:.0f} one by one), {self.pictures / each:.2f} pictures, "
            f"{self.seconds / each:.4f} s; without the language model {self.seconds_without / each:.5f} s"
        )


def recommendation_cost(
    recommender: Recommender, test: Dataset, *, users: int = 8, negatives: int = 20, seed: int = 0
) -> RecommendationCost:
    """Measure what ranking a positive among negatives takes.

    Parameters
    ----------
    recommender
        Fitted, with its language model.
    test
        Whole histories, as for :func:`~mmsrarec.evaluate.evaluate_recommender`.
    users
        A seeded sample of this many, 1 or more.
    negatives
        Items that each positive is ranked among.
    seed
        Of the sample and the negatives.

    Returns
    -------
    RecommendationCost
        Pictures that were read before are forgotten first, so that they count.

    Raises
    ------
    InputError
        If the language model was left out, or `users` is below 1.
    """
    engine, parts = recommender.engine_, recommender.parts_
    backbone = parts.require_language_model().backbone
    if engine.ranker is None:
        raise InputError(
            "the recommender was fitted without its language model, so there is nothing to count."
        )
    if users < 1:
        raise InputError(f"users must be 1 or more, got {users!r}.")
    cases = EvaluationCases.from_dataset(test, popularity=parts.popularity, negatives=negatives, seed=seed)
    cases = cases.select(np.random.default_rng(seed).permutation(len(cases))[:users])
    candidates = list(np.column_stack([cases.positives, cases.negatives["uniform"]]))
    backbone.output_head()  # checked once a process, which is no part of a recommendation
    backbone.features.clear()
    with counting(backbone) as cost:
        started = time.perf_counter()
        engine.rank(cases.histories, candidates)
        seconds = time.perf_counter() - started
    contexts = engine.builder.build(cases.histories)
    evidence = engine.builder.evidence(cases.histories, candidates)
    prompts = [
        yes_no_prompt(context, engine.builder.view, int(item), paths)
        for context, items, known in zip(contexts, candidates, evidence, strict=True)
        for item, paths in zip(items, known, strict=True)
    ]
    started = time.perf_counter()
    engine.without_language_model().rank(cases.histories, candidates)
    return RecommendationCost(
        users=len(cases),
        candidates=len(prompts),
        passes=cost.passes,
        sequences=cost.sequences,
        tokens=cost.tokens,
        tokens_one_by_one=sum(len(one) for one in backbone.encode(prompts)),
        pictures=cost.pictures,
        seconds=seconds,
        seconds_without=time.perf_counter() - started,
    )
