"""What a prompt may show of an item: its keywords, a short text within a token budget, its picture.

Stands between the catalogue and the prompts: histories and similar users are told in keywords alone, a
candidate in text and picture (MMSRARec, stage 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from mmsrarec.data import ItemContent, Picture
from mmsrarec.errors import InputError

__all__ = ["ItemView", "item_text"]

_NAME_TOKENS = 8


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
    texts
        What prompts say of an item in place of its keywords, aligned with `contents`; ``None`` says the keywords.
    pictures
        Whether prompts show the candidate's picture.

    Raises
    ------
    InputError
        If `contents`, `keywords` and `texts` differ in length or `candidate_tokens` is below 1.

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
        texts: Sequence[str] | None = None,
        pictures: bool = True,
    ) -> None:
        for name, given in (("keywords", keywords), ("texts", contents if texts is None else texts)):
            if len(given) != len(contents):
                raise InputError(
                    f"{name} must have one entry for each of the {len(contents)} items, got {len(given)}."
                )
        if candidate_tokens < 1:
            raise InputError(f"candidate_tokens must be 1 or more, got {candidate_tokens}.")
        self.contents = contents
        self.candidate_tokens = candidate_tokens
        self._keywords = [tuple(words) for words in keywords]
        self._truncate = truncate
        self._told = texts
        self._pictures = pictures
        self._candidate_texts: dict[int, str] = {}
        self._names: dict[int, str] = {}

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

    def words(self, item: int) -> str:
        """Return what prompts say of an item that is not the candidate: its keywords, or what stands for them."""
        return ", ".join(self._keywords[item]) if self._told is None else self._told[item]

    def name(self, item: int) -> str:
        """Return a name of a few words: the title, cut, or the first words said of the item."""
        if item not in self._names:
            name = " ".join(self.contents[item].title.split()) or self.words(item)
            self._names[item] = self._truncate(name, _NAME_TOKENS)
        return self._names[item]

    def candidate_picture(self, item: int) -> Picture | None:
        """Return the picture that a prompt shows with a candidate."""
        return self.contents[item].picture if self._pictures else None

    def candidate_text(self, item: int) -> str:
        """Return title, keywords, description and categories of one item, cut to the token budget."""
        if item not in self._candidate_texts:
            words = self._keywords[item] if self._told is None else ()
            text = item_text(self.contents[item], words)
            self._candidate_texts[item] = self._truncate(text, self.candidate_tokens)
        return self._candidate_texts[item]


def item_text(content: ItemContent, keywords: Sequence[str] = ()) -> str:
    """Return title, keywords, description and categories as sentences.

    Examples
    --------
    >>> item_text(ItemContent(title="Mug", description="Holds tea", categories=(), picture=None), ["blue"])
    'Mug. Keywords: blue. Holds tea.'
    """
    parts = [
        content.title,
        f"Keywords: {', '.join(keywords)}" if keywords else "",
        content.description,
        f"Categories: {', '.join(content.categories)}" if content.categories else "",
    ]
    return " ".join(_sentence(part) for part in parts if part.strip())


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
