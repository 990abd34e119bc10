"""Cuts histories into windows of at most the model's length, and windows into batches of similar length.

A window is a stretch of the flat item array of a :class:`~mmsrarec.data.Histories`. Used by the training loop
and by encoding; no torch here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Windows", "padded", "position_windows", "training_windows"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Stretches ``items[start : start + length]``.

    Attributes
    ----------
    start, length
        int64 (windows,), `length` 1 or more.
    kept_from
        int64 (windows,). Positions of a window before this one are context only.
    """

    start: Integers
    length: Integers
    kept_from: Integers

    def __len__(self) -> int:
        return len(self.start)

    def take(self, rows: Integers | slice) -> Windows:
        """Give some windows, in the order asked for."""
        return Windows(self.start[rows], self.length[rows], self.kept_from[rows])

    def batches(self, events: int, generator: np.random.Generator | None = None) -> list[Windows]:
        """Group windows of similar length, so that little of a batch is padding.

        Parameters
        ----------
        events
            A batch holds at most this many positions, padding included, and one window at least.
        generator
            Shuffles windows of one length among each other, and the batches. ``None`` keeps the order.

        Returns
        -------
        list of Windows
            Every window once.

        Examples
        --------
        >>> windows = position_windows(np.asarray([0, 3, 4, 7]), 5)
        >>> [batch.length.tolist() for batch in windows.batches(6)]
        [[3, 3], [1]]
        """
        order = np.arange(len(self)) if generator is None else generator.permutation(len(self))
        longest_first = self.take(order[np.argsort(-self.length[order], kind="stable")])
        batches, first = [], 0
        while first < len(self):
            stop = first + max(1, events // int(longest_first.length[first]))
            batches.append(longest_first.take(slice(first, stop)))
            first = stop
        if generator is not None:
            batches = [batches[row] for row in generator.permutation(len(batches))]
        return batches


def training_windows(indptr: Integers, max_length: int, generator: np.random.Generator) -> Windows:
    """Cut histories so that every event but the first of each is the target of exactly one position.

    A window covers inputs; the target of a position is the event after it. A history with more than
    `max_length` inputs is cut at a random phase, so that over the epochs an event is predicted from
    contexts of every length.

    Parameters
    ----------
    indptr
        int64 (users + 1,), as in ``Histories``.
    max_length
        Longest window.
    generator
        Draws the phases.

    Returns
    -------
    Windows
        None for histories with fewer than two events.
    """
    inputs = np.maximum(np.diff(indptr) - 1, 0)
    phase = np.where(inputs > max_length, generator.integers(1, max_length + 1, len(inputs)), inputs)
    count = np.where(inputs > 0, 1 + -(-(inputs - phase) // max_length), 0)
    owner = np.repeat(np.arange(len(inputs)), count)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    start = np.where(number == 0, 0, phase[owner] + (number - 1) * max_length)
    stop = np.minimum(phase[owner] + number * max_length, inputs[owner])
    return Windows(indptr[:-1][owner] + start, stop - start, np.zeros(len(owner), np.int64))


def position_windows(indptr: Integers, max_length: int) -> Windows:
    """Cut histories so that every event is a kept position of exactly one window.

    A history of up to `max_length` events is one window. In a longer one, windows overlap by half: a kept
    position has at least ``max_length // 2`` events of context.

    Parameters
    ----------
    indptr
        int64 (users + 1,), as in ``Histories``.
    max_length
        Longest window.

    Examples
    --------
    >>> windows = position_windows(np.asarray([0, 7]), 4)
    >>> windows.start.tolist(), windows.length.tolist(), windows.kept_from.tolist()
    ([0, 2, 4], [4, 4, 3], [0, 2, 2])
    """
    events = np.diff(indptr)
    stride = max(max_length // 2, 1)
    count = np.where(events > 0, 1 + np.maximum(-(-(events - max_length) // stride), 0), 0)
    owner = np.repeat(np.arange(len(events)), count)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    start = number * stride
    length = np.minimum(events[owner] - start, max_length)
    return Windows(indptr[:-1][owner] + start, length, np.where(number == 0, 0, max_length - stride))


def padded(
    items: npt.NDArray[np.integer], windows: Windows, shift: int = 0
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Lay windows out as a rectangle, padded on the right with 0.

    Parameters
    ----------
    items
        int (events,), the flat array the windows refer to.
    windows
        What to lay out, one or more.
    shift
        1 reads the event after each position.

    Returns
    -------
    rectangle : numpy.ndarray
        int64 (windows, longest).
    filled : numpy.ndarray
        bool, same shape; false on padding.
    """
    positions = np.arange(windows.length.max())
    filled = positions < windows.length[:, None]
    rows = np.where(filled, windows.start[:, None] + positions + shift, 0)
    return np.where(filled, items[rows], 0).astype(np.int64), filled
