"""Rows that could not be used, counted by reason, with the first examples of each.

Every reader fills one :class:`BadRows`; a dataset keeps it, warns with it, or raises it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from mmsrarec.errors import InputError

__all__ = [
    "REASONS",
    "BadRows",
    "BadRowsWarning",
    "Reason",
    "add_reason",
    "no_problems",
    "reason_codes",
    "show_row",
]

# While rows are read, a reason is its place in this tuple: one byte a row.
REASONS = (
    "missing user_id",
    "missing item_id",
    "mixed id types",
    "unknown item",
    "missing timestamp",
    "unparseable timestamp",
    "negative timestamp",
    "future timestamp",
    "unparseable rating",
    "duplicate event",
    "duplicate item_id",
    "malformed line",
    "image missing",
    "image unreadable",
    "image truncated",
    "image too large",
    "image outside the folder",
    "image is a URL",
)
MAX_EXAMPLES = 3
_SHOWN_CHARACTERS = 60


class BadRowsWarning(UserWarning):
    """Some rows were dropped or changed; the message counts them by reason."""


@dataclass(frozen=True)
class Reason:
    """One reason, and the rows it was found in.

    Parameters
    ----------
    table
        ``"interactions"`` or ``"items"``.
    name
        What is wrong, such as ``"unknown item"``.
    count
        Number of rows.
    effect
        What was done with them: ``"dropped"`` or ``"kept without image"``.
    examples
        The first few rows, as text.
    """

    table: str
    name: str
    count: int
    effect: str = "dropped"
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class BadRows:
    """All rows that could not be used; falsy if there are none.

    Parameters
    ----------
    reasons
        In the order in which they were met.

    Examples
    --------
    >>> bad = BadRows((Reason("items", "duplicate item_id", 2, examples=("row 3: item_id='a'",)),))
    >>> bad.total, bad.counts
    (2, {'duplicate item_id': 2})
    >>> print(bad)
    table  reason             rows  effect   first examples
    items  duplicate item_id     2  dropped  row 3: item_id='a'
    """

    reasons: tuple[Reason, ...] = field(default=())

    @property
    def total(self) -> int:
        """Number of bad rows of all reasons."""
        return sum(reason.count for reason in self.reasons)

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by reason; a reason met in both tables is added up."""
        counts: dict[str, int] = {}
        for reason in self.reasons:
            counts[reason.name] = counts.get(reason.name, 0) + reason.count
        return counts

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def __add__(self, other: BadRows) -> BadRows:
        return BadRows(self.reasons + other.reasons)

    def __str__(self) -> str:
        if not self.reasons:
            return "no bad rows"
        rows = [("table", "reason", "rows", "effect", "first examples")]
        rows += [
            (each.table, each.name, f"{each.count}", each.effect, "; ".join(each.examples))
            for each in self.reasons
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = []
        for row in rows:
            cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2].rjust(widths[2])]
            lines.append("  ".join([*cells, row[3].ljust(widths[3]), row[4]]).rstrip())
        return "\n".join(lines)

    def report(self, *, strict: bool) -> None:
        """Warn once with the table, in the name of the caller's line, or raise it.

        Parameters
        ----------
        strict
            Raise instead of warning.

        Raises
        ------
        InputError
            If `strict` and there is a bad row.
        """
        if not self.reasons:
            return
        if strict:
            raise InputError(
                f"{self.total} bad rows and strict=True allows none; fix them, or pass strict=False to use "
                f"the rest.\n{self}"
            )
        message = f"{self.total} bad rows; the rest is used. Fix them, or see .bad_rows.\n{self}"
        warnings.warn(message, BadRowsWarning, stacklevel=_levels_to_caller())


def _levels_to_caller() -> int:
    """Count the frames up to the first that is not of this package; frame 0 asks."""
    level, frame = 0, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("mmsrarec"):
        level, frame = level + 1, frame.f_back
    return level + 1


def reason_codes(reasons: Sequence[str | None]) -> pl.Series:
    """Give the code of each reason, UInt8; null for ``None``."""
    return pl.Series([None if name is None else REASONS.index(name) for name in reasons], dtype=pl.UInt8)


def add_reason(problems: pl.Series, bad: pl.Series, reason: str) -> pl.Series:
    """Give the code of `reason` to the bad rows that have none yet.

    Parameters
    ----------
    problems
        UInt8, shape (rows,); null where nothing is wrong.
    bad
        Boolean, shape (rows,), not null.
    reason
        One of ``REASONS``.
    """
    return problems.set(bad & problems.is_null(), REASONS.index(reason))


def no_problems(rows: int) -> pl.Series:
    """Give `rows` nulls, UInt8: nothing is wrong yet."""
    return pl.Series([None], dtype=pl.UInt8).new_from_index(0, rows)


def show_row(row: int, values: Iterable[tuple[str, object]]) -> str:
    """Show one input row briefly: control characters escaped, long values cut."""
    shown = []
    for name, value in values:
        # A value may be a megabyte long: it is cut before it is escaped.
        text = ascii(value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value)
        cut = len(text) > _SHOWN_CHARACTERS or (isinstance(value, str) and len(value) > _SHOWN_CHARACTERS)
        shown.append(f"{name}={text[:_SHOWN_CHARACTERS]}{'...' if cut else ''}")
    return f"row {row + 1}: {', '.join(shown)}"
