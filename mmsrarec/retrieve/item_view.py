"""What a prompt may show of an item: its keywords, a short text within a token budget, its picture.

Stands between the catalogue and the prompts: histories and similar users are told in keywords alone, a
candidate in text and picture (MMSRARec, stage 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from mmsrarec.data import ItemContent, Picture
from mmsrarec.errors import InputError

__all__ = ["ItemView"]


class ItemView:
    """The words and the picture of every item of a catalogue.

    Parameters
    ----------
    contents
        Content of each item; position is the dense item id.
    keywords
        Keywords of each item, aligned with `contents`.
    truncate
        ``truncate(text, tokens)`` cuts a text to at most that many tokens of the backbone's tokenizer.
    candidate_tokens
        Tokens that the text of one candidate may take, 1 or more.

    Raises
    ------
    InputError
        If `contents` and `keywords` differ in length or `candidate_tokens` is below 1.

    Examples
    --------
    >>> from mmsrarec.data import ItemContent
    >>> content = ItemContent(title="Mug", description="Holds tea.", categories=("Kitchen",), picture=None)
    >>> view = ItemView([content], [("blue", "striped")], lambda text, tokens: text, candidate_tokens=48)
    >>> view.candidate_text(0)
    'Mug. Keywords: blue, striped. Holds tea. Categories: Kitchen.'
    """

    def __init__(
        self,
        contents: Sequence[ItemContent],
        keywords: Sequence[Sequence[str]],
        truncate: Callable[[str, int], str],
        *,
        candidate_tokens: int = 48,
    ) -> None:
        if len(contents) != len(keywords):
            raise InputError(
                f"keywords must have one entry for each of the {len(contents)} items, got {len(keywords)}."
            )
        if candidate_tokens < 1:
            raise InputError(f"candidate_tokens must be 1 or more, got {candidate_tokens}.")
        self.contents = contents
        self.candidate_tokens = candidate_tokens
        self._keywords = [tuple(words) for words in keywords]
        self._truncate = truncate
        self._texts: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.contents)

    @cached_property
    def all_keywords(self) -> tuple[tuple[str, ...], ...]:
        """Keywords of every item, by dense id."""
        return tuple(self._keywords)

    def keywords(self, item: int) -> tuple[str, ...]:
        """Return the keywords of one item."""
        return self._keywords[item]

    def picture(self, item: int) -> Picture | None:
        """Return the picture of one item, if it has one."""
        return self.contents[item].picture

    def candidate_text(self, item: int) -> str:
        """Return title, keywords, description and categories of one item, cut to the token budget."""
        if item not in self._texts:
            content = self.contents[item]
            words = ", ".join(self._keywords[item])
            parts = [
                content.title,
                f"Keywords: {words}" if words else "",
                content.description,
                f"Categories: {', '.join(content.categories)}" if content.categories else "",
            ]
            text = " ".join(_sentence(part) for part in parts if part.strip())
            self._texts[item] = self._truncate(text, self.candidate_tokens)
        return self._texts[item]


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
