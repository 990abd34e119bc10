"""The keyword index: exact top-k over items that are sets of weighted keywords.

Stands under :mod:`mmsrarec.retrieve.keyword_search`, which turns words into keyword ids, and gives the
recommender its content candidates. The structure itself is C++ under the same names
(``csrc/keyword_index/``); this class is the border that checks and converts arguments.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmsrarec import _native
from mmsrarec.retrieve.arguments import dense_array, whole_number
from mmsrarec.storage import atomic_path

__all__ = ["KeywordIndex"]

ItemFilter = NDArray[np.int64] | NDArray[np.bool_]


class KeywordIndex:
    """Finds the items that share the heaviest keywords with a query.

    The score of an item is the sum, over the keywords that it shares with the query, of query weight times
    item weight. It is summed in float64 in ascending order of keyword id and rounded to float32. The answer
    is exact: the items of highest score, those of equal (rounded) score by smaller id; an item that shares no
    keyword is never in it. A sum beyond the range of float32 is infinite.

    A keyword given more than once counts once, with its weights added up: in float64 for a query, and rounded
    to float32 for an item.

    Items have ids 0, 1, ... in the order they came in; an id is never given twice, also after :meth:`remove`.
    All methods may be called from many threads. A search sees the index as it was before or after an
    :meth:`add` or :meth:`remove`, never between, and leaves the interpreter lock to others while it works;
    Ctrl-C ends long calls.

    Made by :meth:`from_arrays` or :meth:`open`.

    Examples
    --------
    Item 0 has keywords 0 and 1, item 1 has keyword 1, item 2 has keyword 2:

    >>> index = KeywordIndex.from_arrays([0, 2, 3, 4], [0, 1, 1, 2], [1.0, 2.0, 3.0, 1.0])
    >>> ids, scores = index.search([0, 1], [1.0, 0.5], k=10)
    >>> ids.tolist(), scores.tolist()
    ([0, 1], [2.0, 1.5])
    """

    def __init__(self, native: _native.KeywordIndex) -> None:
        self._native = native

    @classmethod
    def from_arrays(
        cls, indptr: ArrayLike, keywords: ArrayLike, weights: ArrayLike, n_keywords: int | None = None
    ) -> KeywordIndex:
        """Build an index from weighted keywords, item by item.

        Parameters
        ----------
        indptr
            Integers, shape (items + 1,): item ``i`` has the entries ``indptr[i]:indptr[i + 1]``.
        keywords
            Integer keyword ids, shape (entries,), from 0 to 2**31 - 2; in any order within an item.
        weights
            Shape (entries,), converted to float32, finite and above 0.
        n_keywords
            Keyword ids run below it; by default one more than the largest in `keywords`. Queries may name any
            of them.

        Returns
        -------
        KeywordIndex
            With one item a row.

        Raises
        ------
        InputError
            If `indptr` does not start at 0, falls, or does not end at the number of entries; a keyword is out
            of range; a weight is NaN, infinite, 0 or negative; or the weights of one keyword of an item add
            up beyond float32.

        Examples
        --------
        >>> len(KeywordIndex.from_arrays([0, 1, 1], [4], [1.0]))
        2
        """
        rows = _rows(indptr, keywords, weights)
        return cls(_native.KeywordIndex.from_arrays(*rows, _count("n_keywords", n_keywords)))

    @classmethod
    def open(cls, path: str | os.PathLike[str], mmap: bool = True) -> KeywordIndex:
        """Open a saved index; every byte is checked first.

        Parameters
        ----------
        path
            A file written by :meth:`save`.
        mmap
            Map the file, so that processes share one copy of it; ``False`` reads it into memory of this
            process.

        Returns
        -------
        KeywordIndex
            Which can be added to and removed from; the file stays as it is.

        Raises
        ------
        StoredFileError
            If the file is missing, truncated, damaged, not a keyword index, or of a newer format.

        Examples
        --------
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "keywords.index"
        >>> KeywordIndex.from_arrays([0, 1], [0], [1.0]).save(path)
        >>> len(KeywordIndex.open(path))
        1
        """
        return cls(_native.KeywordIndex.open(os.fspath(path), mmap))

    def search(
        self,
        keywords: ArrayLike,
        weights: ArrayLike,
        k: int,
        allow: ArrayLike | None = None,
        exclude: ArrayLike | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best items for one query.

        Parameters
        ----------
        keywords
            Integer keyword ids, shape (m,), each below :attr:`n_keywords`.
        weights
            Shape (m,), converted to float32, finite and above 0.
        k
            Number of items wanted, 0 or more.
        allow
            Only these items may be in the answer: integer ids, or a boolean mask of shape (:attr:`n_items`,).
            None allows all, an empty list none.
        exclude
            These items are not in the answer, also when `allow` names them; ids or mask as above.

        Returns
        -------
        ids : numpy.ndarray of int64, shape (<= k,)
            Best first, ties by smaller id.
        scores : numpy.ndarray of float32, shape (<= k,)

        Raises
        ------
        InputError
            If an argument is not as described; the message names it.

        Examples
        --------
        >>> index = KeywordIndex.from_arrays([0, 1, 2], [0, 0], [1.0, 2.0])
        >>> index.search([0], [1.0], k=5, exclude=[1])[0].tolist()
        [0]
        """
        query = dense_array("keywords", keywords, np.int32), dense_array("weights", weights, np.float32)
        return self._native.search(
            *query, whole_number("k", k), _filter("allow", allow), _filter("exclude", exclude)
        )

    def search_batch(
        self,
        indptr: ArrayLike,
        keywords: ArrayLike,
        weights: ArrayLike,
        k: int,
        threads: int | None = None,
        allow: ArrayLike | None = None,
        exclude: ArrayLike | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best items for many queries at once.

        Parameters
        ----------
        indptr, keywords, weights
            The queries, laid out as the items of :meth:`from_arrays`.
        k, allow, exclude
            As in :meth:`search`; they hold for every query.
        threads
            Number of threads, 1 or more; by default one a core that this process may use.

        Returns
        -------
        ids : numpy.ndarray of int64, shape (queries, k)
            Best first; -1 where there is no further item.
        scores : numpy.ndarray of float32, shape (queries, k)
            Minus infinity where there is no further item.

        Raises
        ------
        InputError
            If an argument is not as described; the message names it.

        Examples
        --------
        >>> index = KeywordIndex.from_arrays([0, 1, 2], [0, 1], [1.0, 2.0])
        >>> ids, scores = index.search_batch([0, 1, 1], [1], [1.0], k=2)
        >>> ids.tolist()
        [[1, -1], [-1, -1]]
        """
        rows = _rows(indptr, keywords, weights)
        k = whole_number("k", k)
        threads = len(os.sched_getaffinity(0)) if threads is None else whole_number("threads", threads)
        shape = (max(len(rows[0]) - 1, 0), k)
        ids, scores = np.empty(shape, np.int64), np.empty(shape, np.float32)  # (queries, k) each
        self._native.search_batch(
            *rows, k, threads, _filter("allow", allow), _filter("exclude", exclude), ids, scores
        )
        return ids, scores

    def add(
        self, indptr: ArrayLike, keywords: ArrayLike, weights: ArrayLike, *, n_keywords: int | None = None
    ) -> NDArray[np.int64]:
        """Add items; the next search sees them.

        Parameters
        ----------
        indptr, keywords, weights
            The new items, as in :meth:`from_arrays`.
        n_keywords
            A new, larger bound for keyword ids; by default the bound stays, and an id beyond it is an error.

        Returns
        -------
        numpy.ndarray of int64
            The ids of the new items.

        Raises
        ------
        InputError
            If an argument is not as described; the index is then unchanged.

        Examples
        --------
        >>> index = KeywordIndex.from_arrays([0, 1], [0], [1.0])
        >>> index.add([0, 1], [1], [1.0], n_keywords=2).tolist()
        [1]
        """
        rows = _rows(indptr, keywords, weights)
        first = self._native.add(*rows, _count("n_keywords", n_keywords))
        return np.arange(first, first + len(rows[0]) - 1, dtype=np.int64)

    def remove(self, ids: ArrayLike) -> int:
        """Remove items; no later search returns them. Their ids are not given again.

        Parameters
        ----------
        ids
            Integer ids. One that was removed before is passed over.

        Returns
        -------
        int
            How many items were removed.

        Raises
        ------
        InputError
            If an id was never given; the index is then unchanged.

        Examples
        --------
        >>> index = KeywordIndex.from_arrays([0, 1, 2], [0, 0], [1.0, 1.0])
        >>> index.remove([0]), len(index)
        (1, 1)
        """
        return self._native.remove(dense_array("ids", ids, np.int64))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one file, whole or not at all.

        Parameters
        ----------
        path
            Name of the file; one that stands there is replaced.

        Raises
        ------
        StoredFileError
            If it cannot be written.
        """
        with atomic_path(Path(path)) as temporary:
            self._native.save(temporary)

    def stats(self) -> dict[str, int]:
        """Count what is inside.

        Returns
        -------
        dict
            ``items`` (searchable), ``removed``, ``keywords`` (bound of their ids), ``postings`` (stored
            item-keyword pairs; those of removed items stay until enough have gathered), ``segments`` (parts
            that a search visits), ``nbytes``, ``mapped`` (opened from a file that is mapped).

        Examples
        --------
        >>> KeywordIndex.from_arrays([0, 2], [0, 1], [1.0, 1.0]).stats()["postings"]
        2
        """
        return self._native.stats()

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        return f"KeywordIndex({len(self)} items, {self.n_keywords} keywords, {self.nbytes} bytes)"

    @property
    def n_items(self) -> int:
        """Number of ids given so far, removed items included: the length of a filter mask."""
        return self._native.n_items

    @property
    def n_keywords(self) -> int:
        """Keyword ids run from 0 to one less than this."""
        return self._native.n_keywords

    @property
    def nbytes(self) -> int:
        """Bytes of the index, in memory or mapped.

        The working memory of searches, about 1 MB for each that runs at the same time, is not in it.
        """
        return self._native.nbytes


def _rows(
    indptr: ArrayLike, keywords: ArrayLike, weights: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    return (
        dense_array("indptr", indptr, np.int64),
        dense_array("keywords", keywords, np.int32),
        dense_array("weights", weights, np.float32),
    )


def _filter(name: str, items: ArrayLike | None) -> ItemFilter | None:
    if items is None:
        return None
    array = np.asarray(items)
    if array.dtype == np.bool_ and array.ndim == 1:
        return np.ascontiguousarray(array)
    return dense_array(name, array, np.int64)


def _count(name: str, value: int | None) -> int | None:
    return None if value is None else whole_number(name, value)
