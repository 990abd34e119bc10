"""Q4: items never seen in training, a seeded tenth of the catalogue, beside popularity and content kNN.

The held-out items are taken out of every history that models learn from. Cases are the test users whose next item is
one of them; negatives are drawn from the whole catalogue (the protocol of the paper), and from the held-out items
alone, among which popularity knows nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benches.quality_data import SETS, Split, item_vectors, load_split
from mmsrarec.data import Histories
from mmsrarec.evaluate import EvaluationCases, Popularity, bootstrap_interval, paired_test
from mmsrarec.evaluate.metrics import auc, mid_ranks, ndcg
from mmsrarec.retrieve import SequenceModel

COLD_SHARE = 0.1
NEGATIVES = 20


def main(words: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benches Q4", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", default=["M", "P"], choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args(words)
    shown = Table("set", "negatives", "who", "AUC", "NDCG@5", "p of NDCG@5 against ours")
    for name in arguments.sets:
        split = load_split(name, arguments.data)
        cold = np.zeros(split.n_items, bool)
        cold[np.random.default_rng(0).permutation(split.n_items)[: int(COLD_SHARE * split.n_items)]] = True
        cases, pools = cold_cases(split, cold)
        scorers = rivals(split, cold, arguments.seeds)
        for pool, negatives in pools.items():
            values = {who: mean_metrics(asked, cases, negatives) for who, asked in scorers.items()}
            for who, (area, gain) in values.items():
                p = "" if who == "ours" else f"{paired_test(values['ours'][1], gain).p_value:.4f}"
                shown.add_row(f"{name} ({len(cases)} users)", pool, who, interval(area), interval(gain), p)
    Console(width=150).print(shown)
    return 0


def rivals(split: Split, cold: np.ndarray, seeds: Sequence[int]) -> dict[str, list]:
    """Fit ours, once a seed, and the two it stands beside."""
    vectors = item_vectors(split)
    train, validation = without(split.train, cold), without(split.validation, cold)
    models = []
    for seed in seeds:
        model = SequenceModel(seed=seed)
        if split.same_users:  # the fit holds out the last event of each user itself
            models.append(model.fit(validation, split.n_items, content=vectors))
        else:
            models.append(model.fit(train, split.n_items, content=vectors, validation=validation))
    return {
        "ours": [model.scores for model in models],
        "popularity": [Popularity().fit(train, split.n_items).scores],
        "content kNN": [content_knn(vectors)],
    }


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
