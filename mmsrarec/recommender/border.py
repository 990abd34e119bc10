"""The border between the public calls and the engine: ids and lists in, dense ids on; dense ids back, frames out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from mmsrarec.data import Dataset, Histories
from mmsrarec.data.columns import read_moments
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
        Dense item ids, oldest first, with their times and the time of the question where these are known.
    exclude_users
        int32 (n,), knowledge-base id of each, −1 for none: nobody is its own neighbour.
    """

    names: pl.Series
    histories: Histories
    exclude_users: np.ndarray


def read_people(
    parts: Components,
    users: Sequence[Any] | None,
    histories: Sequence[Sequence[Any]] | None,
    timestamps: Sequence[Sequence[Any]] | None = None,
    at: Any = None,
) -> Asked:
    """Look up known users, or read the histories of people never seen.

    Raises
    ------
    InputError
        Unless exactly one of the two is given, if an id is unknown, or if times are none or do not fit.
    """
    if (users is None) == (histories is None):
        raise InputError("give either users= (known ids) or histories= (lists of item ids).")
    known = parts.users
    if users is not None:
        if timestamps is not None:
            raise InputError("timestamps belong to histories=; of known users they are known.")
        found = known.find(as_list("users", users))
        asked = Asked(
            known.ids[found.tolist()], known.histories.select(found), known.knowledge_base_id[found]
        )
    else:
        lists = [as_list("histories", history) for history in as_list("histories", histories)]
        asked = Asked(
            pl.Series("user_id", range(len(lists)), dtype=pl.Int64),
            _with_times(
                parts, Histories.from_lists([parts.catalogue.item_index(ids) for ids in lists]), timestamps
            ),
            np.full(len(lists), -1, np.int32),
        )
    if at is None:
        return asked
    if users is None and timestamps is None:
        raise InputError("at says nothing beside histories without times; give timestamps= as well.")
    moments = [at] if isinstance(at, str) or not np.iterable(at) else as_list("at", at)
    if len(moments) not in (1, len(asked.histories)):
        raise InputError(
            f"at must be one time, or one for each of the {len(asked.histories)} people, got {len(moments)}."
        )
    return replace(asked, histories=asked.histories.asked(_read_times(parts, "at", moments)))


def _with_times(
    parts: Components, histories: Histories, timestamps: Sequence[Sequence[Any]] | None
) -> Histories:
    if timestamps is None:
        return histories
    lists = [as_list("timestamps", times) for times in as_list("timestamps", timestamps)]
    lengths = [len(times) for times in lists]
    if lengths != histories.lengths.tolist():
        raise InputError(
            f"timestamps must have one time for each event of histories, got {lengths} for "
            f"{histories.lengths.tolist()} events."
        )
    times = _read_times(parts, "timestamps", [time for entry in lists for time in entry])
    first = np.zeros(len(times), bool)
    first[histories.indptr[:-1][histories.lengths > 0]] = True
    if (np.diff(times, prepend=-np.inf)[~first] < 0).any():
        raise InputError("timestamps must not fall within a history; put its oldest event first.")
    return replace(histories, timestamps=times)


def _read_times(parts: Components, name: str, times: Sequence[Any]) -> np.ndarray:
    return read_moments(name, times, parts.users.data.interactions["timestamp"])


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
    histories: Histories,
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
