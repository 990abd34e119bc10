"""``mmsrarec add-items`` and ``mmsrarec update``: what came since the fit, into a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsrarec.cli.asking import load_model
from mmsrarec.cli.data_files import check_file, parse_columns
from mmsrarec.cli.options import Backbone, Columns, Device, Images, Model, Strict, Verbose
from mmsrarec.cli.output import say

__all__ = ["add_items", "update"]

Out = Annotated[
    Path | None,
    typer.Option(help="Where to save the model; over the one that was read by default.", show_default=False),
]


def add_items(
    model: Model,
    items: Annotated[
        Path,
        typer.Argument(
            metavar="ITEMS",
            help="Table of item_id, title, description, categories, image (.csv, .tsv, .parquet).",
            show_default=False,
        ),
    ],
    column: Columns = None,
    strict: Strict = False,
    workdir: Annotated[
        Path | None,
        typer.Option(
            help="Workdir of the fit: its keyword table is used, and an interrupted command goes on.",
            show_default=False,
        ),
    ] = None,
    out: Out = None,
    backbone: Backbone = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Where the sentence encoder is now, if not where it was.", show_default=False),
    ] = None,
    images: Images = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Summarize new items and take them into a saved model."""
    columns = parse_columns(column or [])
    check_file("ITEMS", items)
    recommender = load_model(model, backbone, images, device, encoder)
    before = recommender.parts_.catalogue.n_items
    recommender.add_items(items, columns=columns, strict=strict, workdir=workdir)
    after = recommender.parts_.catalogue.n_items
    recommender.save(out or model)
    say(f"{after - before:,} new items, {after:,} in all; saved in {out or model}")


def update(
    model: Model,
    interactions: Annotated[
        Path,
        typer.Argument(
            metavar="INTERACTIONS",
            help="Table of user_id, item_id, timestamp (.csv, .tsv, .parquet).",
            show_default=False,
        ),
    ],
    column: Columns = None,
    strict: Strict = False,
    out: Out = None,
    backbone: Backbone = None,
    images: Images = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Take new events and new users into a saved model."""
    columns = parse_columns(column or [])
    check_file("INTERACTIONS", interactions)
    recommender = load_model(model, backbone, images, device)
    before = recommender.parts_.users
    recommender.update(interactions, columns=columns, strict=strict)
    after = recommender.parts_.users
    recommender.save(out or model)
    events = after.data.n_interactions - before.data.n_interactions
    say(f"{events:,} new events, {len(after) - len(before):,} new users; saved in {out or model}")
