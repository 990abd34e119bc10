"""Batches of like length under a budget of tokens, and how far through them a call is.

Used by everything in the room that runs many prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mmsrarec.progress import ticker

__all__ = ["advancing", "length_sorted_batches"]


@contextmanager
def advancing(description: str | None, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that counts finished prompts.

    Parameters
    ----------
    description
        What is being done; ``None`` shows nothing.
    total
        Number of prompts.

    Yields
    ------
    callable
        Takes the number of prompts that were just finished.

    Examples
    --------
    >>> with advancing(None, 2) as advance:
    ...     advance(2)
    """
    if description is None:
        yield lambda done: None
        return
    with ticker(description, total) as shown:
        yield lambda done: shown.advance(done)


def length_sorted_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut sequences into batches of like length under a budget of padded tokens.

    Parameters
    ----------
    lengths
        Length of each sequence in tokens.
    batch_tokens
        Most tokens of a batch, padding included; a single longer sequence is a batch of its own.

    Returns
    -------
    list of list of int
        Positions, longest first, so that the batch most likely to exhaust memory comes first.

    Examples
    --------
    >>> length_sorted_batches([3, 9, 4], 10)
    [[1], [2, 0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
