"""The events of all users as three arrays, one user after the other in time order.

This is the form in which the models read a :class:`~mmsrarec.data.Dataset`: no frame, no Python object for
an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from mmsrarec.errors import InputError

__all__ = ["Histories"]


@dataclass(frozen=True, eq=False)
class Histories(Sequence[npt.NDArray[np.int32]]):
    """Item sequences of users in compressed rows; do not write to the arrays.

    Reads like a sequence of item arrays, one a user; a slice of it is a `Histories` again.

    Parameters
    ----------
    indptr
        int64, shape (users + 1,). User `u` owns ``items[indptr[u]:indptr[u + 1]]``.
    items
        int32, shape (events,). Dense item ids, oldest first within a user.
    timestamps
        int64 or float64, shape (events,), aligned with `items`; NaN where nobody knows.
    asked_at
        float64, shape (users,), when the next item of each user is asked for, in the unit of `timestamps`; NaN where
        nobody knows. ``None``: nobody knows of any.

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
    asked_at: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.indptr.ndim != 1 or len(self.indptr) < 1 or self.indptr[0] != 0:
            raise InputError(f"indptr must be one-dimensional and start at 0, got shape {self.indptr.shape}.")
        if np.any(np.diff(self.indptr) < 0) or self.indptr[-1] != len(self.items):
            raise InputError(f"indptr must rise to the number of events, {len(self.items)}.")
        if len(self.timestamps) != len(self.items):
            raise InputError(f"timestamps must have {len(self.items)} values, got {len(self.timestamps)}.")
        if self.asked_at is not None and self.asked_at.shape != (len(self),):
            raise InputError(f"asked_at must have the shape ({len(self)},), got {self.asked_at.shape}.")

    @classmethod
    def of(cls, histories: Sequence[npt.ArrayLike]) -> Histories:
        """Return `histories` as they are if they are of this class, else by :meth:`from_lists`."""
        if isinstance(histories, cls):
            return histories
        return cls.from_lists([np.asarray(history, np.int32) for history in histories])

    @classmethod
    def from_lists(cls, histories: Sequence[Sequence[int] | npt.NDArray[np.int32]]) -> Histories:
        """Build from one sequence of dense items a user, of whose times nothing is known.

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
        return cls(indptr, items, np.full(len(items), np.nan))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @overload
    def __getitem__(self, user: int) -> npt.NDArray[np.int32]: ...
    @overload
    def __getitem__(self, user: slice) -> Histories: ...
    def __getitem__(self, user: int | slice) -> npt.NDArray[np.int32] | Histories:
        if isinstance(user, slice):
            return self.select(np.arange(len(self))[user])
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
        asked_at = None if self.asked_at is None else self.asked_at[chosen]
        return self._stretches(self.indptr[:-1][chosen], self.lengths[chosen], asked_at)

    def before(self, users: npt.ArrayLike, cuts: npt.ArrayLike) -> Histories:
        """Go back to moments of histories: what had come by then, asked when the event at the cut came.

        Parameters
        ----------
        users
            Dense user ids, shape (n,); one may come more than once.
        cuts
            Number of events that had come, shape (n,), each below the length of its history.

        Returns
        -------
        Histories
            With `n` users.

        Examples
        --------
        >>> histories = Histories(np.array([0, 3]), np.array([7, 5, 6], np.int32), np.array([10, 20, 50]))
        >>> moment = histories.before([0, 0], [2, 1])
        >>> [items.tolist() for items in moment], moment.asked_at.tolist()
        ([[7, 5], [7]], [50.0, 20.0])
        """
        starts, lengths = self.indptr[:-1][np.asarray(users, np.int64)], np.asarray(cuts, np.int64)
        return self._stretches(starts, lengths, self.timestamps[starts + lengths].astype(np.float64))

    def items_at(self, users: npt.ArrayLike, cuts: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Return what came at moments of histories: the answers to the questions of :meth:`before`, shape (n,).

        Examples
        --------
        >>> Histories.from_lists([[7, 5, 6], [2]]).items_at([0, 0, 1], [2, 1, 0]).tolist()
        [6, 5, 2]
        """
        return self.items[self.indptr[:-1][np.asarray(users, np.int64)] + np.asarray(cuts, np.int64)]

    @property
    def last_items(self) -> npt.NDArray[np.int32]:
        """The last item of each user, shape (users,); every history has one event or more."""
        return self.items[self.indptr[1:] - 1]

    def without_last(self) -> Histories:
        """Go back to when the last event of each user came; every history has one event or more.

        Examples
        --------
        >>> [items.tolist() for items in Histories.from_lists([[3, 1], [2]]).without_last()]
        [[3], []]
        """
        return self.before(np.arange(len(self)), self.lengths - 1)

    def recent(self, n: int) -> Histories:
        """Keep the last `n` events of each user.

        Examples
        --------
        >>> [items.tolist() for items in Histories.from_lists([[3, 1, 4], [2]]).recent(2)]
        [[1, 4], [2]]
        """
        lengths = np.minimum(self.lengths, n)
        return self._stretches(self.indptr[1:] - lengths, lengths, self.asked_at)

    def asked(self, at: npt.ArrayLike) -> Histories:
        """Return the same histories, asked at one time, or at one a user, shape (users,)."""
        return replace(self, asked_at=np.broadcast_to(np.asarray(at, np.float64), (len(self),)))

    def _stretches(
        self,
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        asked_at: npt.NDArray[np.float64] | None,
    ) -> Histories:
        """Copy one stretch of the events a user."""
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
        return Histories(indptr, self.items[rows], self.timestamps[rows], asked_at)
