"""How a text is cut into the tokens that keyword search compares.

Stands under :mod:`mmsrarec.retrieve.keyword_search`, on both sides: the keywords of items and what people
type.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator

__all__ = ["TOKENS_VERSION", "keyword_words", "query_words", "tokens"]

TOKENS_VERSION = 1
"""Raised whenever :func:`tokens` cuts a text differently, so that an index made with the old rules is
refused."""

MAX_PHRASE_TOKENS = 5

_POSSESSIVE = re.compile(r"['’]s\b")
_NOT_ALPHANUMERIC = re.compile(r"[\W_]")
_IRREGULAR = {
    "children": "child",
    "elves": "elf",
    "feet": "foot",
    "halves": "half",
    "knives": "knife",
    "leaves": "leaf",
    "lives": "life",
    "men": "man",
    "mice": "mouse",
    "scarves": "scarf",
    "shelves": "shelf",
    "teeth": "tooth",
    "thieves": "thief",
    "wives": "wife",
    "wolves": "wolf",
    "women": "woman",
}
_NOT_PLURAL = frozenset(["always", "christmas", "jeans", "lens", "news", "series", "species", "texas"])
_SINGULAR_IN_IE = frozenset(
    [
        "beanie",
        "birdie",
        "bootie",
        "brownie",
        "calorie",
        "collie",
        "cookie",
        "foodie",
        "genie",
        "hippie",
        "hoodie",
        "junkie",
        "movie",
        "newbie",
        "onesie",
        "pixie",
        "prairie",
        "rookie",
        "selfie",
        "smoothie",
        "sortie",
        "zombie",
    ]
)


def tokens(text: str) -> list[str]:
    """Cut a text into comparable tokens.

    Unicode NFKC and case folding, then runs of letters, digits and combining marks; the possessive *'s* is
    dropped, and plain English plurals become singular.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    list of str
        In the order of the text; repeated ones are kept.

    Examples
    --------
    >>> tokens("Women's RED scarves, 1990s movies & cosy hats")
    ['woman', 'red', 'scarf', '1990', 'movie', 'cosy', 'hat']
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    separated = _NOT_ALPHANUMERIC.sub(_space_unless_mark, _POSSESSIVE.sub("", folded))
    return [_singular(token) for token in separated.split()]


def keyword_words(keyword: str) -> list[str]:
    """Return the words of an item's keyword: its tokens and, if they are 2 to 5, the phrase that they make.

    Examples
    --------
    >>> keyword_words("Red Scarves")
    ['red', 'scarf', 'red scarf']
    """
    cut = tokens(keyword)
    return [*cut, " ".join(cut)] if 2 <= len(cut) <= MAX_PHRASE_TOKENS else cut


def query_words(text: str, vocabulary: Container[str]) -> Iterator[str]:
    """Yield the words of a text that are in `vocabulary`: tokens, and phrases anywhere in the text.

    Examples
    --------
    >>> list(query_words("a red scarf", {"red", "scarf", "red scarf"}))
    ['red', 'scarf', 'red scarf']
    """
    cut = tokens(text)
    for length in range(1, MAX_PHRASE_TOKENS + 1):
        for start in range(len(cut) - length + 1):
            word = " ".join(cut[start : start + length])
            if word in vocabulary:
                yield word


def _space_unless_mark(match: re.Match[str]) -> str:
    """Keep combining marks, such as the vowel signs of Devanagari: they belong to the word they stand in."""
    character = match[0]
    if character in "'’":
        return ""
    return character if unicodedata.category(character)[0] == "M" else " "


def _singular(token: str) -> str:
    if token in _IRREGULAR:
        return _IRREGULAR[token]
    if len(token) <= 3 or not token.endswith("s") or not token.isascii() or token in _NOT_PLURAL:
        return token
    if token.endswith("ies") and len(token) > 4:
        return token[:-1] if token[:-1] in _SINGULAR_IN_IE else token[:-3] + "y"
    if token.endswith(("ches", "shes", "sses", "xes")) or (token.endswith("oes") and len(token) > 5):
        return token[:-2]
    return token if token.endswith(("ss", "us", "is")) else token[:-1]
