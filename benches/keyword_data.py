"""What the benchmarks of the keyword index search: a million items of words drawn by a Zipf law, and BM25 weights."""

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmsrarec.retrieve import KeywordIndex

ITEMS = int(os.environ.get("MMSRAREC_BENCH_ITEMS", 1_000_000))
WORDS, PER_ITEM, PER_QUERY, TOP, QUERIES = 100_000, 15, 42, 100, 40
K1 = 1.5


class KeywordData(NamedTuple):
    """Items as weighted keywords and as the words they were made of.

    An item's part of BM25, tf / (tf + 1.5) for items of one length, is the weight of its keyword; the query's part is
    the idf of bm25s' default method, once for each time that the query has the word.
    """

    tokens: NDArray[np.int32]  # (items, 15)
    indptr: NDArray[np.int64]
    keywords: NDArray[np.int32]
    weights: NDArray[np.float32]
    query_tokens: NDArray[np.int32]  # (queries, words)
    queries: list[tuple[NDArray[np.int32], NDArray[np.float32]]]

    def lists(self) -> sparse.csc_matrix:
        """Inverted lists, a column a word."""
        shape = (len(self.indptr) - 1, WORDS)
        return sparse.csr_matrix((self.weights, self.keywords, self.indptr), shape=shape).tocsc()

    def index(self) -> KeywordIndex:
        """Ours."""
        return KeywordIndex.from_arrays(self.indptr, self.keywords, self.weights, n_keywords=WORDS)

    def documents(self) -> list[str]:
        """Items as texts."""
        return [" ".join(map(str, row)) for row in self.tokens.tolist()]


def keyword_data(items: int = ITEMS, per_query: int = PER_QUERY, *, skewed: bool = False) -> KeywordData:
    """Draw it; with `skewed`, weights are log-normal, no two alike."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1) ** 0.9
    cumulative = np.cumsum(share / share.sum())

    def draw(rows: int, columns: int) -> NDArray[np.int32]:
        drawn = np.searchsorted(cumulative, rng.random((rows, columns)))
        return drawn.clip(0, WORDS - 1).astype(np.int32)

    tokens = draw(items, PER_ITEM)
    pairs = np.sort(tokens.astype(np.int64) + np.arange(items)[:, None] * WORDS, axis=1).ravel()
    first = np.flatnonzero(np.diff(pairs, prepend=-1))
    times = np.diff(np.append(first, len(pairs)))
    item, keywords = np.divmod(pairs[first], WORDS)
    indptr = np.searchsorted(item, np.arange(items + 1))
    weights = rng.lognormal(0, 0.5, len(first)) if skewed else times / (times + K1)
    having = np.bincount(keywords, minlength=WORDS)
    idf = np.log(1 + (items - having + 0.5) / (having + 0.5))
    query_tokens = draw(QUERIES, per_query)
    queries = []
    for row in query_tokens:
        words, often = np.unique(row, return_counts=True)
        queries.append((words, (often * idf[words]).astype(np.float32)))
    return KeywordData(
        tokens, indptr, keywords.astype(np.int32), weights.astype(np.float32), query_tokens, queries
    )


def best_by_numpy(
    lists: sparse.csc_matrix, words: NDArray[np.int32], weights: NDArray[np.float32]
) -> NDArray:
    """Return the scores of the best items in any order, term at a time: what one writes in NumPy."""
    scores = np.zeros(lists.shape[0], np.float32)
    for word, weight in zip(words, weights, strict=True):
        part = slice(lists.indptr[word], lists.indptr[word + 1])
        scores[lists.indices[part]] += weight * lists.data[part]
    return scores[np.argpartition(-scores, TOP)[:TOP]]


def tantivy_index(documents: list[str], threads: int):
    """Build tantivy's index of words, in memory, merged."""
    import tantivy

    schema = tantivy.SchemaBuilder()
    schema.add_text_field("words", stored=False, tokenizer_name="whitespace", index_option="freq")
    index = tantivy.Index(schema.build())
    writer = index.writer(heap_size=1_000_000_000, num_threads=threads)
    for document in documents:
        writer.add_document(tantivy.Document(words=document))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index
