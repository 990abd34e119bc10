"""A dataset as an artefact: Parquet tables and a manifest; pictures stay where they are.

A saved model keeps its catalogue this way, so that it knows names and ids when it is opened elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mmsrarec.errors import StoredFileError
from mmsrarec.storage import read_artefact, write_artefact

if TYPE_CHECKING:
    from mmsrarec.data.dataset import Dataset

__all__ = ["KIND", "read_dataset_folder", "write_dataset_folder"]

KIND = "dataset"
_EVENTS = {"user": pl.Int32, "item": pl.Int32}
_ITEMS = ("item_id", "title", "description", "categories", "image")


def write_dataset_folder(dataset: Dataset, folder: str | os.PathLike[str]) -> None:
    """Write the tables of a dataset; see :meth:`~mmsrarec.data.Dataset.save`."""

    def write(path: Path) -> None:
        dataset.interactions.write_parquet(path / "interactions.parquet")
        items = dataset.items.select(dataset.item_ids.alias("item_id"), *_ITEMS[1:])
        items.write_parquet(path / "items.parquet")
        dataset.user_ids.alias("user_id").to_frame().write_parquet(path / "users.parquet")

    images = None if dataset.images is None else str(dataset.images.root)
    details = {"images": images, "frame_kind": dataset.frame_kind}
    write_artefact(Path(folder), KIND, dataset.fingerprint, write, details)


def read_dataset_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], str | None]:
    """Read and check the tables of a saved dataset.

    Returns
    -------
    fields : dict
        interactions, items, user_ids, item_ids, frame_kind.
    images : str or None
        The folder of the pictures when it was saved.
    """
    folder = Path(folder)
    manifest = read_artefact(folder, KIND)
    try:
        interactions = pl.read_parquet(folder / "interactions.parquet")
        items = pl.read_parquet(folder / "items.parquet")
        users = pl.read_parquet(folder / "users.parquet")
        fits = all(interactions.schema[name] == dtype for name, dtype in _EVENTS.items())
        fits &= tuple(items.columns) == _ITEMS and users.columns == ["user_id"]
        fits &= items.schema["categories"] == pl.List(pl.String)
        for name, height in (("user", len(users)), ("item", len(items))):
            fits &= interactions.filter(~pl.col(name).is_between(0, height - 1)).is_empty()
    except (pl.exceptions.PolarsError, OSError, KeyError) as error:
        raise StoredFileError(
            f"{folder} holds unreadable tables ({error}); save the dataset again."
        ) from error
    if not fits:
        raise StoredFileError(f"{folder} holds tables of another form; save the dataset again.")
    fields = {
        "interactions": interactions,
        "items": items.drop("item_id"),
        "user_ids": users["user_id"],
        "item_ids": items["item_id"],
        "frame_kind": manifest["details"].get("frame_kind", "polars"),
    }
    return fields, manifest["details"].get("images")
