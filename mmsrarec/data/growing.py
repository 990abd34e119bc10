"""New items and new events for a dataset that exists; no dense id ever changes.

Holds what :meth:`~mmsrarec.data.Dataset.with_items` and ``with_interactions`` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from mmsrarec.data.building import build_catalogue, build_events, reject_rows, sort_events
from mmsrarec.data.id_map import join_ids
from mmsrarec.data.images import ImageFolder
from mmsrarec.data.tables import Table, check_mapping
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.data.dataset import Dataset

__all__ = ["add_interactions", "add_items"]


def add_items(
    dataset: Dataset,
    items: Any,
    images: ImageFolder | None,
    columns: Mapping[str, str] | None,
    strict: bool,
) -> Dataset:
    """Append the items of a frame; see :meth:`~mmsrarec.data.Dataset.with_items`."""
    if dataset.images is not None and images is not None and images.root != dataset.images.root:
        raise InputError(f"images must be {str(dataset.images.root)!r} as before, got {str(images.root)!r}.")
    table = Table.from_frame(items, "items", columns)
    check_mapping(columns, [table])
    new_ids, new_items = build_catalogue(table, dataset.images or images, known_ids=dataset.item_ids)
    table.bad_rows.report(strict=strict)
    return replace(
        dataset,
        items=pl.concat([dataset.items, new_items]),
        item_ids=join_ids(dataset.item_ids, new_ids),
        images=dataset.images or images,
        bad_rows=dataset.bad_rows + table.bad_rows,
    )


def add_interactions(
    dataset: Dataset, interactions: Any, columns: Mapping[str, str] | None, strict: bool
) -> Dataset:
    """Append the events of a frame; see :meth:`~mmsrarec.data.Dataset.with_interactions`."""
    table = Table.from_frame(interactions, "interactions", columns)
    check_mapping(columns, [table])
    events, user_ids, _ = build_events(table, dataset.item_ids, dataset.user_ids)
    fresh = events.join(dataset.interactions, on=["user", "item"], how="anti", maintain_order="left")
    reject_rows(table, events["row"].filter(~events["row"].is_in(fresh["row"].implode())), "duplicate event")
    table.bad_rows.report(strict=strict)
    merged = pl.concat([dataset.interactions, fresh.drop("row")], how="diagonal_relaxed")
    return replace(
        dataset,
        interactions=sort_events(merged),
        user_ids=user_ids,
        bad_rows=dataset.bad_rows + table.bad_rows,
    )
