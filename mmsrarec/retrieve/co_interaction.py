"""Co-interaction: who else took something of a history, and then the candidate.

The paths ``user → shared item → bridge user → candidate`` say something about *this* candidate, which the
similar users of :mod:`mmsrarec.retrieve.similar_users`, chosen by the history as a whole, may not. The
structure itself is C++ under the same names (``csrc/co_interaction/``); this class is the border that checks
and converts arguments.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmsrarec import _native
from mmsrarec.errors import InputError
from mmsrarec.retrieve.arguments import dense_array, whole_number

__all__ = ["Bridges", "CoInteraction"]


class Bridges(NamedTuple):
    """The strongest paths to each candidate, the strongest first; one row a candidate.

    Attributes
    ----------
    users
        int32 (candidates, max_paths), bridge users, distinct in a row; −1 where there are fewer, always at the
        end of a row.
    items
        int32 (candidates, max_paths), the shared item: of those of the history that the bridge user took, the
        one that fewest users took, ties by smaller id; −1 there.
    strengths
        float32 (candidates, max_paths), above 0, see :class:`CoInteraction`; 0 there.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    strengths: NDArray[np.float32]


class CoInteraction:
    """Counts, and names, the users who connect a history with a candidate.

    A *bridge user* of a candidate took the candidate and at least one other item of the history: a *shared
    item*. An item that more than `cap` users took is never a shared item. That two people took what everybody
    took says nothing about either, and the rule bounds the work by ``cap`` users for each item of the history,
    however many users there are. A candidate may be as popular as it likes.

    The *strength* of a path is how much of the history its bridge user shares, rare items counting more, and
    users who took much of everything counting less: the sum of ``ln(1 + n_users / takers)`` over the shared
    items, where `takers` is how many users took the item, divided by the square root of how many items the
    bridge user took. Each logarithm is rounded to a multiple of 2⁻²⁰, so that the sum is the same in any order,
    and the result to float32; of equal strengths the smaller user id comes first.

    Order and repetition, within a user's items as in a history, do not matter. The structure never changes, all
    methods may be called from many threads, and they leave the interpreter lock to others while they work.

    Made by :meth:`from_arrays`.

    Examples
    --------
    User 0 took items 0 and 1, user 1 took 0, 1 and 2, user 2 took item 2:

    >>> paths = CoInteraction.from_arrays([0, 2, 5, 6], [0, 1, 0, 1, 2, 2], n_items=3)
    >>> counts, bridges = paths.evidence(history=[0], candidates=[1, 2], max_paths=2)
    >>> counts.tolist(), bridges.users.tolist()
    ([2, 1], [[0, 1], [1, -1]])
    """

    def __init__(self, native: _native.CoInteraction) -> None:
        self._native = native

    @classmethod
    def from_arrays(
        cls, indptr: ArrayLike, items: ArrayLike, n_items: int, *, cap: int = 10_000
    ) -> CoInteraction:
        """Build from what each user took.

        Parameters
        ----------
        indptr
            Integers, shape (users + 1,): user ``u`` took ``items[indptr[u]:indptr[u + 1]]``. Give training users
            alone: every one of them can be a bridge.
        items
            Integer item ids, shape (events,), from 0 to `n_items` − 1.
        n_items
            Number of items that candidates and histories may name.
        cap
            An item that more users took is never a shared item, 0 or more.

        Returns
        -------
        CoInteraction
            With one user a row.

        Raises
        ------
        InputError
            If `indptr` does not start at 0, falls, or does not end at the number of items; an item is out of
            range; or a number is negative.

        Examples
        --------
        >>> CoInteraction.from_arrays([0, 2], [0, 1], n_items=2)
        CoInteraction(1 users, 2 items, cap 10000, 60 bytes)
        """
        return cls(
            _native.CoInteraction.from_arrays(
                dense_array("indptr", indptr, np.int64),
                dense_array("items", items, np.int32),
                whole_number("n_items", n_items),
                whole_number("cap", cap),
            )
        )

    def evidence(
        self, history: ArrayLike, candidates: ArrayLike, max_paths: int = 5, *, exclude_user: int = -1
    ) -> tuple[NDArray[np.int32], Bridges]:
        """Find the bridge users of each candidate.

        Parameters
        ----------
        history
            Integer item ids, shape (n,); may be empty.
        candidates
            Integer item ids, shape (m,). For a candidate that is in the history, bridge users are those who
            share another item of it.
        max_paths
            Paths a candidate to return, 0 or more; all bridge users are counted, whatever it is.
        exclude_user
            Row of the person asked for in :meth:`from_arrays`, who is never its own bridge; −1 for nobody.

        Returns
        -------
        counts : numpy.ndarray of int32, shape (m,)
            Distinct bridge users of each candidate.
        bridges : Bridges
            The strongest paths to each, arrays of shape (m, `max_paths`).

        Raises
        ------
        InputError
            If an argument is not as described; the message names it.

        Examples
        --------
        >>> paths = CoInteraction.from_arrays([0, 2, 5, 6], [0, 1, 0, 1, 2, 2], n_items=3)
        >>> paths.evidence([0], [1, 2], exclude_user=1)[0].tolist()
        [1, 0]
        """
        if isinstance(exclude_user, bool) or not isinstance(exclude_user, int | np.integer):
            raise InputError(f"exclude_user must be an integer, -1 for nobody, got {exclude_user!r}.")
        counts, users, items, strengths = self._native.evidence(
            dense_array("history", history, np.int32),
            dense_array("candidates", candidates, np.int32),
            whole_number("max_paths", max_paths),
            int(exclude_user),
        )
        return counts, Bridges(users, items, strengths)

    def __repr__(self) -> str:
        return (
            f"CoInteraction({self.n_users} users, {self.n_items} items, cap {self.cap}, {self.nbytes} bytes)"
        )

    @property
    def n_users(self) -> int:
        """Number of users: ids of bridge users run from 0 to one less than this."""
        return self._native.n_users

    @property
    def n_items(self) -> int:
        """Item ids run from 0 to one less than this."""
        return self._native.n_items

    @property
    def cap(self) -> int:
        """An item that more users took is never a shared item."""
        return self._native.cap

    @property
    def nbytes(self) -> int:
        """Bytes in memory: 4 to 8 an interaction, 12 an item, 4 a user.

        The working memory of :meth:`evidence`, up to 13 bytes a user for each call that runs at the same time, is
        not in it.
        """
        return self._native.nbytes
