"""The border between the public calls and the engine: ids and lists in, dense histories, candidates and masks on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mmsrarec.data import Dataset
from mmsrarec.errors import InputError
from mmsrarec.recommender.components import Components
from mmsrarec.recommender.parameters import as_list

__all__ = ["Asked", "allowed_items", "read_candidates", "read_people"]


@dataclass(frozen=True)
class Asked:
    """The people of one call.

    Attributes
    ----------
    names
        What stands for each of them in the answer: the user id, or the position of the given history.
    histories
        int32 dense item ids, oldest first, one array a person.
    exclude_users
        int32 (n,), knowledge-base id of each, −1 for none: nobody is its own neighbour.
    """

    names: pl.Series
    histories: list[np.ndarray]
    exclude_users: np.ndarray


def read_people(
    parts: Components, users: Sequence[Any] | None, histories: Sequence[Sequence[Any]] | None
) -> Asked:
    """Look up known users, or read the histories of people never seen.

    Raises
    ------
    InputError
        Unless exactly one of the two is given, or if an id is unknown.
    """
    if (users is None) == (histories is None):
        raise InputError("give either users= (known ids) or histories= (lists of item ids).")
    known = parts.users
    if users is not None:
        found = known.find(as_list("users", users))
        return Asked(
            known.ids[found.tolist()],
            [known.histories[user] for user in found],
            known.knowledge_base_id[found],
        )
    lists = [as_list("histories", history) for history in as_list("histories", histories)]
    return Asked(
        pl.Series("user_id", range(len(lists)), dtype=pl.Int64),
        [parts.catalogue.item_index(history) for history in lists],
        np.full(len(lists), -1, np.int32),
    )


def read_candidates(catalogue: Dataset, items: Sequence[Any], people: int) -> tuple[list[np.ndarray], bool]:
    """Read one item id, or one list of item ids, for each person.

    Returns
    -------
    candidates : list of numpy.ndarray
        int32 dense ids, one array a person.
    ragged : bool
        Whether lists were given.

    Raises
    ------
    InputError
        If an id is unknown or there is not one entry a person.
    """
    entries = as_list("items", items)
    if len(entries) != people:
        raise InputError(
            f"items must have one entry for each of the {people} users or histories, got {len(entries)}."
        )
    ragged = bool(entries) and not isinstance(entries[0], str | bytes) and np.iterable(entries[0])
    lists = [as_list("items", entry) for entry in entries] if ragged else [[entry] for entry in entries]
    return [catalogue.item_index(entry) for entry in lists], ragged


def allowed_items(
    catalogue: Dataset,
    histories: Sequence[np.ndarray],
    *,
    exclude_seen: bool = True,
    allow: Sequence[Any] | None = None,
    block: Sequence[Any] | None = None,
) -> list[np.ndarray]:
    """Return what may be recommended to each person, bool (n_items,) arrays; see :meth:`Recommender.recommend`."""
    base = np.ones(catalogue.n_items, bool)
    if allow is not None:
        base[:] = False
        base[catalogue.item_index(as_list("allow", allow))] = True
    if block is not None:
        base[catalogue.item_index(as_list("block", block))] = False
    masks = []
    for history in histories:
        mask = base.copy()
        if exclude_seen:
            mask[history] = False
        masks.append(mask)
    return masks
