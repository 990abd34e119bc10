"""Keywords extracted from the catalogue's own text: the answers the warm start teaches.

Stands before the supervised warm start. A small model asked for keywords echoes its prompt; a few hundred
examples of what an answer looks like are enough for the reinforcement learning after it to have something
to choose from. The method is tf-idf over the catalogue, the plainest that ranks words by how much they
tell an item from the others.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError
from mmsrarec.summarize.keywords import keyword_key, normalize_keyword, parse_answer

__all__ = ["KeywordExtractor", "phrases"]

_CLAUSE = re.compile(r"[^\w\s'’\-]+|\s[-–—]\s|\n")
_WORD = re.compile(r"[^\W_][\w'’\-]*[^\W_]|[^\W_]")
_SMALL_CATALOGUE = 50


def phrases(text: str) -> list[str]:
    """List the words and two-word phrases of a text that could be keywords.

    Phrases do not cross punctuation or stop words; single digits and single ASCII letters are left out.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    list of str
        Normalized words and phrases, repeats included, in text order.

    Examples
    --------
    >>> phrases("A red mug, for the tea lover.")
    ['red', 'mug', 'red mug', 'tea', 'lover', 'tea lover']
    """
    found = []
    for clause in _CLAUSE.split(unicodedata.normalize("NFKC", text)):
        before = ""
        for match in _WORD.finditer(clause):
            word = normalize_keyword(match.group())
            plain = word.removesuffix("'s").removesuffix("’s")
            if not plain or plain in ENGLISH_STOP_WORDS or (plain.isascii() and len(plain) < 2):
                before = ""
                continue
            found.append(plain)
            if before:
                found.append(f"{before} {plain}")
            before = word if word == plain else ""
    return found


class KeywordExtractor:
    """Extracts warm-start keywords, knowing which words are common in the catalogue.

    For the **text** prompt: up to `categories` of the item's categories, then the words and two-word phrases of its
    title and description with the highest tf-idf, none of which repeats a word already taken. In a
    catalogue of 50 items or more a phrase must occur in two items at least: a keyword no other item can
    share connects nothing. For the **image** prompt, what a picture can show: the item's categories, then
    title words that other titles share too, most frequent first.

    Parameters
    ----------
    contents
        The catalogue, or a sample of it.
    limit
        Most keywords for each prompt, 1 or more.
    categories
        Most categories among the keywords of the text prompt.

    Raises
    ------
    InputError
        If `contents` is empty.

    Examples
    --------
    >>> from mmsrarec.data import ItemContent
    >>> shop = [ItemContent("Tea mug", "A red mug for tea.", ("Kitchen",), None),
    ...         ItemContent("Tea towel", "A striped towel.", ("Kitchen",), None)]
    >>> extractor = KeywordExtractor(shop, limit=3)
    >>> extractor.text_keywords(shop[1])
    ('kitchen', 'towel', 'striped')
    >>> extractor.image_keywords(shop[1])
    ('kitchen', 'tea')
    """

    def __init__(self, contents: Sequence[ItemContent], *, limit: int = 5, categories: int = 2) -> None:
        if not contents:
            raise InputError("contents must hold at least one item to extract keywords from, got none.")
        self.limit = limit
        self.categories = categories
        least = 2 if len(contents) >= _SMALL_CATALOGUE else 1
        self._vectorizer = TfidfVectorizer(analyzer=phrases, sublinear_tf=True, norm=None)
        texts = [_body(content) for content in contents]
        try:
            counts = self._vectorizer.fit_transform(texts)
        except ValueError:  # scikit-learn's way to say that no text holds a word
            self._terms: np.ndarray = np.empty(0, dtype=object)
            self._shared = np.empty(0, dtype=bool)
        else:
            self._terms = self._vectorizer.get_feature_names_out()
            self._shared = np.asarray(counts.getnnz(axis=0)) >= least
        titles = Counter(word for content in contents for word in set(_title_words(content.title)))
        self._title_words = {word: count for word, count in titles.items() if count >= 2}

    def text_keywords(self, content: ItemContent) -> tuple[str, ...]:
        """Return the keywords an answer to the text prompt should hold, best first; empty without a text."""
        chosen = _Chosen(self.limit)
        categories = _categories(content)
        chosen.extend(categories[: self.categories])
        if len(self._terms):
            row = self._vectorizer.transform([_body(content)])
            known = row.indices[self._shared[row.indices]]
            weights = row.data[self._shared[row.indices]]
            terms = [str(term) for term in self._terms[known]]
            # Of equal weights a phrase says more than its words; then the words themselves decide, so that the
            # result is the same everywhere.
            order = sorted(range(len(terms)), key=lambda at: (-weights[at], -terms[at].count(" "), terms[at]))
            chosen.extend(terms[at] for at in order)
        chosen.extend(categories[self.categories :])
        return chosen.keywords

    def image_keywords(self, content: ItemContent) -> tuple[str, ...]:
        """Return the keywords an answer to the image prompt should hold, best first; may be empty."""
        chosen = _Chosen(self.limit)
        chosen.extend(_categories(content))
        words = [word for word in _title_words(content.title) if word in self._title_words]
        chosen.extend(sorted(words, key=lambda word: (-self._title_words[word], word)))
        return chosen.keywords


class _Chosen:
    """Collects keywords up to a limit, none of which says again what is there."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.keywords: tuple[str, ...] = ()
        self._keys: set[str] = set()

    def extend(self, keywords: Iterable[str]) -> None:
        for keyword in keywords:
            if len(self.keywords) == self.limit:
                return
            normal, key = normalize_keyword(keyword), keyword_key(keyword)
            words = set(key.split())
            if not normal or words & self._keys:
                continue
            self.keywords += (normal,)
            self._keys |= words


def _body(content: ItemContent) -> str:
    return f"{content.title}. {content.description}"


def _categories(content: ItemContent) -> list[str]:
    # A category such as "Clothing, Shoes" would be read back from an answer as two keywords, so it is two.
    return [part for name in content.categories for part in parse_answer(name).keywords]


def _title_words(title: str) -> list[str]:
    return [word for word in phrases(title) if " " not in word and not word.isdigit()]
