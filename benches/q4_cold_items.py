"""Q4: items never seen in training, a tenth of the catalogue at a time, beside popularity and content kNN.

The catalogue is cut into ten parts; one is taken out of every history that models learn from, and cases are the test
users whose next item is in it. Other parts, other cases: their users are pooled. Negatives are drawn from the whole
catalogue (the protocol of the paper), and from the held-out items alone, among which popularity knows nothing. What a
part gave is kept in the workdir.

    python -m benches Q4 --sets P --tenths 0 1 2 3 4 5 6 7 8 9
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benches.quality_data import SETS, Split, interval, item_vectors, load_split
from mmsrarec.data import Histories
from mmsrarec.evaluate import EvaluationCases, Popularity, paired_test
from mmsrarec.evaluate.metrics import auc, mid_ranks, ndcg
from mmsrarec.retrieve import SequenceModel
from mmsrarec.storage import atomic_path

TENTHS = 10
NEGATIVES = 20
POOLS = ("the catalogue", "held-out items")
WHO = ("ours", "popularity", "content kNN")
Scorer = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]
Values = dict[tuple[str, ...], np.ndarray]
"""(pool, who) → AUC and NDCG@5 of each user, (2, users)."""


def main(words: Sequence[str]) -> int:
    """Measure what is missing and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benches Q4", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", default=["M", "P"], choices=list(SETS))
    parser.add_argument("--tenths", nargs="+", type=int, default=[0, 1, 2], choices=range(TENTHS))
    parser.add_argument("--workdir", type=Path, default=Path("build/quality"))
    arguments = parser.parse_args(words)
    shown = Table("set", "negatives", "who", "AUC", "NDCG@5", "p of NDCG@5 against ours")
    for name in arguments.sets:
        split = load_split(name, arguments.data)
        parts = [measured(split, tenth, arguments.workdir / name) for tenth in arguments.tenths]
        for pool in POOLS:
            pooled = {who: np.concatenate([part[pool, who] for part in parts], axis=1) for who in WHO}
            for who, (area, gain) in pooled.items():
                p = "" if who == "ours" else f"{paired_test(pooled['ours'][1], gain).p_value:.4f}"
                label = f"{name} ({len(gain)} users, {len(parts)} tenths)"
                shown.add_row(label, pool, who, interval(area), interval(gain), p)
    Console(width=150).print(shown)
    return 0


def measured(split: Split, tenth: int, workdir: Path) -> Values:
    """Hold out one part of the catalogue, or read what came of it; the seed of the model is the part's number."""
    path = workdir / f"cold-{tenth}.npz"
    if not path.exists():
        cold = np.zeros(split.n_items, bool)
        cold[np.array_split(np.random.default_rng(0).permutation(split.n_items), TENTHS)[tenth]] = True
        cases, pools = cold_cases(split, cold)
        scorers = rivals(split, cold, tenth)
        workdir.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                **{
                    f"{pool}/{who}": metrics(scorer, cases, negatives)
                    for pool, negatives in pools.items()
                    for who, scorer in scorers.items()
                },
            )
    return {tuple(label.split("/")): values for label, values in np.load(path).items()}


def rivals(split: Split, cold: np.ndarray, seed: int) -> dict[str, Scorer]:
    """Fit ours and the two it stands beside."""
    vectors = item_vectors(split)
    histories, validation = (part if part is None else without(part, cold) for part in split.sequences)
    model = SequenceModel(seed=seed).fit(histories, split.n_items, content=vectors, validation=validation)
    return {
        "ours": model.scores,
        "popularity": Popularity().fit(without(split.train, cold), split.n_items).scores,
        "content kNN": content_knn(vectors),
    }


def without(histories: Histories, cold: np.ndarray) -> Histories:
    """Take items out of histories."""
    kept = ~cold[histories.items]
    indptr = np.concatenate([[0], np.cumsum(kept)])[histories.indptr].astype(np.int64)
    return Histories(indptr, histories.items[kept], histories.timestamps[kept], histories.asked_at)


def cold_cases(split: Split, cold: np.ndarray) -> tuple[EvaluationCases, dict[str, np.ndarray]]:
    """Keep the cases whose answer is held out, with negatives from everywhere and from the held-out items."""
    cases = split.test.select(cold[split.test.positives])
    cases = replace(cases, histories=without(cases.histories, cold))
    cases = cases.select(cases.histories.lengths > 0)
    generator, unseen = np.random.default_rng(1), np.flatnonzero(cold)
    among = np.stack(
        [
            generator.choice(np.setdiff1d(unseen, [*seen, positive]), NEGATIVES, replace=False)
            for seen, positive in zip(cases.seen, cases.positives, strict=True)
        ]
    )
    return cases, dict(zip(POOLS, (cases.negatives["uniform"], among), strict=True))


def content_knn(vectors: np.ndarray) -> Scorer:
    """Score by the cosine to the mean of the history's vectors."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def scores(histories, candidates):
        tastes = np.stack([unit[history].mean(axis=0) for history in histories])
        return np.einsum("ud,ucd->uc", tastes, unit[candidates])

    return scores


def metrics(scorer: Scorer, cases: EvaluationCases, negatives: np.ndarray) -> np.ndarray:
    """Return AUC and NDCG@5 of each user, (2, users)."""
    scores = np.asarray(scorer(cases.histories, np.column_stack([cases.positives, negatives])))
    rank = mid_ranks(scores[:, 0], scores[:, 1:])
    return np.stack([auc(rank, negatives.shape[1]), ndcg(rank, 5)])
