"""P1: exact top 100 of the keyword index, one thread, against bm25s, tantivy, NumPy and SciPy.

A million items of 15 words (100,000 words, Zipf 0.9), queries of 42 words; ``MMSRAREC_BENCH_ITEMS`` changes the number
of items. All but tantivy, which rounds lengths and has another k1, score by the same formula, and must find the same
scores.
"""

import numpy as np
import pytest

from benches.keyword_data import (
    ITEMS,
    TOP,
    WORDS,
    KeywordData,
    best_by_numpy,
    keyword_data,
    tantivy_index,
)
from mmsrarec.retrieve import KeywordIndex


@pytest.fixture(scope="module")
def data() -> KeywordData:
    return keyword_data()


@pytest.fixture(scope="module")
def skewed() -> KeywordData:
    return keyword_data(skewed=True)


@pytest.fixture(scope="module")
def index(data: KeywordData) -> KeywordIndex:
    return data.index()


@pytest.fixture(scope="module")
def best(data: KeywordData, index: KeywordIndex) -> np.ndarray:
    """Scores that everyone must find, (queries, 100), held against brute force in float64 first."""
    lists = data.lists().astype(np.float64)
    found = [index.search(*query, TOP) for query in data.queries]
    for (words, weights), (ids, scores) in zip(data.queries[:10], found, strict=False):
        wanted = np.zeros(ITEMS)
        for word, weight in zip(words, weights, strict=True):
            part = slice(lists.indptr[word], lists.indptr[word + 1])
            wanted[lists.indices[part]] += np.float64(weight) * lists.data[part]
        rounded = wanted.astype(np.float32)
        order = np.lexsort([np.arange(ITEMS), -rounded])[:TOP]
        np.testing.assert_array_equal(ids, order)
        np.testing.assert_array_equal(scores, rounded[order])
    return np.array([scores for _, scores in found])


def same_scores(found: np.ndarray, best: np.ndarray) -> None:
    np.testing.assert_allclose(-np.sort(-found, axis=1), best, rtol=1e-4)


@pytest.fixture(scope="module")
def bm25s_index(data: KeywordData):
    import bm25s
    from bm25s.tokenization import Tokenized

    index = bm25s.BM25(k1=1.5, b=0.75, backend="numba")
    vocabulary = {str(word): word for word in range(WORDS)}
    index.index(Tokenized(ids=data.tokens.tolist(), vocab=vocabulary), show_progress=False)
    return index


@pytest.mark.benchmark(group="P1")
def test_ours(benchmark, data: KeywordData, index: KeywordIndex, best: np.ndarray) -> None:
    benchmark.pedantic(
        lambda: [index.search(*query, TOP) for query in data.queries], rounds=15, warmup_rounds=2
    )


@pytest.mark.benchmark(group="P1")
def test_ours_with_weights_all_different(benchmark, skewed: KeywordData) -> None:
    index = skewed.index()
    benchmark.pedantic(
        lambda: [index.search(*query, TOP) for query in skewed.queries], rounds=15, warmup_rounds=2
    )


def measure_bm25s(benchmark, data: KeywordData, index, best: np.ndarray, backend: str) -> None:
    queries = [[str(word) for word in row] for row in data.query_tokens]
    index.backend = backend
    found = benchmark.pedantic(
        lambda: [
            index.retrieve([query], k=TOP, show_progress=False, n_threads=1).scores[0] for query in queries
        ],
        rounds=5,
        warmup_rounds=1,
    )
    same_scores(np.array(found), best)


@pytest.mark.benchmark(group="P1")
def test_bm25s_numba(benchmark, data: KeywordData, bm25s_index, best: np.ndarray) -> None:
    benchmark.extra_info["target"] = 10
    measure_bm25s(benchmark, data, bm25s_index, best, "numba")


@pytest.mark.benchmark(group="P1")
def test_bm25s_numpy(benchmark, data: KeywordData, bm25s_index, best: np.ndarray) -> None:
    measure_bm25s(benchmark, data, bm25s_index, best, "numpy")


@pytest.mark.benchmark(group="P1")
def test_tantivy(benchmark, data: KeywordData) -> None:
    index = tantivy_index(data.documents(), threads=1)
    searcher = index.searcher()
    queries = [index.parse_query(" ".join(map(str, row)), ["words"]) for row in data.query_tokens.tolist()]
    found = benchmark.pedantic(
        lambda: [searcher.search(query, TOP, count=False) for query in queries], rounds=5, warmup_rounds=1
    )
    assert all(len(result.hits) == TOP for result in found)


@pytest.mark.benchmark(group="P1")
def test_numpy_term_at_a_time(benchmark, data: KeywordData, best: np.ndarray) -> None:
    lists = data.lists()

    found = benchmark.pedantic(
        lambda: [best_by_numpy(lists, *query) for query in data.queries], rounds=3, warmup_rounds=1
    )
    same_scores(np.array(found), best)


@pytest.mark.benchmark(group="P1")
def test_scipy_product(benchmark, data: KeywordData, best: np.ndarray) -> None:
    lists = data.lists()

    def search(words: np.ndarray, weights: np.ndarray) -> np.ndarray:
        scores = lists[:, words] @ weights
        return scores[np.argpartition(-scores, TOP)[:TOP]]

    found = benchmark.pedantic(lambda: [search(*query) for query in data.queries], rounds=3, warmup_rounds=1)
    same_scores(np.array(found), best)
