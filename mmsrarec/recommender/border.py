"""The border between the public calls and the engine: ids and lists in, dense ids on; dense ids back, frames out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mmsrarec.data import Dataset
from mmsrarec.errors import InputError
from mmsrarec.recommender.components import Components
from mmsrarec.recommender.engine import Ranked
from mmsrarec.recommender.parameters import as_list, to_kind
from mmsrarec.retrieve import ItemView

__all__ = [
    "Asked",
    "allowed_items",
    "found_frame",
    "read_candidates",
    "read_people",
    "recommendation_frame",
]


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


def recommendation_frame(catalogue: Dataset, names: pl.Series, ranked: Sequence[Ranked], k: int) -> Any:
    """Return the best `k` of each person as the frame that :meth:`Recommender.recommend` describes."""
    counts = [min(k, len(found.items)) for found in ranked]
    rows = np.repeat(np.arange(len(ranked)), counts)
    items = np.concatenate([np.empty(0, np.int64), *(found.items[:k] for found in ranked)])
    scores = np.concatenate([np.empty(0), *(found.scores[:k] for found in ranked)])
    frame = pl.DataFrame(
        {
            "user_id": names[rows.tolist()],
            "item_id": catalogue.item_ids[items.tolist()],
            "rank": np.array([place for count in counts for place in range(1, count + 1)], np.int32),
            "score": scores.astype(np.float32),
        }
    )
    return to_kind(frame, catalogue.frame_kind)


def found_frame(catalogue: Dataset, view: ItemView, found: np.ndarray, scores: np.ndarray) -> Any:
    """Return what a search found as the frame that :meth:`Recommender.search` describes."""
    keywords = [", ".join(view.keywords(int(item))) for item in found]
    frame = pl.DataFrame(
        {
            "item_id": catalogue.item_ids[found.tolist()],
            "title": pl.Series([view.contents[item].title for item in found], dtype=pl.String),
            "keywords": pl.Series(keywords, dtype=pl.String),
            "rank": np.arange(1, len(found) + 1, dtype=np.int32),
            "score": scores.astype(np.float32),
        }
    )
    return to_kind(frame, catalogue.frame_kind)
