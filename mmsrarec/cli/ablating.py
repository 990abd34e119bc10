"""``mmsrarec ablate``: what each part of the method is worth, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsrarec.cli.data_files import read_data
from mmsrarec.cli.fitting import split_data
from mmsrarec.cli.held_out import save_held_out
from mmsrarec.cli.options import Device, Format, OutputFormat, Preset, Seed, Split, Strict, Verbose
from mmsrarec.cli.output import print_frame, print_rich, print_table, say

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ablate", "gains_rows"]

_PAGE = "ablations.html"
_GAINS = [
    ("part", False),
    ("ranked by", False),
    ("metric", False),
    ("gain", True),
    ("95 %", True),
    ("p", True),
]


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
    negatives: Annotated[int, typer.Option(help="Items a user that the held-out one is ranked among.")] = 20,
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
    """Fit and measure the whole, and again with each part left out; what is done already is used.

    Prints the table, what each part adds, and writes WORKDIR/ablations.html.
    """
    dataset = read_data(data, interactions, items, images, [], strict)
    train, validation, test = split_data(dataset, split, seed)
    from mmsrarec.evaluate import ablation_gains, evaluate_ablations
    from mmsrarec.recommender import Recommender
    from mmsrarec.recommender.ablation import PARTS, check_without
    from mmsrarec.report import write_report

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
        negatives=negatives,
        seed=seed,
        full_catalogue=full_catalogue,
    )
    gains = ablation_gains(table, parts)
    if format is OutputFormat.TABLE:
        print_rich(table)
        print_table(_GAINS, gains_rows(gains))
    else:
        print_frame(table.to_frame(), format)
    page = workdir / _PAGE
    write_report(
        page,
        title=f"What each part is worth: {workdir.resolve().name}",
        facts={"people": table.n_users, "items": table.n_items, "preset": preset.value, "seed": seed},
        evaluation=table,
        gains=gains,
        reliability=table.reliability_by_model(),
    )
    say(f"the page is {page}")


def gains_rows(gains: pl.DataFrame) -> list[tuple[str, ...]]:
    """Write what each part adds, its interval and p, a row a part and metric."""
    return [
        (
            row["part"],
            row["model"],
            f"{row['metric']}, {row['protocol']} negatives",
            f"{100 * row['gain']:+.2f}",
            f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}",
            f"{row['p_value']:.3f}",
        )
        for row in gains.iter_rows(named=True)
    ]
