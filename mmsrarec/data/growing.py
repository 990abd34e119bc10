"""New items and new events for a dataset that exists; no dense id ever changes.

Holds what :meth:`~mmsrarec.data.Dataset.with_items` and ``with_interactions`` do, and what a fitted recommender, whose
items may also change, needs beyond that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mmsrarec.data.building import build_catalogue, build_events, reject_rows, sort_events
from mmsrarec.data.id_map import dense_lookup, join_ids
from mmsrarec.data.images import ImageFolder
from mmsrarec.data.tables import Table, check_mapping
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.data.dataset import Dataset

__all__ = ["add_interactions", "add_items", "join_users", "merge_items"]


def add_items(
    dataset: Dataset,
    items: Any,
    images: ImageFolder | None,
    columns: Mapping[str, str] | None,
    strict: bool,
) -> Dataset:
    """Append the items of a frame; see :meth:`~mmsrarec.data.Dataset.with_items`."""
    table, folder = _items_table(dataset, items, images, columns)
    new_ids, new_items = build_catalogue(table, folder, known_ids=dataset.item_ids)
    table.bad_rows.report(strict=strict)
    return replace(
        dataset,
        items=pl.concat([dataset.items, new_items]),
        item_ids=join_ids(dataset.item_ids, new_ids),
        images=folder,
        bad_rows=dataset.bad_rows + table.bad_rows,
    )


def merge_items(
    dataset: Dataset,
    items: Any,
    images: ImageFolder | None,
    columns: Mapping[str, str] | None,
    strict: bool,
) -> tuple[Dataset, npt.NDArray[np.int64]]:
    """Append new items, and let rows with known ids take the place of what was there.

    Parameters
    ----------
    dataset
        To be grown.
    items, images, columns, strict
        As :meth:`~mmsrarec.data.Dataset.with_items` takes them.

    Returns
    -------
    merged : Dataset
        With the same interactions.
    given : numpy.ndarray
        int64, ascending dense ids of the items that `items` names, new ones and known ones.

    Raises
    ------
    InputError
        As :meth:`~mmsrarec.data.Dataset.with_items`.
    """
    table, folder = _items_table(dataset, items, images, columns)
    ids, rows = build_catalogue(table, folder, known_ids=dataset.item_ids, replace_known=True)
    table.bad_rows.report(strict=strict)
    if folder is not None:
        for name in rows["image"].drop_nulls():
            folder.forget(name)
    place = dense_lookup(ids, dataset.item_ids)
    known, new = place.is_not_null(), place.is_null()
    order = np.arange(dataset.n_items)
    order[place.filter(known).to_numpy()] = dataset.n_items + known.arg_true().to_numpy()
    order = np.concatenate([order, dataset.n_items + new.arg_true().to_numpy()])
    merged = replace(
        dataset,
        items=pl.concat([dataset.items, rows])[order],
        item_ids=join_ids(dataset.item_ids, ids.filter(new)),
        images=folder,
        bad_rows=dataset.bad_rows + table.bad_rows,
    )
    given = np.concatenate([place.filter(known).to_numpy(), np.arange(dataset.n_items, merged.n_items)])
    return merged, np.sort(given)


def _items_table(
    dataset: Dataset, items: Any, images: ImageFolder | None, columns: Mapping[str, str] | None
) -> tuple[Table, ImageFolder | None]:
    """Read the table, and say where the pictures of all items lie."""
    if dataset.images is not None and images is not None and images.root != dataset.images.root:
        raise InputError(f"images must be {str(dataset.images.root)!r} as before, got {str(images.root)!r}.")
    table = Table.read(items, "items", columns)
    check_mapping(columns, [table])
    return table, dataset.images or images


def join_users(first: Dataset, second: Dataset) -> tuple[Dataset, npt.NDArray[np.bool_]]:
    """Put the users of two data sets over one catalogue together.

    Parameters
    ----------
    first
        Its users keep their dense ids.
    second
        Users that only it has come behind them. Of a user that both have, what is in both counts as of `first`.

    Returns
    -------
    joined : Dataset
        The items of `first`, the events of both.
    of_first : numpy.ndarray
        bool, shape (events,), which events are of `first`.
    """
    found = first.find_users(second.user_ids)
    new = np.flatnonzero(found < 0)
    found[new] = first.n_users + np.arange(len(new))
    later = second.interactions.with_columns(user=pl.Series(found[second.interactions["user"].to_numpy()]))
    later = _without_known(later, first.interactions)
    marked = [
        events.with_columns(pl.lit(of_first).alias("first"))
        for events, of_first in ((first.interactions, True), (later, False))
    ]
    events = sort_events(pl.concat(marked, how="diagonal_relaxed"))
    joined = replace(
        first, interactions=events.drop("first"), user_ids=join_ids(first.user_ids, second.user_ids[new])
    )
    return joined, events["first"].to_numpy()


def add_interactions(
    dataset: Dataset, interactions: Any, columns: Mapping[str, str] | None, strict: bool
) -> Dataset:
    """Append the events of a frame; see :meth:`~mmsrarec.data.Dataset.with_interactions`."""
    table = Table.read(interactions, "interactions", columns)
    check_mapping(columns, [table])
    events, user_ids, _ = build_events(table, dataset.item_ids, dataset.user_ids)
    fresh = _without_known(events, dataset.interactions)
    reject_rows(table, events["row"].filter(~events["row"].is_in(fresh["row"].implode())), "duplicate event")
    table.bad_rows.report(strict=strict)
    merged = pl.concat([dataset.interactions, fresh.drop("row")], how="diagonal_relaxed")
    return replace(
        dataset,
        interactions=sort_events(merged),
        user_ids=user_ids,
        bad_rows=dataset.bad_rows + table.bad_rows,
    )


def _without_known(events: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Drop events whose user and item met before."""
    pairs = ["user", "item"]
    # First down to what both have: the table that a join builds of its right side is larger than the events.
    met = known.select(pairs).join(events.select(pairs), on=pairs, how="semi")
    return events.join(met, on=pairs, how="anti", maintain_order="left")
