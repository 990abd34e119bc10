"""P1: exact top 100 of the keyword index, one thread, against term-at-a-time in NumPy and a SciPy product.

Items have 15 keywords drawn from a Zipf law (exponent 0.9, 100,000 words), queries 42. The number of items is
``MMSRAREC_BENCH_ITEMS`` (default 1,000,000).
"""

import os

import numpy as np
import pytest
from scipy import sparse

from mmsrarec.retrieve import KeywordIndex

ITEMS = int(os.environ.get("MMSRAREC_BENCH_ITEMS", 1_000_000))
WORDS, PER_ITEM, PER_QUERY, TOP, QUERIES = 100_000, 15, 42, 100, 20


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1) ** 0.9
    cumulative = np.cumsum(share / share.sum())

    def draw(count: int) -> np.ndarray:
        return np.searchsorted(cumulative, rng.random(count)).clip(0, WORDS - 1).astype(np.int32)

    indptr = np.arange(0, ITEMS * PER_ITEM + 1, PER_ITEM, dtype=np.int64)
    keywords = draw(ITEMS * PER_ITEM)
    weights = rng.uniform(0.1, 2, ITEMS * PER_ITEM).astype(np.float32)
    queries = [(draw(PER_QUERY), rng.uniform(0.1, 2, PER_QUERY).astype(np.float32)) for _ in range(QUERIES)]
    return indptr, keywords, weights, queries


@pytest.fixture(scope="module")
def lists(data) -> sparse.csc_matrix:
    indptr, keywords, weights, _ = data
    return sparse.csr_matrix((weights, keywords, indptr), shape=(ITEMS, WORDS)).tocsc()


@pytest.mark.benchmark(group="P1")
def test_ours(benchmark, data) -> None:
    indptr, keywords, weights, queries = data
    index = KeywordIndex.from_arrays(indptr, keywords, weights, n_keywords=WORDS)
    benchmark.pedantic(lambda: [index.search(*query, TOP) for query in queries], rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="P1")
def test_numpy_term_at_a_time(benchmark, data, lists) -> None:
    def search(words: np.ndarray, query_weights: np.ndarray) -> np.ndarray:
        scores = np.zeros(ITEMS)
        for word, weight in zip(words, query_weights, strict=True):
            part = slice(lists.indptr[word], lists.indptr[word + 1])
            scores[lists.indices[part]] += weight * lists.data[part]
        return np.argpartition(-scores, TOP)[:TOP]

    benchmark.pedantic(lambda: [search(*query) for query in data[3]], rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="P1")
def test_scipy_product(benchmark, data, lists) -> None:
    def search(words: np.ndarray, query_weights: np.ndarray) -> np.ndarray:
        scores = lists[:, words] @ query_weights
        return np.argpartition(-scores, TOP)[:TOP]

    benchmark.pedantic(lambda: [search(*query) for query in data[3]], rounds=5, warmup_rounds=1)
