"""Reader of Amazon Reviews 2023: reviews and item metadata as JSON Lines.

Source of the form: Hou et al. 2024, arXiv 2403.03952. Pictures are given there as addresses; none is fetched.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from mmsrarec.data.bad_rows import Reason
from mmsrarec.data.dataset import Dataset
from mmsrarec.data.images import ImageFolder
from mmsrarec.data.readers import open_lines
from mmsrarec.data.tables import MALFORMED, Table, existing_file
from mmsrarec.errors import InputError
from mmsrarec.progress import track

__all__ = ["read_amazon_reviews"]

PathLike = str | os.PathLike[str]
_RATING_COLUMNS = {"item_id": "parent_asin"}
_SIZES = ("large", "hi_res", "thumb")


def read_amazon_reviews(
    reviews: PathLike,
    meta: PathLike | None = None,
    *,
    images: PathLike | ImageFolder | None = None,
    strict: bool = False,
) -> Dataset:
    """Read one category of Amazon Reviews 2023.

    Parameters
    ----------
    reviews
        ``<Category>.jsonl`` (user_id, parent_asin, timestamp in milliseconds, rating, …), or a rating file
        ``<Category>.csv``; compressed with gzip or not.
    meta
        ``meta_<Category>.jsonl``: title, features and description, categories, images. Without it the items are
        those of the reviews, without text.
    images
        Folder of pictures that were fetched before, named as at the end of their address or
        ``<parent_asin>.jpg``. Nothing is fetched.
    strict
        As in :meth:`~mmsrarec.data.Dataset.from_frames`.

    Returns
    -------
    Dataset
        Items are parent products; with ratings.

    Raises
    ------
    InputError
        If a file is missing or damaged, or `strict` and there are bad rows.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "reviews.jsonl"
    >>> _ = path.write_text('{"user_id": "A", "parent_asin": "B0", "timestamp": 1588687728923, "rating": 5.0}')
    >>> read_amazon_reviews(path).n_interactions
    1
    """
    reviews = existing_file(reviews, "reviews")
    folder = ImageFolder(images) if images is not None and not isinstance(images, ImageFolder) else images
    if ".csv" in reviews.suffixes:
        tables = [Table.from_csv(reviews, "interactions", _RATING_COLUMNS)]
    else:
        tables = [_read_lines(reviews, "interactions", _review_fields, folder)]
    if meta is not None:
        tables.append(_read_lines(existing_file(meta, "meta"), "items", _meta_fields, folder))
    return Dataset.from_tables(tables, folder, strict=strict)


def _review_fields(record: dict[str, Any], folder: ImageFolder | None) -> dict[str, Any]:
    return {
        "user_id": record.get("user_id"),
        "item_id": record.get("parent_asin", record.get("asin")),
        "timestamp": record.get("timestamp"),
        "rating": record.get("rating"),
    }


def _meta_fields(record: dict[str, Any], folder: ImageFolder | None) -> dict[str, Any]:
    item = record.get("parent_asin", record.get("asin"))
    categories = _strings(record.get("categories")) or _strings(record.get("main_category"))
    return {
        "item_id": item,
        "title": " ".join(_strings(record.get("title"))),
        "description": " ".join(_strings(record.get("features")) + _strings(record.get("description"))),
        "categories": "|".join(name.replace("|", "/") for name in categories),
        "image": None if folder is None else _local_image(record.get("images"), item, folder),
    }


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text]


def _local_image(listed: Any, item: Any, folder: ImageFolder) -> str | None:
    """Name the file of the main picture; the first name there would be, if none is in the folder."""
    pictures = (
        [picture for picture in listed if isinstance(picture, dict)] if isinstance(listed, list) else []
    )
    pictures.sort(key=lambda picture: picture.get("variant") != "MAIN")
    addresses = [
        picture[size] for picture in pictures for size in _SIZES if isinstance(picture.get(size), str)
    ]
    names = [name for name in (_last_part(address) for address in addresses) if name]
    for name in [*names, *(f"{item}{suffix}" for suffix in (".jpg", ".jpeg", ".png", ".webp"))]:
        if folder.picture(name) is not None:
            return name
    return names[0] if names else None


def _last_part(address: str) -> str:
    try:
        return PurePosixPath(urlsplit(address).path).name
    except ValueError:
        return ""


def _read_lines(path: Path, name: str, fields: Any, folder: ImageFolder | None) -> Table:
    """Read JSON Lines; lines that hold no object are counted."""
    columns: dict[str, list[Any]] = {}
    malformed: list[str] = []
    count = 0
    for number, line in enumerate(track(open_lines(path), f"reading {path.name}"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        # A line nested a thousand deep is no review.
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            count += 1
            malformed += [f"line {number}"] * (count <= 3)
            continue
        for field, value in fields(record, folder).items():
            columns.setdefault(field, []).append(value)
    if not columns:
        raise InputError(f"{path} holds no JSON object; expected one a line.")
    table = Table(name, {field: _series(field, values) for field, values in columns.items()})
    if count:
        table.reasons.append(Reason(name, MALFORMED, count, "dropped", tuple(malformed)))
    return table


def _series(name: str, values: list[Any]) -> pl.Series:
    try:
        return pl.Series(name, values, strict=True)
    # Mixed types, integers over 64 bits, or text that is not Unicode.
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return pl.Series(name, values, dtype=pl.Object)
