"""P1e: how the time of a query grows with the catalogue and with the query, beside adding up every posting.

The peer is term-at-a-time in SciPy's inverted lists and NumPy, as in P1. ``MMSRAREC_BENCH_ITEMS`` does not matter here.
"""

import pytest

from benches.keyword_data import TOP, KeywordData, best_by_numpy, keyword_data

SHAPES = [
    (10_000, 42),
    (100_000, 42),
    (1_000_000, 42),
    (3_000_000, 42),
    (1_000_000, 5),
    (1_000_000, 20),
    (1_000_000, 100),
]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def data(request) -> tuple[str, KeywordData]:
    items, per_query = request.param
    return f"P1e {items:,} items, {per_query} words", keyword_data(items, per_query)


def test_growth(benchmark, data: tuple[str, KeywordData]) -> None:
    benchmark.group, benchmark.name = data[0], "test_ours"
    kept = data[1]
    index = kept.index()
    benchmark.pedantic(
        lambda: [index.search(*query, TOP) for query in kept.queries], rounds=9, warmup_rounds=2
    )
    milliseconds = 1000 * benchmark.stats.stats.median / len(kept.queries)
    benchmark.extra_info["figures"] = {"milliseconds a query": (milliseconds, None)}


def test_growth_of_numpy(benchmark, data: tuple[str, KeywordData]) -> None:
    benchmark.group, benchmark.name = data[0], "test_numpy_term_at_a_time"
    kept = data[1]
    lists = kept.lists()
    benchmark.pedantic(lambda: [best_by_numpy(lists, *query) for query in kept.queries], rounds=3)
