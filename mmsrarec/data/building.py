"""From raw tables to the tables of a dataset: every bad row gets exactly one reason, the rest is kept.

Stands between the border (``tables.py``, ``columns.py``) and :class:`~mmsrarec.data.Dataset`.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from mmsrarec.data.bad_rows import REASONS, add_reason, reason_codes
from mmsrarec.data.columns import read_categories, read_ids, read_ratings, read_text, read_timestamps
from mmsrarec.data.id_map import dense_lookup, join_ids
from mmsrarec.data.images import ImageFolder
from mmsrarec.data.tables import Table
from mmsrarec.progress import track

__all__ = ["build_catalogue", "build_events", "reject_rows", "sort_events"]

WITHOUT_IMAGE = "kept without image"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


def build_catalogue(
    table: Table,
    images: ImageFolder | None,
    known_ids: pl.Series | None = None,
    *,
    replace_known: bool = False,
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
    replace_known
        Rows that repeat one of them are kept, too.

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
    if known_ids is not None and like is not None and not replace_known:
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


def build_events(
    table: Table, item_ids: pl.Series | None, known_users: pl.Series | None = None
) -> tuple[pl.DataFrame, pl.Series, pl.Series]:
    """Read the events of a raw table.

    Parameters
    ----------
    table
        Raw interactions; gets the bad rows.
    item_ids
        Items of the catalogue; without it every item counts as known.
    known_users
        Users that exist already and keep their dense ids; new ones come behind them.

    Returns
    -------
    events : polars.DataFrame
        user, item (dense), timestamp, [rating], row (of the table); sorted by user and time. Of events with the
        same user and item only the first is there.
    user_ids, item_ids : polars.Series
        Ids at the position of the dense id, known ones first, the others ascending.
    """
    columns, problems = _read_events(table, item_ids, known_users)
    reject_by_reason(table, problems)
    events = pl.DataFrame(columns).with_row_index("row").filter(problems.is_null())
    if item_ids is None:
        item_ids = events["item_id"].unique().sort().alias("item_id")
    user_ids = events["user_id"].unique().sort().alias("user_id")
    if known_users is not None and len(known_users):
        user_ids = join_ids(known_users, user_ids.filter(dense_lookup(user_ids, known_users).is_null()))
    user = dense_lookup(events["user_id"], user_ids).alias("user")
    item = dense_lookup(events["item_id"], item_ids).alias("item")
    events = sort_events(events.select(user, item, pl.exclude("user_id", "item_id")))
    pair = pl.col("user").cast(pl.Int64) * len(item_ids) + pl.col("item")
    first = events.select(pair.is_first_distinct()).to_series()
    reject_rows(table, events["row"].filter(~first), "duplicate event")
    return events.filter(first), user_ids, item_ids


def _read_events(
    table: Table, item_ids: pl.Series | None, known_users: pl.Series | None
) -> tuple[dict[str, pl.Series], pl.Series]:
    """Read the columns of events, and the first reason against each row."""
    raw, is_text = table.columns, table.is_text
    likes = [ids.dtype if ids is not None and len(ids) else None for ids in (known_users, item_ids)]
    users, user_problems = read_ids(raw["user_id"], "user_id", is_text=is_text, like=likes[0])
    items, item_problems = read_ids(raw["item_id"], "item_id", is_text=is_text, like=likes[1])
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
    return columns, named.select(reason=pl.coalesce(pl.all()))["reason"]


def reject_rows(table: Table, rows: pl.Series, reason: str) -> None:
    """Count the rows of these numbers under one reason."""
    bad = np.zeros(table.height, dtype=bool)
    bad[rows.to_numpy()] = True
    table.reject(reason, pl.Series(bad))


def reject_by_reason(table: Table, problems: pl.Series, effect: str = "dropped") -> None:
    """Count the rows of each reason code; null means that nothing is wrong."""
    for code in problems.drop_nulls().unique(maintain_order=True).to_list():
        table.reject(REASONS[code], (problems == code).fill_null(False), effect)


def sort_events(events: pl.DataFrame) -> pl.DataFrame:
    """Sort dense events by user and time; equal times keep the order they have."""
    return events.sort("user", "timestamp", maintain_order=True)
