"""Finds and reads the files of a data set that the command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.data import Dataset

__all__ = ["check_file", "parse_columns", "read_data"]

_ENDINGS = (".csv", ".csv.gz", ".csv.zst", ".tsv", ".tsv.gz", ".parquet")


def read_data(
    folder: Path | None,
    interactions: Path | None,
    items: Path | None,
    images: Path | None,
    columns: Sequence[str],
    strict: bool,
) -> Dataset:
    """Read a data set from a folder, or from files named one by one.

    Parameters
    ----------
    folder
        Holds ``interactions`` and, if there, ``items`` (.csv, .tsv, .parquet; gzip or zstd or not) and ``images/``.
    interactions, items, images
        Files and folder; each overrides what `folder` holds.
    columns
        ``standard=theirs``, one each.
    strict
        Raise at bad rows.

    Returns
    -------
    Dataset
        All rows that could be used.

    Raises
    ------
    InputError
        If a file is missing, or the two tables are not of one kind.
    """
    from mmsrarec.data import Dataset

    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"--data must be a folder, got {folder}, which is none.")
        interactions = interactions or _find(folder, "interactions")
        items = items or _find(folder, "items")
        images = images or (folder / "images" if (folder / "images").is_dir() else None)
        if interactions is None:
            raise InputError(
                f"--data {folder} holds no interactions.csv (or .tsv, .parquet, compressed or not)."
            )
    if interactions is None:
        raise InputError("give --data FOLDER, or --interactions FILE with --items FILE and --images FOLDER.")
    for option, path in (("--interactions", interactions), ("--items", items)):
        if path is not None:
            check_file(option, path)
    kinds = {path.suffix == ".parquet" for path in (interactions, items) if path is not None}
    if len(kinds) > 1:
        raise InputError(
            f"--interactions and --items must both be Parquet or both text, got {interactions} and {items}."
        )
    read = Dataset.from_parquet if kinds == {True} else Dataset.from_csv
    return read(interactions, items, images=images, columns=parse_columns(columns), strict=strict)


def check_file(name: str, path: Path) -> None:
    """Refuse the path of an option or argument where no file is, before anything is loaded."""
    if not path.is_file():
        raise InputError(f"{name} must be a file, got {path}, which does not exist.")


def _find(folder: Path, name: str) -> Path | None:
    return next(
        (folder / (name + ending) for ending in _ENDINGS if (folder / (name + ending)).is_file()), None
    )


def parse_columns(words: Sequence[str]) -> dict[str, str] | None:
    """Read ``standard=theirs`` words.

    Examples
    --------
    >>> parse_columns(["user_id=uid", "item_id=asin"])
    {'user_id': 'uid', 'item_id': 'asin'}
    """
    pairs = {}
    for word in words:
        standard, equals, theirs = word.partition("=")
        if not (standard and equals and theirs):
            raise InputError(f"--column must be STANDARD=THEIRS, for example user_id=uid, got {word!r}.")
        pairs[standard] = theirs
    return pairs or None
