"""The options that several commands share, each said once."""

from __future__ import annotations

import enum
import logging
from pathlib import Path
from typing import Annotated

import typer

from mmsrarec.progress import logger

__all__ = [
    "At",
    "Backbone",
    "Columns",
    "Device",
    "Format",
    "HistoryItems",
    "Images",
    "Model",
    "OutputFormat",
    "Preset",
    "Seed",
    "Split",
    "Strict",
    "Users",
    "Verbose",
]


class OutputFormat(enum.StrEnum):
    """How a table is written to standard output."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class Split(enum.StrEnum):
    """What a fit holds out: a tenth of the users, or the last event of each user."""

    USER = "user"
    LAST = "last"


class Preset(enum.StrEnum):
    """Named amounts of work; what each holds: mmsrarec.recommender.PRESETS."""

    DEMO = "demo"
    QUICK = "quick"
    DEFAULT = "default"


def _set_verbose(wanted: bool) -> bool:
    if wanted:
        logger.setLevel(logging.DEBUG)
        for handler in logger.handlers:
            handler.setLevel(logging.DEBUG)
    return wanted


Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Show log records, and the trace of an error.",
        callback=_set_verbose,
        is_eager=True,
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a saved model.", show_default=False)]
Users = Annotated[
    list[str] | None,
    typer.Option("--user", "-u", help="User id; give it again for more.", show_default=False),
]
HistoryItems = Annotated[
    list[str] | None,
    typer.Option(
        "--history",
        help="Instead of --user: item id of one unknown person; oldest first, again for more.",
        show_default=False,
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        help="When the known user asks: a number as in the training data, or a date such as 2026-11-24T18:00.",
        show_default=False,
    ),
]
Format = Annotated[OutputFormat, typer.Option("--format", "-f", help="How to print.")]
Backbone = Annotated[
    str | None,
    typer.Option(help="Where the language model is now, if not where it was.", show_default=False),
]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the pictures, if not where it was.", show_default=False)
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="STANDARD=THEIRS, for example item_id=asin; again for more.", show_default=False
    ),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, …; a GPU if there is one by default.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Same seed, same data, same machine: same result.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at bad rows instead of counting and dropping them.")
]
