"""Search by words over the keywords of a catalogue: text in, items and the words they share out.

Stands on :class:`~mmsrarec.retrieve.keyword_index.KeywordIndex` and gives it meaning: keywords become *words*
(single tokens, and whole keyword phrases such as ``"red scarf"``), a word weighs more the fewer items have
it, and an item counts a word less the more words it has. This is BM25 (Robertson and Zaragoza, *The
Probabilistic Relevance Framework*, 2009) with the item part in the index and the query part, which changes
when items are added, left to the query.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.retrieve.keyword_index import KeywordIndex
from mmsrarec.retrieve.tokens import TOKENS_VERSION, keyword_words, query_words, tokens
from mmsrarec.storage import fingerprint, read_artefact, write_artefact

__all__ = ["KeywordSearch", "Match", "tokens"]

KIND = "keyword-search"
SATURATION = 1.2
"""BM25's k1: how soon a word that occurs in several keywords of an item stops counting more."""
LENGTH_NORMALIZATION = 0.5
"""BM25's b, between 0 (long and short items alike) and 1 (weights divided by length)."""

_INDEX_FILE, _ITEMS_FILE, _WORDS_FILE = "keywords.index", "items.parquet", "words.parquet"


_Rows = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


class Match(NamedTuple):
    """A word that a query and an item share."""

    word: str
    """The token or phrase, as :func:`tokens` writes it."""
    weight: float
    """What it adds to the item's score."""
    keywords: tuple[str, ...]
    """The item's own keywords that hold it."""


class KeywordSearch:
    """Finds items by the words of their keywords.

    Parameters
    ----------
    keywords
        For each dense item its keywords, such as ``["red scarf", "wool"]``; an item may have none.

    Raises
    ------
    InputError
        If `keywords` is not a sequence of sequences of strings.

    Notes
    -----
    With N items, of which n have word t, and c the number of keywords of item i that hold t, the score of i
    is the sum, over the words of the query (as often as they occur in it), of

    ``ln(1 + (N - n + 0.5) / (n + 0.5)) * c * (k1 + 1) / (c + k1 * (1 - b + b * length_i / mean_length))``

    with k1 = 1.2, b = 0.5; the length is the number of words of an item, its mean that of the items given at
    first.

    Searching while another thread adds is safe: a search sees the items from before or after.

    Examples
    --------
    >>> search = KeywordSearch([["red scarf", "wool"], ["red hat"], ["blue scarf"]])
    >>> ids, scores = search.search("a red scarf", k=3)
    >>> ids.tolist()
    [0, 1, 2]
    >>> search.search(["scarves"], k=3)[0].tolist()
    [2, 0]
    """

    def __init__(self, keywords: Sequence[Sequence[str]]) -> None:
        self._items: list[tuple[str, ...]] = _checked(keywords)
        self._writer = threading.Lock()
        self._vocabulary: dict[str, int] = {}
        self._item_counts = np.zeros(0, np.int64)  # (vocabulary,) items that have a word
        entries = self._count_words(self._items)
        self._mean_length = float(entries.counts.sum() / max(len(np.unique(entries.items)), 1)) or 1.0
        self._vocabulary = entries.vocabulary
        self._item_counts = np.bincount(entries.words, minlength=len(self._vocabulary))
        self._index = KeywordIndex.from_arrays(*self._rows(entries, len(self._items)), len(self._vocabulary))

    def search(
        self,
        query: str | Sequence[str],
        k: int,
        allow: ArrayLike | None = None,
        exclude: ArrayLike | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the items whose keywords say what the query says.

        Parameters
        ----------
        query
            A text, or keywords, of which one given twice counts twice. Words that no item has are passed
            over.
        k
            Number of items wanted, 0 or more.
        allow, exclude
            Item ids or boolean masks, as in :meth:`KeywordIndex.search`.

        Returns
        -------
        ids : numpy.ndarray of int64, shape (<= k,)
            Dense items, best first, ties by smaller id; items that share no word are left out.
        scores : numpy.ndarray of float32, shape (<= k,)

        Raises
        ------
        InputError
            If an argument is not as described; the message names it.

        Examples
        --------
        >>> KeywordSearch([["robot"], ["robots", "space"]]).search("Robots!", k=1, exclude=[0])[0].tolist()
        [1]
        """
        words, weights = self._weigh(query)
        return self._index.search(words, weights, k, allow, exclude)

    def search_batch(
        self,
        queries: Sequence[str | Sequence[str]],
        k: int,
        threads: int | None = None,
        allow: ArrayLike | None = None,
        exclude: ArrayLike | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Answer many queries at once.

        Parameters
        ----------
        queries
            Each as in :meth:`search`.
        k, allow, exclude
            As in :meth:`search`; they hold for every query.
        threads
            Number of threads; by default one a core.

        Returns
        -------
        ids : numpy.ndarray of int64, shape (queries, k)
            -1 where there is no further item.
        scores : numpy.ndarray of float32, shape (queries, k)
            Minus infinity where there is no further item.

        Raises
        ------
        InputError
            If an argument is not as described; the message names it.

        Examples
        --------
        >>> KeywordSearch([["robot"], ["space"]]).search_batch(["space robot", "tea"], k=2)[0].tolist()
        [[0, 1], [-1, -1]]
        """
        weighed = [self._weigh(query) for query in queries]
        indptr = np.cumsum([0, *(len(words) for words, _ in weighed)])
        words = np.concatenate([np.zeros(0, np.int32), *(words for words, _ in weighed)])
        weights = np.concatenate([np.zeros(0, np.float32), *(weights for _, weights in weighed)])
        return self._index.search_batch(indptr, words, weights, k, threads, allow, exclude)

    def add(self, keywords: Sequence[Sequence[str]]) -> NDArray[np.int64]:
        """Add items; the next search finds them, and words weigh as they now occur.

        Parameters
        ----------
        keywords
            Those of each new item.

        Returns
        -------
        numpy.ndarray of int64
            Dense ids of the new items, which go on from the last.

        Raises
        ------
        InputError
            If `keywords` is not a sequence of sequences of strings.

        Examples
        --------
        >>> search = KeywordSearch([["tea"]])
        >>> search.add([["coffee"]]).tolist(), search.search("coffee", k=1)[0].tolist()
        ([1], [1])
        """
        items = _checked(keywords)
        with self._writer:
            entries = self._count_words(items)
            n_words = len(entries.vocabulary)
            ids = self._index.add(*self._rows(entries, len(items)), n_keywords=n_words)
            counts = np.bincount(entries.words, minlength=n_words)
            counts[: len(self._item_counts)] += self._item_counts
            # The vocabulary comes last: whoever finds a word in it finds it counted, and known to the index.
            self._items.extend(items)
            self._item_counts = counts
            self._vocabulary = entries.vocabulary
        return ids

    def matches(self, query: str | Sequence[str], item: int) -> tuple[Match, ...]:
        """Tell which words a query and an item share.

        Parameters
        ----------
        query
            As in :meth:`search`.
        item
            Dense item.

        Returns
        -------
        tuple of Match
            Heaviest first; their weights add up to the item's score.

        Raises
        ------
        InputError
            If there is no such item.

        Examples
        --------
        >>> search = KeywordSearch([["red scarf", "wool"], ["red hat"]])
        >>> [(match.word, match.keywords) for match in search.matches(["red hats"], 0)]
        [('red', ('red scarf',))]
        """
        if not 0 <= item < len(self._items):
            raise InputError(f"item must lie in 0..{len(self._items) - 1}, got {item}.")
        holders: dict[str, list[str]] = {}
        for keyword in self._items[item]:
            for word in keyword_words(keyword):
                holders.setdefault(word, []).append(keyword)
        length = sum(map(len, holders.values()))
        vocabulary = self._vocabulary
        shared = []
        for word, count in self._query_counts(query, vocabulary).items():
            if word in holders:
                query_weight = self._query_weights(np.array([vocabulary[word]]), np.array([count]))
                item_weight = self._item_weights(np.array([len(holders[word])]), np.array([length]))
                weight = float(query_weight[0]) * float(item_weight[0])
                shared.append(Match(word, weight, tuple(dict.fromkeys(holders[word]))))
        return tuple(sorted(shared, key=lambda match: (-match.weight, match.word)))

    def keywords(self, item: int) -> tuple[str, ...]:
        """Return the keywords of a dense item, as given.

        Examples
        --------
        >>> KeywordSearch([["Red Scarf"]]).keywords(0)
        ('Red Scarf',)
        """
        return self._items[item]

    def __len__(self) -> int:
        return len(self._items)

    @property
    def fingerprint(self) -> str:
        """Hash of all that the answers depend on."""
        return fingerprint(KIND, TOKENS_VERSION, self._mean_length, repr(self._items))

    def save(self, folder: str | Path) -> None:
        """Write an artefact folder: the index, the keywords and the words, as Parquet.

        Parameters
        ----------
        folder
            Whole or absent afterwards; an older artefact there is replaced.

        Raises
        ------
        StoredFileError
            If it cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "search"
        >>> KeywordSearch([["tea"]]).save(folder)
        >>> len(KeywordSearch.load(folder))
        1
        """

        def write(path: Path) -> None:
            self._index.save(path / _INDEX_FILE)
            items = pl.Series("keywords", self._items, dtype=pl.List(pl.String))
            items.to_frame().write_parquet(path / _ITEMS_FILE)
            words = {"word": list(self._vocabulary), "items": self._item_counts}
            pl.DataFrame(words, schema={"word": pl.String, "items": pl.Int64}).write_parquet(
                path / _WORDS_FILE
            )

        details = {"tokens_version": TOKENS_VERSION, "mean_length": self._mean_length}
        write_artefact(folder, KIND, self.fingerprint, write, details)

    @classmethod
    def load(cls, folder: str | Path) -> KeywordSearch:
        """Read what :meth:`save` wrote; the index is opened by memory map.

        Raises
        ------
        StoredFileError
            If the folder is missing, damaged, foreign, or made with other rules for tokens.
        """
        folder = Path(folder)
        details = read_artefact(folder, KIND)["details"]
        if details.get("tokens_version") != TOKENS_VERSION:
            raise StoredFileError(
                f"{folder} was made with rules for tokens of version {details.get('tokens_version')}, this "
                f"mmsrarec has version {TOKENS_VERSION}; build it again from its keywords."
            )
        items = pl.read_parquet(folder / _ITEMS_FILE)["keywords"]
        words = pl.read_parquet(folder / _WORDS_FILE)
        index = KeywordIndex.open(folder / _INDEX_FILE)
        if index.n_items != len(items) or index.n_keywords != len(words):
            raise StoredFileError(f"{folder} holds files that belong to different indexes; it is damaged.")
        search = cls.__new__(cls)
        search._items = [tuple(keywords) for keywords in items]
        search._writer = threading.Lock()
        search._vocabulary = {word: position for position, word in enumerate(words["word"])}
        search._item_counts = words["items"].to_numpy().copy()
        search._mean_length = float(details["mean_length"])
        search._index = index
        return search

    def _count_words(self, items: Sequence[tuple[str, ...]]) -> _WordCounts:
        """Count the words of each item; new words get the next ids, in a copy of the vocabulary."""
        vocabulary = dict(self._vocabulary)
        ids_of_keyword: dict[str, list[int]] = {}
        occurrences: list[int] = []
        ends = [0]
        for keywords in items:
            for keyword in keywords:
                ids = ids_of_keyword.get(keyword)
                if ids is None:
                    ids = [vocabulary.setdefault(word, len(vocabulary)) for word in keyword_words(keyword)]
                    ids_of_keyword[keyword] = ids
                occurrences.extend(ids)
            ends.append(len(occurrences))
        n_words = max(len(vocabulary), 1)
        item_of = np.repeat(np.arange(len(items)), np.diff(ends))  # (occurrences,)
        keys, counts = np.unique(item_of * n_words + np.array(occurrences, np.int64), return_counts=True)
        return _WordCounts(vocabulary, keys // n_words, keys % n_words, counts)

    def _rows(self, entries: _WordCounts, n_items: int) -> _Rows:
        """Lay counted words out as the index takes them."""
        lengths = np.zeros(n_items, np.int64)
        np.add.at(lengths, entries.items, entries.counts)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(entries.items, minlength=n_items))])
        return indptr, entries.words, self._item_weights(entries.counts, lengths[entries.items])

    def _item_weights(self, counts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        norm = 1.0 - LENGTH_NORMALIZATION + LENGTH_NORMALIZATION * lengths / self._mean_length
        return (counts * (SATURATION + 1.0) / (counts + SATURATION * norm)).astype(np.float32)

    def _query_weights(self, words: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float32]:
        n_with = self._item_counts[words]
        n_items = len(self._items)
        return (counts * np.log1p((n_items - n_with + 0.5) / (n_with + 0.5))).astype(np.float32)

    def _query_counts(self, query: str | Sequence[str], vocabulary: dict[str, int]) -> Counter[str]:
        """Count the words of a query that are in the vocabulary."""
        texts = [query] if isinstance(query, str) else list(query)
        counts: Counter[str] = Counter()
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"query[{position}] must be a string, got {type(text).__name__}.")
            counts.update(query_words(text, vocabulary))
        return counts

    def _weigh(self, query: str | Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        vocabulary = self._vocabulary
        counts = self._query_counts(query, vocabulary)
        words = np.array([vocabulary[word] for word in counts], np.int64)
        return words, self._query_weights(words, np.array(list(counts.values()), np.int64))


class _WordCounts(NamedTuple):
    """How often each item has each word; arrays are aligned, sorted by item, then word."""

    vocabulary: dict[str, int]
    items: NDArray[np.int64]
    words: NDArray[np.int64]
    counts: NDArray[np.int64]


def _checked(keywords: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    items = []
    for position, words in enumerate(keywords):
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise InputError(
                f"keywords[{position}] must be a sequence of strings such as ['red scarf', 'wool'], "
                f"got {words!r:.80}."
            )
        items.append(tuple(map(_storable, words)))
    return items


def _storable(word: str) -> str:
    """Replace lone surrogates, which no file can hold."""
    return word if word.isascii() else word.encode("utf-8", "replace").decode("utf-8")
