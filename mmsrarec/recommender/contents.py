"""Reads items as the models will read them, every picture opened once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mmsrarec.data import Dataset, ItemContent
from mmsrarec.errors import InputError
from mmsrarec.progress import track

__all__ = ["content_keys", "read_contents"]


def read_contents(
    data: Dataset, items: Sequence[int] | npt.NDArray[np.integer]
) -> tuple[Dataset, list[ItemContent]]:
    """Read items; one whose picture is damaged inside goes on without it, with one warning for all.

    Parameters
    ----------
    data
        The catalogue.
    items
        Dense ids.

    Returns
    -------
    readable : Dataset
        Without the pictures that cannot be opened.
    contents : list of ItemContent
        Of `items`.
    """
    damaged: dict[int, str] = {}
    for item in track(items, "opening pictures", total=len(items)):
        picture = data.item_content(int(item)).picture
        if picture is not None:
            try:
                picture.load()
            except InputError as error:
                damaged[int(item)] = str(error)
    if damaged:
        warnings.warn(
            f"{len(damaged)} pictures are damaged inside and left out, first: {next(iter(damaged.values()))}",
            stacklevel=4,
        )
        names = data.items["image"].scatter(list(damaged), None)
        data = replace(data, items=data.items.with_columns(image=names))
    return data, [data.item_content(int(item)) for item in track(items, "reading items", total=len(items))]


def content_keys(contents: Sequence[ItemContent]) -> list[str]:
    """Hash each item's content; the hash says later whether an item is still what it was."""
    return [content.key for content in track(contents, "hashing items")]
