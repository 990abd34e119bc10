"""Q3: the blend with and without the language model, and with each part of its path left out, paired by user.

P: the last event of every user held out, the blend fitted on a tenth of them; M: other users, a seeded sample of them.
Beside each part: what is lost without it, by the blend and by p alone. Interrupted, it goes on where it was:

    python -m benches Q3 --data ../shared/data --sets P --preset quick --workdir runs/q3
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benches.quality_data import SPLIT_SEED, load_split
from mmsrarec import Recommender
from mmsrarec.data import Dataset
from mmsrarec.evaluate import EvaluationTable, evaluate_ablations
from mmsrarec.evaluate.ablations import row_name
from mmsrarec.evaluate.recommender_evaluation import BLEND, PROBABILITY
from mmsrarec.recommender.ablation import PARTS

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
) -> Table:
    """Fit, measure and compare."""
    shown = Table("set", "who", *(f"{metric}, {protocol}" for protocol, metric in METRICS))
    for name in sets:
        train, validation, test = parts_of(load_split(name, data).dataset, name)
        found = evaluate_ablations(
            Recommender(backbone=backbone, encoder=encoder, preset=preset, seed=seed),
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
        for part in parts:
            for row in (BLEND, PROBABILITY):
                if (less := row_name(part, row)) in found.models:
                    gains = (gain(found, row, less, *metric) for metric in METRICS)
                    shown.add_row(name, f"{part}: gain of {row}", *gains)
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


def gain(found: EvaluationTable, whole: str, less: str, protocol: str, metric: str) -> str:
    """Write what is lost without a part, with its interval and p."""
    test = found.compare(whole, less, protocol, metric)
    return (
        f"{100 * test.difference:+.2f} [{100 * test.low:+.2f}, {100 * test.high:+.2f}], p {test.p_value:.3f}"
    )


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
    Console(width=180).print(table(**vars(parser.parse_args(words))))


if __name__ == "__main__":
    main()
