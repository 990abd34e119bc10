"""Progress of long work: one bar with the time left on a terminal, a line every few seconds elsewhere.

Stands at the bottom of the flow: every room reports through :func:`track`, and the command line
or a notebook only has to choose whether it is shown.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Ticker", "console", "logger", "set_progress", "ticker", "track"]

Item = TypeVar("Item")

logger = logging.getLogger("mmsrarec")
console = Console(stderr=True)

LINE_INTERVAL_SECONDS = 5.0
_shown = True


def set_progress(shown: bool) -> None:
    """Show or hide progress for this process.

    Parameters
    ----------
    shown
        ``False`` silences bars and lines; log records are still written.

    Examples
    --------
    >>> set_progress(False)
    >>> [x for x in track([1, 2], "counting")]
    [1, 2]
    >>> set_progress(True)
    """
    global _shown
    _shown = shown


class Ticker:
    """Counts finished units of one piece of work; made by :func:`ticker`."""

    def __init__(self, description: str, total: int | None, bar: Progress | None) -> None:
        self.description = description
        self.total = total
        self.done = 0
        self._bar = bar
        self._task = bar.add_task(description, total=total) if bar is not None else None
        self._started = self._last_line = time.monotonic()

    def set_total(self, total: int, done: int = 0) -> None:
        """Give the number of units once it is known, and how many of them an earlier run has done."""
        self.total, self.done = total, done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=total, completed=done)

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count `units` more as done; `note` is shown behind the description."""
        self.done += units
        text = f"{self.description} {note}".strip()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=units, description=text)
        elif _shown and time.monotonic() - self._last_line >= LINE_INTERVAL_SECONDS:
            self._last_line = time.monotonic()
            console.print(self._line(text), highlight=False, markup=False)

    def _line(self, text: str) -> str:
        elapsed = time.monotonic() - self._started
        if not self.total or not self.done:
            return f"{text}: {self.done} done, {elapsed:.0f} s"
        left = elapsed * (self.total - self.done) / self.done
        return f"{text}: {self.done}/{self.total}, {elapsed:.0f} s, about {left:.0f} s left"


_live: Progress | None = None


@contextmanager
def ticker(description: str, total: int | None = None) -> Iterator[Ticker]:
    """Show the progress of work whose units are counted by hand.

    Parameters
    ----------
    description
        What is being done, in a few words.
    total
        Number of units, if known; gives the estimate of the time left.

    Yields
    ------
    Ticker
        Call ``advance(units)`` as work gets done.

    Examples
    --------
    >>> set_progress(False)
    >>> with ticker("reading", total=10) as progress:
    ...     progress.advance(4)
    >>> progress.done
    4
    >>> set_progress(True)
    """
    global _live
    started = time.monotonic()
    owner = _shown and console.is_terminal and _live is None
    if owner:
        _live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        _live.start()
    progress = Ticker(description, total, _live if _shown else None)
    try:
        yield progress
    finally:
        if owner and _live is not None:
            _live.stop()
            _live = None
        logger.info("%s: %d in %.1f s", description, progress.done, time.monotonic() - started)


def track(work: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield from `work` and show how far it is.

    Parameters
    ----------
    work
        Anything iterable.
    description
        What is being done, in a few words.
    total
        Number of units; ``len(work)`` where it has one.

    Yields
    ------
    Item
        The elements of `work`, unchanged.

    Examples
    --------
    >>> set_progress(False)
    >>> list(track("ab", "letters"))
    ['a', 'b']
    >>> set_progress(True)
    """
    if total is None and isinstance(work, Sized):
        total = len(work)
    with ticker(description, total) as progress:
        for unit in work:
            yield unit
            progress.advance()
