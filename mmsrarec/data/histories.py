"""The events of all users as three arrays, one user after the other in time order.

This is the form in which the models read a :class:`~mmsrarec.data.Dataset`: no frame, no Python object for
an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmsrarec.errors import InputError

__all__ = ["Histories"]


@dataclass(frozen=True, eq=False)
class Histories:
    """Item sequences of users in compressed rows; do not write to the arrays.

    Parameters
    ----------
    indptr
        int64, shape (users + 1,). User `u` owns ``items[indptr[u]:indptr[u + 1]]``.
    items
        int32, shape (events,). Dense item ids, oldest first within a user.
    timestamps
        int64 or float64, shape (events,), aligned with `items`.

    Raises
    ------
    InputError
        If the arrays do not fit together.

    Examples
    --------
    >>> histories = Histories.from_lists([[3, 1], [], [2]])
    >>> len(histories), histories[0].tolist(), histories[1].tolist()
    (3, [3, 1], [])
    >>> histories.lengths.tolist()
    [2, 0, 1]
    """

    indptr: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    timestamps: npt.NDArray[np.int64] | npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.indptr.ndim != 1 or len(self.indptr) < 1 or self.indptr[0] != 0:
            raise InputError(f"indptr must be one-dimensional and start at 0, got shape {self.indptr.shape}.")
        if np.any(np.diff(self.indptr) < 0) or self.indptr[-1] != len(self.items):
            raise InputError(f"indptr must rise to the number of events, {len(self.items)}.")
        if len(self.timestamps) != len(self.items):
            raise InputError(f"timestamps must have {len(self.items)} values, got {len(self.timestamps)}.")

    @classmethod
    def from_lists(cls, histories: Sequence[Sequence[int] | npt.NDArray[np.int32]]) -> Histories:
        """Build from one sequence of dense items a user; timestamps become positions.

        Parameters
        ----------
        histories
            One sequence a user, oldest item first; may be empty.

        Returns
        -------
        Histories
            With ``len(histories)`` users.
        """
        lengths = np.fromiter((len(history) for history in histories), np.int64, len(histories))
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        parts = [np.asarray(history, dtype=np.int32) for history in histories]
        items = np.concatenate(parts) if parts else np.empty(0, np.int32)
        positions = np.arange(len(items), dtype=np.int64) - np.repeat(indptr[:-1], lengths)
        return cls(indptr, items, positions)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, user: int) -> npt.NDArray[np.int32]:
        if not -len(self) <= user < len(self):
            raise IndexError(f"user {user} is outside 0 … {len(self) - 1}")
        user = int(user) % len(self)
        return self.items[self.indptr[user] : self.indptr[user + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        return (self.items[start:stop] for start, stop in zip(self.indptr[:-1], self.indptr[1:], strict=True))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of events of each user, int64, shape (users,)."""
        return np.diff(self.indptr)

    def select(self, users: npt.ArrayLike) -> Histories:
        """Give the histories of some users, in the order asked for.

        Parameters
        ----------
        users
            Dense user ids, shape (n,).

        Returns
        -------
        Histories
            With `n` users.
        """
        chosen = np.asarray(users, dtype=np.int64)
        lengths = self.lengths[chosen]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(indptr[-1]) + np.repeat(self.indptr[:-1][chosen] - indptr[:-1], lengths)
        return Histories(indptr, self.items[rows], self.timestamps[rows])
