"""``mmsrarec ablate``: what each part of the method is worth, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsrarec.cli.data_files import read_data
from mmsrarec.cli.fitting import split_data
from mmsrarec.cli.held_out import save_held_out
from mmsrarec.cli.options import Device, Format, OutputFormat, Preset, Seed, Split, Strict, Verbose
from mmsrarec.cli.output import print_frame, print_rich, print_table

if TYPE_CHECKING:
    from mmsrarec.evaluate import EvaluationTable

__all__ = ["ablate"]

_METRICS = (("uniform", "NDCG@5"), ("popularity", "NDCG@5"))


def ablate(
    workdir: Annotated[
        Path, typer.Option(help="Workdir of the whole fit, finished or not.", show_default=False)
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with interactions.csv, items.csv and images/.", show_default=False),
    ] = None,
    interactions: Annotated[
        Path | None, typer.Option(help="Table of user_id, item_id, timestamp.", show_default=False)
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Table of item_id, title, description, categories, image.", show_default=False),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures.", show_default=False)] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="A part to leave out; again for more, all by default.", show_default=False),
    ] = None,
    preset: Annotated[
        Preset, typer.Option(help="How much work a fit is: demo, quick or default.")
    ] = Preset.QUICK,
    backbone: Annotated[
        str, typer.Option(help="embedded, or a hub id or folder of a multimodal language model.")
    ] = "embedded",
    encoder: Annotated[
        str | None,
        typer.Option(help="Sentence encoder; goes with the backbone by default.", show_default=False),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(help="A seeded sample of this many held-out people.", show_default=False),
    ] = None,
    full_catalogue: Annotated[
        bool, typer.Option("--full-catalogue/--sampled-only", help="Rank the whole catalogue as well.")
    ] = False,
    split: Annotated[
        Split, typer.Option(help="What is held out: a tenth of the users, or each user's last event.")
    ] = Split.USER,
    strict: Strict = False,
    seed: Seed = 0,
    format: Format = OutputFormat.TABLE,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Fit and measure the whole, and again with each part left out; what is done already is used."""
    dataset = read_data(data, interactions, items, images, [], strict)
    train, validation, test = split_data(dataset, split, seed)
    from mmsrarec.evaluate import evaluate_ablations
    from mmsrarec.recommender import Recommender
    from mmsrarec.recommender.ablation import PARTS, check_without

    parts = part or list(PARTS)
    check_without(parts)
    save_held_out(test, workdir, split.value, seed)
    table = evaluate_ablations(
        Recommender(backbone=backbone, encoder=encoder, preset=preset.value, device=device, seed=seed),
        train,
        test,
        validation=validation,
        ablate=parts,
        workdir=workdir,
        users=users,
        seed=seed,
        full_catalogue=full_catalogue,
    )
    if format is OutputFormat.TABLE:
        print_rich(table)
        print_worth(table, parts)
    else:
        print_frame(table.to_frame(), format)


def print_worth(table: EvaluationTable, parts: list[str]) -> None:
    """Print what is lost without each part, paired by user, with its interval and p."""
    from mmsrarec.evaluate.ablations import row_name
    from mmsrarec.evaluate.recommender_evaluation import BLEND, PROBABILITY

    rows = []
    for part in parts:
        for row in (BLEND, PROBABILITY):
            if row_name(part, row) not in table.models:
                continue
            for protocol, metric in _METRICS:
                test = table.compare(row, row_name(part, row), protocol, metric)
                interval = f"{100 * test.low:+.2f} to {100 * test.high:+.2f}"
                worth = f"{100 * test.difference:+.2f}"
                rows.append(
                    (part, row, f"{metric}, {protocol} negatives", worth, interval, f"{test.p_value:.3f}")
                )
    print_table(
        [
            ("part", False),
            ("ranked by", False),
            ("metric", False),
            ("gain", True),
            ("95 %", True),
            ("p", True),
        ],
        rows,
    )
