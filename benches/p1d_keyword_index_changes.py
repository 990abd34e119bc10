"""P1d: adding 1,000 items to the index of P1 and removing 1,000, each seen by the next query, against a rebuild."""

import numpy as np
import pytest

from benches.keyword_data import ITEMS, KeywordData, keyword_data
from mmsrarec.retrieve import KeywordIndex

CHANGED = 1000


@pytest.fixture(scope="module")
def data() -> KeywordData:
    return keyword_data()


@pytest.fixture(scope="module")
def index(data: KeywordData) -> KeywordIndex:
    return data.index()


def rebuild(benchmark, data: KeywordData) -> None:
    benchmark.pedantic(data.index, rounds=3)


def record(benchmark) -> None:
    benchmark.extra_info["figures"] = {"milliseconds": (1000 * benchmark.stats.stats.median, 20.0)}


@pytest.mark.benchmark(group="P1d add")
def test_ours(benchmark, data: KeywordData, index: KeywordIndex) -> None:
    """Add, and ask for one of the new items by a word of its own kind of query."""
    indptr = data.indptr[: CHANGED + 1]
    keywords, weights = data.keywords[: indptr[-1]], data.weights[: indptr[-1]]
    first = slice(indptr[0], indptr[1])

    def add() -> np.ndarray:
        ids = index.add(indptr, keywords, weights)
        found, _ = index.search(keywords[first], weights[first], 10, allow=ids)
        assert ids[0] in found
        return ids

    benchmark.pedantic(add, rounds=15, warmup_rounds=1)
    record(benchmark)


@pytest.mark.benchmark(group="P1d add")
def test_rebuild(benchmark, data: KeywordData) -> None:
    rebuild(benchmark, data)


@pytest.mark.benchmark(group="P1d remove")
def test_ours_removing(benchmark, data: KeywordData, index: KeywordIndex) -> None:
    benchmark.name = "test_ours"
    ids = iter(np.random.default_rng(3).permutation(ITEMS).reshape(-1, CHANGED))

    def remove() -> None:
        gone = next(ids)
        index.remove(gone)
        row = slice(data.indptr[gone[0]], data.indptr[gone[0] + 1])
        found, _ = index.search(data.keywords[row], data.weights[row], 10)
        assert not np.isin(gone, found).any()

    benchmark.pedantic(remove, rounds=15, warmup_rounds=1)
    record(benchmark)


@pytest.mark.benchmark(group="P1d remove")
def test_rebuild_without(benchmark, data: KeywordData) -> None:
    rebuild(benchmark, data)
