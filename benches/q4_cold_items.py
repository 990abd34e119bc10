"""Q4: items never seen in training, a seeded tenth of the catalogue, beside popularity and content kNN.

The held-out items are taken out of every history that models learn from. Cases are the test users whose next item is
one of them; negatives are drawn from the whole catalogue (the protocol of the paper), and from the held-out items
alone, among which popularity knows nothing.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rich.table import Table

from benches.quality_data import Split, item_vectors, load_split
from mmsrarec.data import Histories
from mmsrarec.evaluate import EvaluationCases, Popularity, bootstrap_interval, paired_test
from mmsrarec.evaluate.metrics import auc, mid_ranks, ndcg
from mmsrarec.retrieve import SequenceModel

COLD_SHARE = 0.1
NEGATIVES = 20


def table(data: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> Table:
    """Measure both sets."""
    shown = Table(
        "set", "negatives", "who", "AUC", "NDCG@5", "p of NDCG@5 against ours", "seconds of training"
    )
    for name in ("M", "P"):
        split = load_split(name, data)
        vectors = item_vectors(split)
        cold = np.zeros(split.n_items, bool)
        cold[np.random.default_rng(0).permutation(split.n_items)[: int(COLD_SHARE * split.n_items)]] = True
        train, validation = without(split.train, cold), without(split.validation, cold)
        cases, pools = cold_cases(split, cold)
        started = time.perf_counter()
        ours = []
        for seed in seeds:
            model = SequenceModel(seed=seed)
            given = {} if name == "P" else {"validation": validation}
            ours.append(
                model.fit(
                    validation if name == "P" else train, split.n_items, content=vectors, **given
                ).scores
            )
        seconds = (time.perf_counter() - started) / len(seeds)
        rivals = {
            "ours": ours,
            "popularity": [Popularity().fit(train, split.n_items).scores],
            "content kNN": [content_knn(vectors)],
        }
        for pool, negatives in pools.items():
            values = {who: mean_metrics(scorers, cases, negatives) for who, scorers in rivals.items()}
            for who, (area, gain) in values.items():
                p = "" if who == "ours" else f"{paired_test(values['ours'][1], gain).p_value:.4f}"
                shown.add_row(
                    f"{name} ({len(cases)} users)", pool, who, interval(area), interval(gain), p,
                    f"{seconds:.0f}" if who == "ours" else "",
                )  # fmt: skip
    return shown


def without(histories: Histories, cold: np.ndarray) -> Histories:
    """Take items out of histories."""
    return Histories.from_lists([items[~cold[items]] for items in histories])


def cold_cases(split: Split, cold: np.ndarray) -> tuple[EvaluationCases, dict[str, np.ndarray]]:
    """Keep the cases whose answer is held out, with negatives from everywhere and from the held-out items."""
    cases = split.test.select(cold[split.test.positives])
    histories = [history[~cold[history]] for history in cases.histories]
    asked = np.asarray([len(history) > 0 for history in histories])
    cases = EvaluationCases(
        cases.users, histories, cases.positives, cases.seen, split.n_items, cases.negatives
    ).select(asked)
    generator, unseen = np.random.default_rng(1), np.flatnonzero(cold)
    among = np.stack(
        [
            generator.choice(np.setdiff1d(unseen, [*seen, positive]), NEGATIVES, replace=False)
            for seen, positive in zip(cases.seen, cases.positives, strict=True)
        ]
    )
    return cases, {"the catalogue": cases.negatives["uniform"], "held-out items": among}


def content_knn(vectors: np.ndarray):
    """Score by the cosine to the mean of the history's vectors."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def scores(histories, candidates):
        tastes = np.stack([unit[history].mean(axis=0) for history in histories])
        return np.einsum("ud,ucd->uc", tastes, unit[candidates])

    return scores


def mean_metrics(
    scorers: list, cases: EvaluationCases, negatives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return AUC and NDCG@5 of each user, the mean over seeds."""
    candidates = np.column_stack([cases.positives, negatives])
    areas, gains = [], []
    for scorer in scorers:
        scores = np.asarray(scorer(cases.histories, candidates))
        rank = mid_ranks(scores[:, 0], scores[:, 1:])
        areas.append(auc(rank, negatives.shape[1]))
        gains.append(ndcg(rank, 5))
    return np.mean(areas, axis=0), np.mean(gains, axis=0)


def interval(values: np.ndarray) -> str:
    """Write a mean in per cent with its 95 % bootstrap interval."""
    low, high = bootstrap_interval(values)
    return f"{100 * values.mean():.2f} [{100 * low:.2f}, {100 * high:.2f}]"
