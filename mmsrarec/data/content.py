"""What the models may know of one item: its text and its picture, and the hash of both.

The caches of keywords and of embeddings are keyed by that hash, so an item that did not change is never
worked on twice, whatever its id.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from mmsrarec.data.images import Picture

__all__ = ["ItemContent", "join_text"]

_SENTENCE_ENDS = (".", "!", "?", "…", "。")


def join_text(title: str, description: str, categories: tuple[str, ...] | list[str]) -> str:
    """Join the parts of an item into one text; absent parts are left out.

    Parameters
    ----------
    title, description
        May be empty.
    categories
        Names of categories, may be empty.

    Returns
    -------
    str
        ``"title. description. Categories: a, b."``

    Examples
    --------
    >>> join_text("Wool coat", "Warm!", ["Coats", "Winter"])
    'Wool coat. Warm! Categories: Coats, Winter.'
    >>> join_text("Wool coat", "", [])
    'Wool coat.'
    """
    listed = f"Categories: {', '.join(categories)}" if categories else ""
    parts = [part.strip() for part in (title, description, listed)]
    return " ".join(part if part.endswith(_SENTENCE_ENDS) else f"{part}." for part in parts if part)


@dataclass(frozen=True)
class ItemContent:
    """Text and picture of one item.

    Parameters
    ----------
    title, description
        Text, ``""`` if absent.
    categories
        Names of categories.
    picture
        The item's picture, not yet opened, or ``None``.

    Examples
    --------
    >>> ItemContent("Mug", "", ("Kitchen",)).text
    'Mug. Categories: Kitchen.'
    """

    title: str
    description: str = ""
    categories: tuple[str, ...] = ()
    picture: Picture | None = None

    @property
    def text(self) -> str:
        """All text of the item, as :func:`join_text` gives it."""
        return join_text(self.title, self.description, self.categories)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the texts and the picture's bytes, 64 hexadecimal digits; the same in any process."""
        digest = hashlib.sha256()
        picture = self.picture.key if self.picture is not None else ""
        for part in (self.title, self.description, picture, *self.categories):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
        return digest.hexdigest()
