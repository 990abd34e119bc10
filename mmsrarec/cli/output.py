"""Tables on standard output, for people and for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmsrarec.cli.options import OutputFormat
from mmsrarec.progress import console as status

if TYPE_CHECKING:
    import polars as pl

__all__ = ["print_frame", "print_rich", "print_table", "say", "section"]

_WIDTH_OF_A_PIPE = 110


def _console() -> Console:
    # Rich falls back to 80 columns where there is no terminal, which folds ids and titles of a log.
    return Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE)


def say(text: str) -> None:
    """Tell how far a command is, on standard error, so that output can be piped."""
    status.print(text, markup=False, highlight=False, soft_wrap=True)


def section(title: str) -> None:
    """Begin a part of a long command, on standard error."""
    status.print()
    status.rule(Text(title, style="bold"), align="left")


def print_table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print a table for people.

    Parameters
    ----------
    columns
        Name, and whether it holds numbers.
    rows
        Cells; what comes from outside is made harmless to the terminal.
    title
        Above the table.
    """
    from mmsrarec.explain import plain

    table = Table(
        title=Text(plain(title)) if title else None,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
    )
    for name, numeric in columns:
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value, plain)) for value in row))
    _console().print(table)


def _cell(value: Any, plain: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else plain(value, limit=300)


def _json_value(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # Scores are float32: more digits would be noise. JSON has no name for what is not finite.
    return float(f"{value:.7g}") if math.isfinite(value) else None


def print_rich(renderable: Any) -> None:
    """Print what Rich can draw on standard output."""
    _console().print(renderable)


def print_frame(frame: pl.DataFrame, form: OutputFormat, title: str = "") -> None:
    """Print a frame as a table, as CSV, or as JSON records."""
    if form is OutputFormat.CSV:
        sys.stdout.write(frame.write_csv())
    elif form is OutputFormat.JSON:
        records = [{name: _json_value(value) for name, value in row.items()} for row in frame.to_dicts()]
        sys.stdout.write(json.dumps(records, ensure_ascii=False, indent=1, default=str) + "\n")
    else:
        columns = [(name, dtype.is_numeric()) for name, dtype in frame.schema.items()]
        print_table(columns, frame.rows(), title)
