"""External ids and dense ids: look-ups in both directions, in any of the forms that ids come in.

Ids are translated once at the border; inside the house everything is a position.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mmsrarec.errors import InputError

__all__ = ["IdLookups", "IdMap", "Ids", "dense_lookup", "join_ids"]

Ids = Iterable[Any] | pl.Series | npt.NDArray[Any]


class IdMap:
    """Positions of ids.

    Parameters
    ----------
    ids
        Distinct ids; the position is the dense id.
    name
        Argument to name in errors, ``"items"`` or ``"users"``.

    Examples
    --------
    >>> ids = IdMap(pl.Series(["a", "b"]), "items")
    >>> ids.find(["b", "x"]).tolist()
    [1, -1]
    """

    def __init__(self, ids: pl.Series, name: str) -> None:
        self.ids = ids
        self.name = name
        self._positions: dict[Any, int] = {key: position for position, key in enumerate(ids.to_list())}

    def find(self, ids: Ids) -> npt.NDArray[np.int32]:
        """Give the position of each id, -1 for unknown ones; int32, shape (n,)."""
        keys = self._listed(ids)
        try:
            return np.fromiter((self._positions.get(key, -1) for key in keys), np.int32, len(keys))
        except TypeError:
            raise InputError(f"{self.name} must be a flat list of integers or strings.") from None

    def index(self, ids: Ids) -> npt.NDArray[np.int32]:
        """Give the position of each id, int32, shape (n,); InputError names the first unknown ones."""
        keys = self._listed(ids)
        found = self.find(keys)
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            shown = ", ".join(repr(keys[row])[:60] for row in unknown[:3])
            raise InputError(
                f"{self.name} has {len(unknown)} unknown ids, first {shown}; known are {len(self.ids)} "
                f"of type {self.ids.dtype}, first {self.ids.head(3).to_list()}."
            )
        return found

    def _listed(self, ids: Ids) -> list[Any]:
        if isinstance(ids, str | bytes) or not np.iterable(ids):
            raise InputError(f"{self.name} must be a list of ids, got {repr(ids)[:60]}; put it into one.")
        return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)


class IdLookups:
    """Look-ups of users and items by the ids that came in; a base of :class:`~mmsrarec.data.Dataset`."""

    user_ids: pl.Series
    item_ids: pl.Series

    @cached_property
    def _items_by_id(self) -> IdMap:
        return IdMap(self.item_ids, "items")

    @cached_property
    def _users_by_id(self) -> IdMap:
        return IdMap(self.user_ids, "users")

    def find_items(self, ids: Ids) -> npt.NDArray[np.int32]:
        """Give the dense id of each item, -1 for unknown ones.

        Parameters
        ----------
        ids
            External ids, shape (n,).

        Returns
        -------
        numpy.ndarray
            int32, shape (n,).
        """
        return self._items_by_id.find(ids)

    def find_users(self, ids: Ids) -> npt.NDArray[np.int32]:
        """Give the dense id of each user, -1 for unknown ones; as :meth:`find_items`."""
        return self._users_by_id.find(ids)

    def item_index(self, ids: Ids) -> npt.NDArray[np.int32]:
        """Give the dense id of each item.

        Parameters
        ----------
        ids
            External ids, shape (n,).

        Returns
        -------
        numpy.ndarray
            int32, shape (n,).

        Raises
        ------
        InputError
            If one is unknown; the first few are named.
        """
        return self._items_by_id.index(ids)

    def user_index(self, ids: Ids) -> npt.NDArray[np.int32]:
        """Give the dense id of each user, or raise; as :meth:`item_index`."""
        return self._users_by_id.index(ids)


def dense_lookup(ids: pl.Series, of: pl.Series) -> pl.Series:
    """Give the position in `of` of each id, int32; null where it is not there."""
    positions = pl.DataFrame({"key": of, "position": pl.Series(range(len(of)), dtype=pl.Int32)})
    asked = pl.DataFrame({"key": ids.cast(of.dtype, strict=False)})
    return asked.join(positions, on="key", how="left", maintain_order="left")["position"]


def join_ids(old: pl.Series, new: pl.Series) -> pl.Series:
    """Append ids; the type of the old ones is kept if the new ones fit into it."""
    if not len(old):
        return new.alias(old.name)
    fitted = new.cast(old.dtype, strict=False)
    if fitted.null_count():
        return old.cast(new.dtype).append(new)
    return old.clone().append(fitted)
