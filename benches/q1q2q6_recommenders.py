"""Q1, Q2, Q6: our sequence model and blend, without a language model, beside the peers, on M, P and K.

All answer the same cases: the next item among 20 uniform negatives, among 20 drawn by popularity, and in the whole
catalogue. Ranks are kept in the workdir, one file a set, who and seed, so that a run goes on where it was; those of the
peers come from ``make peers``, which measures them in an environment of their own. Means are over users and seeds,
intervals and paired tests over users. A second table cuts the users into thirds.

    python -m benches Q1 --data ../shared/data --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benches.quality_data import SETS, Split, item_vectors, load_split
from mmsrarec.evaluate import Popularity, bootstrap_interval, calibration_error, paired_test, reliability
from mmsrarec.evaluate.metrics import auc, hit_rate, mid_ranks, ndcg
from mmsrarec.rank import FEATURES, BlendRanker, Signals, UserSignals, choose_candidates
from mmsrarec.recommender.blending import fit_blend
from mmsrarec.recommender.engine import Engine
from mmsrarec.retrieve import (
    ContextBuilder,
    ItemKNN,
    ItemView,
    SequenceModel,
    SimilarUsers,
)
from mmsrarec.storage import atomic_path
from mmsrarec.summarize.targets import KeywordExtractor

BUDGET = 200
USERS_AT_ONCE = 512
NEGATIVES = 20
PEERS = ("sasrec", "esasrec", "bert4rec", "recbole", "als")
Ranks = dict[str, np.ndarray]
_SEQUENCE = FEATURES.index("sequence")


def main(words: Sequence[str]) -> int:
    """Measure what is missing and print everything."""
    parser = argparse.ArgumentParser(prog="python -m benches Q1", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", default=["M", "P"], choices=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--peers", type=Path, default=Path("build/peers"), help="what `make peers` wrote")
    parser.add_argument("--sequence-model", default="sasrec", choices=["sasrec", "gru4rec"])
    parser.add_argument("--workdir", type=Path, default=Path("build/quality"))
    arguments = parser.parse_args(words)
    kind = arguments.sequence_model
    for name in arguments.sets:
        split = load_split(name, arguments.data)
        found: dict[str, list[Ranks]] = {}
        for seed in arguments.seeds:
            folder = arguments.workdir / name / (str(seed) if kind == "sasrec" else f"{kind}-{seed}")
            for who, ranks in ours(split, kind, seed, folder).items():
                found.setdefault(who, []).append(ranks)
        for who, ranks in simple(split).items():
            found[who] = [ranks]
        for peer in PEERS:
            for path in sorted(arguments.peers.glob(f"{name}-{peer}-*.npz")):
                found.setdefault(f"peer: {peer}", []).append(peer_ranks(path))
        Console(width=170).print(results(name, found))
        Console(width=170).print(sliced(split, found))
    return 0


def ours(split: Split, kind: str, seed: int, folder: Path) -> dict[str, Ranks]:
    """Fit the sequence model and the blend, or read what they answered."""
    files = {who: folder / f"{who}.npz" for who in ("sequence model", "blend")}
    if not all(path.exists() for path in files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        for who, ranks in answer(split, kind, seed, folder).items():
            with atomic_path(files[who]) as temporary, temporary.open("wb") as file:
                np.savez(file, **ranks)
    return {who: dict(np.load(path)) for who, path in files.items()}


def answer(split: Split, kind: str, seed: int, folder: Path) -> dict[str, Ranks]:
    """Fit on the training and validation users, then look at the test users once."""
    engine = build_engine(split, fit_sequence_model(split, seed, folder, kind))
    asked = np.flatnonzero(split.validation.lengths >= 2)
    blend, _ = fit_blend(
        engine,
        split.validation.select(asked),
        exclude_users=split.knowledge_base_ids(asked),
        asked=0,
        seed=seed,
    )
    print(
        f"{split.name} seed {seed}: {blend.kind_}, NDCG@10 of validation users left out {blend.cross_validated_}"
    )
    by_sequence, by_blend = test_ranks(split, engine, blend)
    return {"sequence model": by_sequence, "blend": by_blend}


def fit_sequence_model(split: Split, seed: int, folder: Path, kind: str = "sasrec") -> SequenceModel:
    """Fit with the defaults."""
    histories, validation = split.sequences
    model = SequenceModel(kind=kind, seed=seed).fit(
        histories,
        split.n_items,
        content=item_vectors(split),
        validation=validation,
        workdir=folder / "checkpoint",
    )
    print(
        f"{split.name} seed {seed}: epoch {model.best_epoch_}, validation NDCG@10 {max(model.validation_ndcg_):.4f}"
    )
    return model


def build_engine(split: Split, model: SequenceModel) -> Engine:
    """Join the rooms without a language model; keywords are extracted from the texts."""
    taken, n_items = split.train, split.n_items
    contents = [split.dataset.item_content(item) for item in range(n_items)]
    extractor = KeywordExtractor(contents)
    keywords = [extractor.text_keywords(content) for content in contents]
    similar_users = SimilarUsers().fit(model, taken)
    view = ItemView(contents, keywords, lambda text, tokens: " ".join(text.split()[:tokens]))
    signals = Signals.fit(model, similar_users, taken, keywords)
    builder = ContextBuilder(view, similar_users, count_tokens=lambda text: len(text.split()))
    return Engine(builder, signals, None, BlendRanker(), BUDGET)


def test_ranks(split: Split, engine: Engine, blend: BlendRanker) -> tuple[Ranks, Ranks]:
    """Rank the positives by the sequence model and by the blend."""
    cases = split.test
    own = split.knowledge_base_ids(cases.users)
    parts: tuple[list[Ranks], list[Ranks]] = ([], [])
    for first in range(0, len(cases), USERS_AT_ONCE):
        chunk, excluded = (
            cases.select(slice(first, first + USERS_AT_ONCE)),
            own[first : first + USERS_AT_ONCE],
        )
        sampled = {by: np.column_stack([chunk.positives, drawn]) for by, drawn in chunk.negatives.items()}
        whole: list[np.ndarray] = []

        def found(row: int, signals: UserSignals, chunk=chunk, whole=whole) -> np.ndarray:
            unseen = np.ones(engine.n_items, bool)
            unseen[chunk.seen[row]] = False
            whole.append(np.where(unseen, signals["sequence"], -np.inf))
            return choose_candidates(signals, unseen, engine.budget)

        contexts = engine.builder.build(chunk.histories, exclude_users=excluded)
        ways = [found, *(lambda row, _, drawn=drawn: drawn[row] for drawn in sampled.values())]
        retrieved, *protocols = engine.features(chunk.histories, contexts, ways, exclude_users=excluded)
        by_sequence, by_blend = {}, {}
        for by, pairs in zip(sampled, protocols, strict=True):
            by_sequence[by] = ranks_of([matrix[:, _SEQUENCE] for _, matrix in pairs])
            scores = [blend.score(matrix) for _, matrix in pairs]
            by_blend[by] = ranks_of(scores)
            if by == "uniform":
                by_blend["probability"] = 1 / (1 + np.exp(-np.stack(scores)))
        rows = np.stack(whole)
        positive = rows[np.arange(len(chunk)), chunk.positives]
        by_sequence["full"] = (rows > positive[:, None]).sum(1) + 0.5 * (
            (rows == positive[:, None]).sum(1) - 1
        )
        by_blend["full"] = np.array(
            [
                place_among(blend.score(matrix), items, row, int(wanted))
                for (items, matrix), row, wanted in zip(retrieved, rows, chunk.positives, strict=True)
            ]
        )
        by_blend["retrieved"] = np.array(
            [wanted in items for (items, _), wanted in zip(retrieved, chunk.positives, strict=True)], float
        )
        parts[0].append(by_sequence)
        parts[1].append(by_blend)
    return tuple({name: np.concatenate([part[name] for part in side]) for name in side[0]} for side in parts)


def ranks_of(scores: list[np.ndarray]) -> np.ndarray:
    """Rank row 0 of each."""
    table = np.stack(scores)
    return mid_ranks(table[:, 0], table[:, 1:])


def place_among(scores: np.ndarray, items: np.ndarray, by_sequence: np.ndarray, wanted: int) -> float:
    """Rank over the catalogue: candidates by the blend, all other items below them in the sequence model's order."""
    if wanted in items:
        own = scores[items == wanted][0]
        return float((scores > own).sum() + 0.5 * ((scores == own).sum() - 1))
    below = np.delete(by_sequence, items)
    return float(len(items) + (below > by_sequence[wanted]).sum())


def simple(split: Split) -> dict[str, Ranks]:
    """Answer by popularity and item-kNN."""
    answers = {}
    for who, model in (("popularity", Popularity()), ("item-kNN", ItemKNN())):
        scorer = model.fit(split.train, split.n_items).scores
        parts: list[Ranks] = []
        for first in range(0, len(split.test), USERS_AT_ONCE):
            chunk = split.test.select(slice(first, first + USERS_AT_ONCE))
            scores = scorer(chunk.histories)
            wanted = np.take_along_axis(scores, chunk.positives[:, None], 1)
            ranks = {
                by: mid_ranks(wanted[:, 0], np.take_along_axis(scores, drawn, 1))
                for by, drawn in chunk.negatives.items()
            }
            for row, seen in enumerate(chunk.seen):
                scores[row, seen] = -np.inf
            ranks["full"] = (scores > wanted).sum(1) + 0.5 * ((scores == wanted).sum(1) - 1)
            parts.append(ranks)
        answers[who] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return answers


def peer_ranks(path: Path) -> Ranks:
    """Read what ``benches/peers/measure.py`` wrote, after the epoch that its validation likes best."""
    kept = dict(np.load(path))
    best = int(kept["best_epoch"])
    return {by: kept[by][best] for by in ("uniform", "popularity", "full")} | {
        "seconds": kept["seconds"][best]
    }


def results(name: str, found: dict[str, list[Ranks]]) -> Table:
    """Make the table; p-values are of NDCG against the peer with the best full-catalogue NDCG@10."""
    mean = means(found)
    best = best_rival(mean)
    table = Table(
        "who (seeds)", title=f"{name}: {len(mean[best]['full NDCG@10'])} test users; p against {best}"
    )
    for metric in mean[best]:
        table.add_column(metric)
    for column in ("p, NDCG@5", "p, full NDCG@10", "expected calibration error"):
        table.add_column(column)
    for who, values in mean.items():
        cells = [interval(value) for value in values.values()]
        tests = ["", ""]
        if who in ("sequence model", "blend"):
            tests = [
                f"{paired_test(values[m], mean[best][m]).p_value:.4f}"
                for m in ("uniform NDCG@5", "full NDCG@10")
            ]
        said = [ranks["probability"] for ranks in found[who] if "probability" in ranks]
        # Column 0 is the next item.
        errors = [
            calibration_error(reliability(p, np.broadcast_to(np.arange(p.shape[1]) == 0, p.shape)))
            for p in said
        ]
        table.add_row(
            f"{who} ({len(found[who])})", *cells, *tests,
            f"{np.mean(errors):.4f}" if errors else "",
        )  # fmt: skip
    return table


def sliced(split: Split, found: dict[str, list[Ranks]]) -> Table:
    """Make the table of NDCG for thirds of the users: by popularity of the next item, by history, by time gone by."""
    mean = means(found)
    who = ["popularity", "item-kNN", best_rival(mean), "sequence model", "blend"]
    shown = [name for name in dict.fromkeys(who) if name in mean]
    table = Table(
        "slice", "users", title=f"{split.name}: NDCG@5 among uniform negatives / NDCG@10 over the catalogue"
    )
    for name in shown:
        table.add_column(name)
    for label, values in slicing_values(split).items():
        # Where many share a value, a third may take its neighbour's place, or be empty.
        bounds = np.unique(np.quantile(values, [0, 1 / 3, 2 / 3, 1]))
        for low, high in pairwise(bounds):
            inside = (values >= low) & ((values <= high) if high == bounds[-1] else (values < high))
            cells = [
                " / ".join(
                    interval(mean[name][metric][inside]) for metric in ("uniform NDCG@5", "full NDCG@10")
                )
                for name in shown
            ]
            table.add_row(f"{label} {low:.6g} to {high:.6g}", str(inside.sum()), *cells)
    return table


def slicing_values(split: Split) -> dict[str, np.ndarray]:
    """Return what test users are cut into thirds by, one value a user."""
    counts = np.bincount(split.train.items, minlength=split.n_items)
    values = {
        "events of the next item": counts[split.test.positives],
        "events of the user": np.array([len(history) for history in split.test.histories]),
    }
    if split.same_users:  # M has places in the history for timestamps
        whole = split.dataset.histories()
        last = whole.indptr[1:][split.test.users] - 1
        values["minutes since the event before"] = (whole.timestamps[last] - whole.timestamps[last - 1]) / 60
    return values


def means(found: dict[str, list[Ranks]]) -> dict[str, dict[str, np.ndarray]]:
    """Return every metric of everyone, one value a user, averaged over seeds."""
    metrics = {who: [per_user(ranks) for ranks in seeds] for who, seeds in found.items()}
    return {
        who: {m: np.mean([seed[m] for seed in seeds], axis=0) for m in seeds[0]}
        for who, seeds in metrics.items()
    }


def best_rival(mean: dict[str, dict[str, np.ndarray]]) -> str:
    """Name the best of the others by NDCG@10 over the catalogue."""
    rivals = [who for who in mean if who not in ("sequence model", "blend")]
    return max(rivals, key=lambda who: mean[who]["full NDCG@10"].mean())


def per_user(ranks: Ranks) -> dict[str, np.ndarray]:
    """Return every metric, one value a user."""
    values = {}
    for by in ("uniform", "popularity"):
        values[f"{by} HR@5"] = hit_rate(ranks[by], 5)
        values[f"{by} AUC"] = auc(ranks[by], NEGATIVES)
        values[f"{by} NDCG@5"] = ndcg(ranks[by], 5)
    return values | {"full HR@10": hit_rate(ranks["full"], 10), "full NDCG@10": ndcg(ranks["full"], 10)}


def interval(values: np.ndarray) -> str:
    """Write a mean in per cent and half the width of its 95 % bootstrap interval."""
    low, high = bootstrap_interval(values)
    return f"{100 * values.mean():.2f} ±{50 * (high - low):.2f}"
