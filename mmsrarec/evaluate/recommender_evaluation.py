"""A fitted recommender under the protocols of :func:`~mmsrarec.evaluate.evaluate`, beside its own parts.

Rows: the blended ranking, the language model's p alone, the blend without asking the language model, the sequence model
alone, popularity and item-kNN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from mmsrarec.errors import InputError
from mmsrarec.evaluate.calibration import reliability
from mmsrarec.evaluate.cases import EvaluationCases
from mmsrarec.evaluate.evaluation import Scorer, evaluate, in_parts
from mmsrarec.rank import KeptProbabilities, sequence_log_probability

if TYPE_CHECKING:
    from mmsrarec.data import Dataset
    from mmsrarec.evaluate.table import EvaluationTable
    from mmsrarec.recommender import Recommender
    from mmsrarec.recommender.engine import Engine, Ranked

__all__ = ["BLEND", "NOT_ASKED", "PROBABILITY", "evaluate_recommender"]

BLEND, PROBABILITY = "mmsrarec", "p(yes) alone"
"""Rows that the language model has a part in."""

NOT_ASKED = "in real time"
"""The row of ``recommend(..., language_model=False)``."""

_BELOW_CANDIDATES = 1e4
_PROBABILITIES = "probabilities.jsonl"

Items = npt.NDArray[np.int32]


def evaluate_recommender(
    recommender: Recommender,
    test: Dataset,
    *,
    users: int | None = None,
    negatives: int = 20,
    seed: int = 0,
    full_catalogue: bool = True,
    workdir: str | Path | None = None,
) -> EvaluationTable:
    """Measure a fitted recommender on users whose last event it has not seen.

    Parameters
    ----------
    recommender
        Fitted.
    test
        Whole histories, over the recommender's catalogue; the last event of each user is the positive. Users
        that are in the training data never count as their own neighbours.
    users
        A seeded sample of this many; ``None`` takes all.
    negatives
        Items a user that the positive is ranked among, drawn uniformly and again by popularity.
    seed
        Of the sample, the negatives and the bootstrap.
    full_catalogue
        Also rank the whole catalogue: candidates first, as ``recommend`` does, all other items below them in
        the order of the sequence model.
    workdir
        Folder for what the language model says, prompt by prompt; an interrupted evaluation goes on from it. What
        another model said, or to another prompt, is not taken. ``None`` keeps nothing.

    Returns
    -------
    EvaluationTable
        Rows ``mmsrarec``, ``p(yes) alone`` and ``in real time`` (unless the language model was left out),
        ``sequence model``, ``popularity``, ``item-kNN``; with the reliability of the first two. ``in real time`` is
        what ``recommend(..., language_model=False)`` gives.

    Raises
    ------
    InputError
        If `test` has another catalogue, or no user with two events.
    StoredFileError
        If `workdir` cannot be written to.
    """
    parts = recommender.parts_
    if test.item_ids.to_list() != parts.catalogue.item_ids.to_list():
        raise InputError(
            "test must have the catalogue the recommender was fitted on; make both with Dataset.split."
        )
    if users is not None and users < 1:
        raise InputError(f"users must be 1 or more, or None for all, got {users!r}.")
    cases = EvaluationCases.from_dataset(test, popularity=parts.popularity, negatives=negatives, seed=seed)
    if users is not None and users < len(cases):
        cases = cases.select(np.sort(np.random.default_rng(seed).permutation(len(cases))[:users]))
    own_entries, engine = _own_entries(recommender, test, cases), recommender.engine_
    if workdir is not None and engine.ranker is not None:
        kept = KeptProbabilities(Path(workdir) / _PROBABILITIES)
        engine = replace(engine, ranker=engine.ranker.keeping(kept))
    asker = _Asker(engine, own_entries)
    scorers: dict[str, Scorer] = {BLEND: asker.scorer(lambda ranked: ranked.scores)}
    if engine.ranker is not None:
        not_asking = _Asker(engine.without_language_model(), own_entries)
        scorers[PROBABILITY] = asker.scorer(lambda ranked: ranked.probabilities)
        scorers[NOT_ASKED] = not_asking.scorer(lambda ranked: ranked.scores)
    scorers["sequence model"] = engine.sequence_model.scores
    protocols = ["uniform", "popularity", *(["full"] if full_catalogue else [])]
    training = parts.users.training_histories()
    table = evaluate(scorers, cases, training=training, protocols=protocols, seed=seed)
    return replace(table, reliability=asker.reliability(cases, "uniform"))


def _own_entries(recommender: Recommender, test: Dataset, cases: EvaluationCases) -> dict[bytes, int]:
    """Map the history of each case to its user's id in the knowledge base, where it has one."""
    known = recommender.parts_.users
    places = known.data.find_users(test.user_ids)[cases.users]
    return {
        history.tobytes(): int(known.knowledge_base_id[place])
        for place, history in zip(places, cases.histories, strict=True)
        if place >= 0
    }


class _Asker:
    """Asks the engine once for what several rows of the table are read from."""

    def __init__(self, engine: Engine, own_entries: dict[bytes, int]) -> None:
        self._engine = engine
        self._own_entries = own_entries
        self._answers: dict[tuple[bytes, ...], list[Ranked]] = {}

    def scorer(self, read: Callable[[Ranked], npt.NDArray[np.floating]]) -> Scorer:
        """Return a scorer that reads one number a candidate from the engine's answers."""

        def score(histories: Sequence[Items], candidates: Items | None) -> npt.NDArray[np.floating]:
            answers = self._ask(histories, candidates)
            if candidates is None:
                rows = (
                    sequence_log_probability(self._engine.sequence_model.scores(histories))
                    - _BELOW_CANDIDATES
                )
                for row, ranked in zip(rows, answers, strict=True):
                    row[ranked.items] = read(ranked)
                return rows
            rows = np.zeros(candidates.shape)
            for row, items, ranked in zip(rows, candidates, answers, strict=True):
                by_item = dict(zip(ranked.items.tolist(), read(ranked).tolist(), strict=True))
                row[:] = [by_item[int(item)] for item in items]
            return rows

        return score

    def reliability(self, cases: EvaluationCases, protocol: str) -> pl.DataFrame:
        """Compare what the blend and the language model said of each candidate with what came true."""
        blend, language = [], []
        for part in in_parts(cases):
            answers = self._ask(part.histories, np.column_stack([part.positives, part.negatives[protocol]]))
            for positive, ranked in zip(part.positives, answers, strict=True):
                is_next = ranked.items == positive
                blend.append((ranked.scores, is_next))
                language.append((ranked.probabilities.astype(float), is_next))
        said = {BLEND: blend} if self._engine.ranker is None else {BLEND: blend, PROBABILITY: language}
        bins = [
            reliability(*map(np.concatenate, zip(*pairs, strict=True))).insert_column(
                0, pl.lit(name).alias("model")
            )
            for name, pairs in said.items()
        ]
        return pl.concat(bins)

    def _ask(self, histories: Sequence[Items], candidates: Items | None) -> list[Ranked]:
        asked = b"" if candidates is None else candidates.tobytes()
        key = (asked, *(history.tobytes() for history in histories))
        if key not in self._answers:
            exclude = np.array(
                [self._own_entries.get(history.tobytes(), -1) for history in histories], np.int32
            )
            if candidates is None:
                self._answers[key] = self._engine.recommend(
                    histories,
                    self._unseen(histories),
                    k=0,
                    exclude_users=exclude,
                    progress="ranking candidates",
                )
            else:
                self._answers[key] = self._engine.rank(
                    histories, list(candidates), exclude_users=exclude, progress="ranking candidates"
                )
        return self._answers[key]

    def _unseen(self, histories: Sequence[Items]) -> list[npt.NDArray[np.bool_]]:
        masks = []
        for history in histories:
            mask = np.ones(self._engine.n_items, bool)
            mask[history] = False
            masks.append(mask)
        return masks
