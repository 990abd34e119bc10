"""Which items to ask about next, when several processes fill one keyword table.

Stands between the table and :class:`~mmsrarec.summarize.Summarizer`. A process claims the items of its next batch
before it asks about them; a claim ends with the row it was for, or with the process. Batches are the same however many
processes there are and whatever was killed in between: each is the next so many items, in one order, that nobody has
done or holds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from mmsrarec.summarize.table import KeywordTable

__all__ = ["ClaimedBatches"]

_POLL_SECONDS = 0.2
_LOOKED_AT = (
    64  # batches whose items are looked up together, so that held ones at the front do not split a batch
)


class ClaimedBatches:
    """Hands out batches of items that have no row, each to one process.

    Parameters
    ----------
    table
        The table.
    keys
        Keys of the items, in the order in which they are worked on.
    made_by
        Fingerprint of the summarizer.
    size
        Items of a batch.
    waiting
        Called now and then while all that is left is held by others.
    """

    def __init__(
        self,
        table: KeywordTable,
        keys: Sequence[str],
        *,
        made_by: str,
        size: int,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self._table = table
        self._left = deque(keys)
        self._made_by = made_by
        self._size = size
        self._waiting = waiting

    def __iter__(self) -> ClaimedBatches:
        """Return itself: a batch is claimed when it is asked for."""
        return self

    def __next__(self) -> list[str]:
        """Claim the next batch; wait while others hold all that is left, in case one of them dies."""
        while self._left:
            taken = self._take()
            if taken:
                return taken
            if self._left:
                self._waiting()
                time.sleep(_POLL_SECONDS)
        raise StopIteration

    def _take(self) -> list[str]:
        taken: list[str] = []
        held: list[str] = []
        while self._left and len(taken) < self._size:
            looked_at = [self._left.popleft() for _ in range(min(len(self._left), _LOOKED_AT * self._size))]
            claimed, rest = self._table.claim(looked_at, made_by=self._made_by, count=self._size - len(taken))
            taken += claimed
            held += rest
        self._left.extendleft(reversed(held))
        return taken
