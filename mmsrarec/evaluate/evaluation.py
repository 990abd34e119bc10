"""``evaluate``: ask every model about the same cases and collect its metrics user by user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.evaluate.baselines import Popularity
from mmsrarec.evaluate.cases import SAMPLINGS, EvaluationCases
from mmsrarec.evaluate.metrics import auc, hit_rate, mid_ranks, ndcg, reciprocal_rank
from mmsrarec.evaluate.table import FULL, RECOMMENDED, EvaluationTable, metric_column
from mmsrarec.progress import Ticker, ticker
from mmsrarec.retrieve import ItemKNN

__all__ = ["PROTOCOLS", "Scorer", "evaluate"]

PROTOCOLS = (*SAMPLINGS, FULL)
COLD_ITEM_EVENTS = 5
SHORT_HISTORY_EVENTS = 5

_CASES_AT_ONCE = 256
_LOWEST = np.finfo(np.float32).min

Columns = dict[str, npt.NDArray[np.generic]]


class Scorer(Protocol):
    """Anything that scores items as the next of a history."""

    def __call__(
        self, histories: Sequence[npt.NDArray[np.int32]], candidates: npt.NDArray[np.int32] | None
    ) -> npt.NDArray[np.floating]:
        """Return (users, c) scores of the candidates, or (users, n_items) for ``None``; higher is better."""


def evaluate(
    models: Mapping[str, Scorer],
    cases: EvaluationCases,
    *,
    training: Histories,
    protocols: Sequence[str] = PROTOCOLS,
    sampled_cutoff: int = 5,
    full_cutoff: int = 10,
    seed: int = 0,
) -> EvaluationTable:
    """Measure models beside popularity and item-kNN.

    Parameters
    ----------
    models
        Name → scorer, for example ``{"sasrec": model.scores}``.
    cases
        What to predict.
    training
        Events that the baselines are fitted on, and that items are called cold by.
    protocols
        Of ``"uniform"`` and ``"popularity"`` (positive among sampled negatives: HR, NDCG, MRR, AUC) and ``"full"``
        (all items but those already seen: HR, NDCG, MRR, novelty, coverage).
    sampled_cutoff, full_cutoff
        The k of HR@k and NDCG@k; `full_cutoff` is also the length of the lists that novelty and coverage look at.
    seed
        Seed of the bootstrap.

    Returns
    -------
    EvaluationTable
        Ours first, in the order given.

    Raises
    ------
    InputError
        If a protocol is unknown, or a scorer returns NaN or the wrong shape.

    Examples
    --------
    >>> training = Histories.from_lists([[0, 1, 2], [3, 4, 5]] * 5)
    >>> popularity = np.bincount(training.items, minlength=9)
    >>> cases = EvaluationCases.from_dataset(training, popularity=popularity, negatives=3)
    >>> table = evaluate({}, cases, training=training, protocols=["uniform"])
    >>> table.models, table.value("item-kNN", "uniform", "AUC")
    (['popularity', 'item-kNN'], 1.0)
    """
    _check(cases, protocols, {"sampled_cutoff": sampled_cutoff, "full_cutoff": full_cutoff})
    counts = np.bincount(training.items, minlength=cases.n_items)
    scorers: dict[str, Scorer] = dict(models)
    for name, baseline in (("popularity", Popularity()), ("item-kNN", ItemKNN())):
        if name not in scorers:
            scorers[name] = baseline.fit(training, cases.n_items).scores
    frames = []
    with ticker("evaluating", total=len(scorers) * len(protocols) * len(cases)) as shown:
        for name, scorer in scorers.items():
            columns = _case_columns(cases, counts)
            for protocol in protocols:
                if protocol == FULL:
                    columns |= _full(name, scorer, cases, counts, full_cutoff, shown)
                else:
                    columns |= _sampled(name, scorer, cases, protocol, sampled_cutoff, shown)
            frames.append(pl.DataFrame({"model": [name] * len(cases), **columns}))
    return EvaluationTable(pl.concat(frames), n_items=cases.n_items, seed=seed)


def _check(cases: EvaluationCases, protocols: Sequence[str], cutoffs: dict[str, int]) -> None:
    if not len(cases):
        raise InputError("cases hold no user; there is nothing to evaluate.")
    unknown = [protocol for protocol in protocols if protocol != FULL and protocol not in cases.negatives]
    if unknown or not protocols:
        raise InputError(
            f"protocols must be of {[*cases.negatives, FULL]}, got {list(protocols)}; "
            "cases hold the negatives they were made with."
        )
    for name, cutoff in cutoffs.items():
        if isinstance(cutoff, bool) or not isinstance(cutoff, int) or cutoff < 1:
            raise InputError(f"{name} must be a whole number of 1 or more, got {cutoff!r}.")


def _case_columns(cases: EvaluationCases, counts: npt.NDArray[np.int64]) -> Columns:
    length = np.asarray([len(history) for history in cases.histories], np.int32)
    positive_events = counts[cases.positives]
    return {
        "user": cases.users,
        "history_length": length,
        "positive_events": positive_events,
        "cold_item": positive_events < COLD_ITEM_EVENTS,
        "short_history": length <= SHORT_HISTORY_EVENTS,
    }


def _ask(
    name: str, scorer: Scorer, cases: EvaluationCases, candidates: npt.NDArray[np.int32] | None
) -> npt.NDArray[np.float64]:
    expected = (len(cases), cases.n_items) if candidates is None else candidates.shape
    scores = np.asarray(scorer(cases.histories, candidates))
    if scores.shape != expected:
        raise InputError(f"{name} must return scores of shape {expected}, got {scores.shape}.")
    if np.isnan(scores).any():
        raise InputError(f"{name} returned NaN as a score; it must score every candidate.")
    return scores


def in_parts(cases: EvaluationCases) -> list[EvaluationCases]:
    """Cut cases into parts that scorers are asked about one after the other."""
    return [
        cases.select(slice(first, first + _CASES_AT_ONCE)) for first in range(0, len(cases), _CASES_AT_ONCE)
    ]


def _sampled(
    name: str, scorer: Scorer, cases: EvaluationCases, sampling: str, cutoff: int, shown: Ticker
) -> Columns:
    ranks = []
    for chunk in in_parts(cases):
        candidates = np.column_stack([chunk.positives, chunk.negatives[sampling]])
        scores = _ask(name, scorer, chunk, candidates)
        ranks.append(mid_ranks(scores[:, 0], scores[:, 1:]))
        shown.advance(len(chunk), name)
    rank = np.concatenate(ranks)
    return {
        metric_column(sampling, f"HR@{cutoff}"): hit_rate(rank, cutoff),
        metric_column(sampling, f"NDCG@{cutoff}"): ndcg(rank, cutoff),
        metric_column(sampling, "MRR"): reciprocal_rank(rank),
        metric_column(sampling, "AUC"): auc(rank, cases.negatives[sampling].shape[1]),
    }


def _full(
    name: str,
    scorer: Scorer,
    cases: EvaluationCases,
    counts: npt.NDArray[np.int64],
    cutoff: int,
    shown: Ticker,
) -> Columns:
    ranks, recommended = [], []
    for chunk in in_parts(cases):
        # Minus infinity is kept for what is left out.
        scores = np.maximum(_ask(name, scorer, chunk, None), _LOWEST)
        rows = np.arange(len(chunk))
        wanted = scores[rows, chunk.positives]
        scores[np.repeat(rows, [len(items) for items in chunk.seen]), np.concatenate(chunk.seen)] = -np.inf
        scores[rows, chunk.positives] = -np.inf
        ranks.append(mid_ranks(wanted, scores))
        scores[rows, chunk.positives] = wanted
        recommended.append(_best(scores, min(cutoff, cases.n_items)))
        shown.advance(len(chunk), name)
    rank, lists = np.concatenate(ranks), np.concatenate(recommended)
    # Self-information of what is recommended (Vargas & Castells 2011), of shares of the training events, add-one.
    surprise = -np.log2((counts + 1) / (counts.sum() + len(counts)))
    return {
        metric_column(FULL, f"HR@{cutoff}"): hit_rate(rank, cutoff),
        metric_column(FULL, f"NDCG@{cutoff}"): ndcg(rank, cutoff),
        metric_column(FULL, "MRR"): reciprocal_rank(rank),
        metric_column(FULL, f"novelty@{cutoff}"): surprise[lists].mean(axis=1),
        RECOMMENDED: lists,
    }


def _best(scores: npt.NDArray[np.floating], k: int) -> npt.NDArray[np.int32]:
    """Return the items with the `k` highest scores of each row, best first, ties by smaller id."""
    found = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1).astype(np.int32)
