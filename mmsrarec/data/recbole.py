"""Reader of RecBole's atomic files, the form in which its authors publish several dozen data sets.

Source of the form: Zhao et al. 2021, arXiv 2011.01731. Only what a :class:`~mmsrarec.data.Dataset` holds is read:
interactions and items; user features and knowledge graphs are left.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from mmsrarec.data.dataset import Dataset
from mmsrarec.data.images import ImageFolder
from mmsrarec.data.tables import Table, existing_file
from mmsrarec.errors import InputError

__all__ = ["read_recbole"]

PathLike = str | os.PathLike[str]


def read_recbole(
    folder: PathLike,
    *,
    columns: Mapping[str, str] | None = None,
    images: PathLike | ImageFolder | None = None,
    strict: bool = False,
) -> Dataset:
    r"""Read a data set in RecBole's atomic files: ``NAME/NAME.inter`` and, if it is there, ``NAME/NAME.item``.

    Parameters
    ----------
    folder
        The folder, named like its files.
    columns
        Standard column → field of the files, without its type: ``{"title": "movie_title", "categories": "class"}``.
        By default fields have the standard names.
    images
        Folder of pictures, ``<item id>.jpg``.
    strict
        As in :meth:`~mmsrarec.data.Dataset.from_frames`.

    Returns
    -------
    Dataset
        Every interaction is an event. Words of a ``token_seq`` field are joined, or are one category each.

    Raises
    ------
    InputError
        If a file is missing or damaged, a field is not there, or `strict` and there are bad rows.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp()) / "toys"
    >>> root.mkdir()
    >>> _ = (root / "toys.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n7\t1\t881250949\n")
    >>> _ = (root / "toys.item").write_text("item_id:token\tname:token_seq\tclass:token_seq\n1\tRed Car\tCar Toy\n")
    >>> read_recbole(root, columns={"title": "name", "categories": "class"}).item_text(0)
    'Red Car. Categories: Car, Toy.'
    """
    root = Path(folder)
    interactions = _read_atomic(root / f"{root.name}.inter", "interactions")
    tables = [Table.from_text_frame(interactions, "interactions", columns)]
    if (root / f"{root.name}.item").is_file():
        items = _read_atomic(root / f"{root.name}.item", "items")
        tables.append(Table.from_text_frame(items, "items", columns))
        if "categories" in tables[1].columns:
            words = tables[1].columns["categories"]
            tables[1].columns["categories"] = words.str.replace_all(" ", "|", literal=True)
    return Dataset.from_tables(tables, images, columns, strict=strict)


def _read_atomic(path: Path, name: str) -> pl.DataFrame:
    """Read all fields as text under their names without types."""
    path = existing_file(path, name)
    try:
        # Fields are never quoted, and many titles hold quotation marks.
        frame = pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False, encoding="utf8-lossy")
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{name}: {path} is no atomic file ({error}); download it again.") from None
    untyped = [field for field in frame.columns if ":" not in field]
    if untyped:
        raise InputError(
            f"{name}: the first line of {path} must name fields with their types, as user_id:token, got {untyped[0]!r}."
        )
    return frame.rename({field: field.rsplit(":", 1)[0] for field in frame.columns})
