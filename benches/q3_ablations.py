"""Q3: the blend with and without the language model, and with each part of its path left out, paired by user.

P: the last event of every user held out, the blend fitted on a tenth of them; M: other users, a seeded sample of them.
Beside each part: what is lost without it, by the blend and by p alone. Interrupted, it goes on where it was. The page
WORKDIR/SET/ablations.html draws it all, and how far p and the blend can be taken at their word. Below: what it costs.

    python -m benches Q3 --data ../shared/data --sets P --preset quick --workdir runs/q3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benches.quality_data import SPLIT_SEED, load_split
from mmsrarec import Recommender
from mmsrarec.data import Dataset
from mmsrarec.evaluate import (
    EvaluationTable,
    ablation_gains,
    calibration_error,
    evaluate_ablations,
    recommendation_cost,
)
from mmsrarec.evaluate.recommender_evaluation import BLEND, NOT_ASKED
from mmsrarec.recommender.ablation import PARTS
from mmsrarec.report import write_report

METRICS = (("uniform", "HR@5"), ("uniform", "NDCG@5"), ("uniform", "AUC"), ("popularity", "NDCG@5"))


def table(
    data: Path,
    *,
    sets: Sequence[str] = ("P", "M"),
    parts: Sequence[str] = tuple(PARTS),
    backbone: str = "embedded",
    encoder: str | None = None,
    preset: str = "quick",
    users: int = 1000,
    workdir: Path = Path("runs/q3"),
    seed: int = 0,
    workers: int = 1,
) -> Table:
    """Fit, measure and compare."""
    shown = Table("set", "who", *(f"{metric}, {protocol}" for protocol, metric in METRICS))
    for name in sets:
        train, validation, test = parts_of(load_split(name, data).dataset, name)
        recommender = Recommender(
            backbone=backbone, encoder=encoder, preset=preset, seed=seed, workers=workers
        )
        found = evaluate_ablations(
            recommender,
            train,
            test,
            validation=validation,
            ablate=parts,
            workdir=workdir / name,
            users=users,
            seed=seed,
        )
        for who in found.models:
            shown.add_row(
                f"{name} ({found.n_users} users)", who, *(cell(found, who, *metric) for metric in METRICS)
            )
        gains = ablation_gains(found, parts)
        for (part, who), own in gains.group_by("part", "model", maintain_order=True):
            by_metric = {(row["protocol"], row["metric"]): row for row in own.iter_rows(named=True)}
            shown.add_row(
                name, f"{part}: gain of {who}", *(gain(by_metric.get(metric)) for metric in METRICS)
            )
        shown.add_row(
            name, f"gain of {BLEND} over {NOT_ASKED}", *(behind(found, metric) for metric in METRICS)
        )
        for (who,), bins in found.reliability.group_by("model", maintain_order=True):
            shown.add_row(name, f"{who}: expected calibration error", f"{calibration_error(bins):.4f}")
        page = write_report(
            workdir / name / "ablations.html",
            title=f"What each part is worth: {name}, {preset}",
            facts={"people": found.n_users, "items": found.n_items, "preset": preset, "seed": seed},
            evaluation=found,
            gains=gains,
            reliability=found.reliability_by_model(),
        )
        print(f"the page is {page}")
        print(
            recommendation_cost(recommender.fit(train, validation, workdir=workdir / name), test, seed=seed)
        )
    return shown


def parts_of(dataset: Dataset, name: str) -> tuple[Dataset, Dataset | None, Dataset]:
    """Return who is learned from, by whom the blend is fitted, and whole histories of who is asked."""
    if name == "M":
        return dataset.split(by="user", ratios=(8, 1, 1), seed=SPLIT_SEED)
    return dataset.hold_out_last()[0], None, dataset


def cell(found: EvaluationTable, who: str, protocol: str, metric: str) -> str:
    """Write a mean in per cent with its 95 % bootstrap interval."""
    for row in found.rows:
        if (row["model"], row["protocol"], row["metric"]) == (who, protocol, metric):
            return f"{100 * row['value']:.2f} [{100 * row['low']:.2f}, {100 * row['high']:.2f}]"
    return ""


def gain(row: dict[str, Any] | None) -> str:
    """Write what is lost without a part, with its interval and p."""
    if row is None:
        return ""
    return _difference(row["gain"], row["low"], row["high"], row["p_value"])


def behind(found: EvaluationTable, metric: tuple[str, str]) -> str:
    """Write what is lost where the same blend does not ask the language model."""
    test = found.compare(BLEND, NOT_ASKED, *metric)
    return _difference(test.difference, test.low, test.high, test.p_value)


def _difference(mean: float, low: float, high: float, p_value: float) -> str:
    return f"{100 * mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}], p {p_value:.3f}"


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data sets")
    parser.add_argument("--sets", nargs="+", choices=["P", "M"], default=["P", "M"])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--encoder")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--workdir", type=Path, default=Path("runs/q3"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that ask about items' keywords")
    Console(width=180).print(table(**vars(parser.parse_args(words))))


if __name__ == "__main__":
    main()
