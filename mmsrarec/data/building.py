"""From raw tables to the tables of a dataset: every bad row gets exactly one reason, the rest is kept.

Stands between the border (``tables.py``, ``columns.py``) and :class:`~mmsrarec.data.Dataset`.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from mmsrarec.data.bad_rows import REASONS, add_reason, reason_codes
from mmsrarec.data.columns import read_categories, read_ids, read_ratings, read_text, read_timestamps
from mmsrarec.data.id_map import dense_lookup
from mmsrarec.data.images import ImageFolder
from mmsrarec.data.tables import Table
from mmsrarec.progress import track

__all__ = ["build_catalogue", "clean_events", "dense_events", "sort_events"]

WITHOUT_IMAGE = "kept without image"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


def build_catalogue(
    table: Table, images: ImageFolder | None, known_ids: pl.Series | None = None
) -> tuple[pl.Series, pl.DataFrame]:
    """Read the items of a raw table.

    Parameters
    ----------
    table
        Raw items; gets the bad rows.
    images
        Where their pictures lie. Without it the names are kept and nothing is checked.
    known_ids
        Items that exist already: rows that repeat one of them are duplicates.

    Returns
    -------
    item_ids : polars.Series
        Ids of the rows that are kept, in the order of the table; the first of equal ids wins.
    items : polars.DataFrame
        title, description, categories, image; aligned with `item_ids`.
    """
    like = known_ids.dtype if known_ids is not None and len(known_ids) else None
    ids, problems = read_ids(table.columns["item_id"], "item_id", is_text=table.is_text, like=like)
    repeated = ~ids.is_first_distinct()
    if known_ids is not None and like is not None:
        repeated = repeated | ids.is_in(known_ids.cast(ids.dtype, strict=False).implode()).fill_null(False)
    problems = add_reason(problems, repeated, "duplicate item_id")
    reject_by_reason(table, problems)
    kept = problems.is_null()
    items = pl.DataFrame(
        {
            "title": read_text(table.columns.get("title"), table.height),
            "description": read_text(table.columns.get("description"), table.height),
            "categories": read_categories(table.columns.get("categories"), table.height),
            "image": _read_images(table, ids, images, kept),
        }
    )
    return ids.filter(kept).alias("item_id"), items.filter(kept)


def _read_images(table: Table, ids: pl.Series, images: ImageFolder | None, kept: pl.Series) -> pl.Series:
    """Read names of pictures; names that cannot be used become null and their rows are counted."""
    column = table.columns.get("image")
    if column is None:
        return _images_named_by_id(ids, images)
    names = read_text(column, table.height)
    names = names.set(names == "", None)
    if images is None:
        return names
    rows = (names.is_not_null() & kept).arg_true().to_list()
    problems: list[str | None] = [None] * table.height
    for row in track(rows, "checking images"):
        problems[row] = images.problem(names[row])
    bad = reason_codes(problems)
    reject_by_reason(table, bad, WITHOUT_IMAGE)
    return names.set(bad.is_not_null(), None)


def _images_named_by_id(ids: pl.Series, images: ImageFolder | None) -> pl.Series:
    """Find ``<item_id>.jpg`` and the like, for catalogues that do not name their pictures."""
    if images is None:
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(ids))
    present = {path.name for path in images.root.iterdir()}
    names = []
    for key in track(ids.to_list(), "checking images"):
        candidates = (f"{key}{suffix}" for suffix in _SUFFIXES if f"{key}{suffix}" in present)
        names.append(next((name for name in candidates if images.problem(name) is None), None))
    return pl.Series(names, dtype=pl.String)


def clean_events(
    table: Table, item_ids: pl.Series | None, user_like: pl.DataType | None = None
) -> pl.DataFrame:
    """Read the events of a raw table.

    Parameters
    ----------
    table
        Raw interactions; gets the bad rows.
    item_ids
        Items of the catalogue; without it every item counts as known.
    user_like
        The type that user ids must have because they were read before.

    Returns
    -------
    polars.DataFrame
        user_id, item_id, timestamp, [rating], row; one row an event that can be used, the first (by time,
        then by row) of events with the same user and item.
    """
    raw, is_text = table.columns, table.is_text
    item_like = item_ids.dtype if item_ids is not None and len(item_ids) else None
    users, user_problems = read_ids(raw["user_id"], "user_id", is_text=is_text, like=user_like)
    items, item_problems = read_ids(raw["item_id"], "item_id", is_text=is_text, like=item_like)
    times, time_problems = read_timestamps(raw["timestamp"])
    if item_ids is not None:
        items = items.cast(item_ids.dtype, strict=False)
        unknown = ~items.is_in(item_ids.implode()).fill_null(False)
        item_problems = add_reason(item_problems, unknown, "unknown item")
    columns = {"user_id": users, "item_id": items, "timestamp": times}
    found = [user_problems, item_problems, time_problems]
    if "rating" in raw:
        columns["rating"], rating_problems = read_ratings(raw["rating"])
        found.append(rating_problems)
    named = pl.DataFrame({str(order): each for order, each in enumerate(found)})
    problems = named.select(reason=pl.coalesce(pl.all()))["reason"]
    reject_by_reason(table, problems)
    events = pl.DataFrame(columns).with_row_index("row").filter(problems.is_null())
    events = events.sort("user_id", "timestamp", "row")
    first = events.select(first=pl.struct("user_id", "item_id").is_first_distinct())["first"]
    repeated = np.zeros(table.height, dtype=bool)
    repeated[events["row"].filter(~first).to_numpy()] = True
    table.reject("duplicate event", pl.Series(repeated))
    return events.filter(first)


def reject_by_reason(table: Table, problems: pl.Series, effect: str = "dropped") -> None:
    """Count the rows of each reason code; null means that nothing is wrong."""
    for code in problems.drop_nulls().unique(maintain_order=True).to_list():
        table.reject(REASONS[code], (problems == code).fill_null(False), effect)


def dense_events(events: pl.DataFrame, user_ids: pl.Series, item_ids: pl.Series) -> pl.DataFrame:
    """Put dense ids, int32, in the place of ids."""
    user = dense_lookup(events["user_id"], user_ids).alias("user")
    item = dense_lookup(events["item_id"], item_ids).alias("item")
    return events.select(user, item, pl.exclude("user_id", "item_id"))


def sort_events(events: pl.DataFrame) -> pl.DataFrame:
    """Sort dense events by user and time; equal times keep the order they have."""
    return events.sort("user", "timestamp", maintain_order=True)
