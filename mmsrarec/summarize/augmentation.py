"""Other views of an item for the warm start of a small catalogue: another cut of its text, a crop of its picture.

Stands before ``warm_start``. Picture and text are asked about by prompts of their own, so each example lacks a modality
as it is; what is varied here is how much of the other one is there, and where it begins.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from mmsrarec.backbone import PictureLike
from mmsrarec.data import ItemContent

__all__ = ["CroppedPicture", "another_view"]

_SENTENCE = re.compile(r"(?<=[.!?。])\s+")
_SMALLEST_CROP = 0.75


@dataclass(frozen=True)
class CroppedPicture:
    """A part of a picture.

    Attributes
    ----------
    whole
        The picture.
    box
        Left, top, right and bottom as shares of its width and height.
    """

    whole: PictureLike
    box: tuple[float, float, float, float]

    @property
    def key(self) -> str:
        """SHA-256 of the whole picture's key and the box."""
        return hashlib.sha256(repr((self.whole.key, self.box)).encode()).hexdigest()

    def load(self) -> Image.Image:
        """Return the part in RGB."""
        image = self.whole.load()
        left, top, right, bottom = self.box
        width, height = image.size
        x, y = round(left * width), round(top * height)
        return image.crop((x, y, max(round(right * width), x + 1), max(round(bottom * height), y + 1)))


def another_view(content: ItemContent, generator: np.random.Generator) -> ItemContent:
    """Return an item as it might have been described and photographed.

    The description begins at another sentence, the title is left out half of the time where there is a description, the
    categories come in another order, and the picture is cropped to at least three quarters of each side.

    Parameters
    ----------
    content
        The item.
    generator
        Of the choices.

    Returns
    -------
    ItemContent
        The other view; its text is part of the item's own, so keywords extracted from it are true of the item.

    Examples
    --------
    >>> mug = ItemContent("Porto", "A red mug. For tea.", ("Kitchen", "Gifts"))
    >>> another_view(mug, np.random.default_rng(0))
    ItemContent(title='', description='For tea.', categories=('Kitchen', 'Gifts'), picture=None)
    """
    sentences = _SENTENCE.split(content.description.strip())
    begin = int(generator.integers(len(sentences)))
    without_title = bool(content.description.strip()) and generator.random() < 0.5
    order = generator.permutation(len(content.categories))
    picture: Any = None if content.picture is None else CroppedPicture(content.picture, _box(generator))
    return replace(
        content,
        title="" if without_title else content.title,
        description=" ".join(sentences[begin:]),
        categories=tuple(content.categories[place] for place in order),
        picture=picture,
    )


def _box(generator: np.random.Generator) -> tuple[float, float, float, float]:
    width, height = generator.uniform(_SMALLEST_CROP, 1.0, 2)
    left, top = generator.uniform(0.0, 1.0, 2) * (1 - width, 1 - height)
    return (float(left), float(top), float(left + width), float(top + height))
