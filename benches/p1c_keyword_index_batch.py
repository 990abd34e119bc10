"""P1c: 10,000 queries on two threads against one, and what an allow or an exclude list costs."""

import numpy as np
import pytest

from benches.keyword_data import ITEMS, TOP, KeywordData, keyword_data
from mmsrarec.retrieve import KeywordIndex

BATCH = 10_000
MOST_WITH_A_LIST = 1.5


@pytest.fixture(scope="module")
def data() -> KeywordData:
    return keyword_data()


@pytest.fixture(scope="module")
def index(data: KeywordData) -> KeywordIndex:
    return data.index()


@pytest.fixture(scope="module")
def batch(data: KeywordData):
    """The queries of P1 with other weights each time they come again."""
    rng = np.random.default_rng(1)
    chosen = [data.queries[i % len(data.queries)] for i in range(BATCH)]
    indptr = np.cumsum([0, *(len(words) for words, _ in chosen)])
    weights = np.concatenate([weights for _, weights in chosen])
    return (
        indptr,
        np.concatenate([words for words, _ in chosen]),
        (weights * rng.uniform(0.5, 1.5, len(weights))).astype(np.float32),
    )


@pytest.mark.benchmark(group="P1c threads")
def test_ours(benchmark, index: KeywordIndex, batch) -> None:
    benchmark.pedantic(lambda: index.search_batch(*batch, TOP, threads=2), rounds=3, warmup_rounds=1)


@pytest.mark.benchmark(group="P1c threads")
def test_one_thread(benchmark, index: KeywordIndex, batch) -> None:
    benchmark.extra_info["target"] = 1.8
    ids, scores = benchmark.pedantic(
        lambda: index.search_batch(*batch, TOP, threads=1), rounds=3, warmup_rounds=1
    )
    for got, wanted in zip(index.search_batch(*batch, TOP, threads=2), (ids, scores), strict=True):
        np.testing.assert_array_equal(got, wanted)


LISTS = {
    "exclude 50 ids": ("exclude", 50, False),
    "exclude half, mask": ("exclude", 0.5, True),
    "allow half, mask": ("allow", 0.5, True),
    "allow a tenth, mask": ("allow", 0.1, True),
    "allow a tenth, ids": ("allow", 0.1, False),
    "allow a hundredth, ids": ("allow", 0.01, False),
    "allow a thousandth, ids": ("allow", 0.001, False),
    "allow 50 ids": ("allow", 50, False),
}


@pytest.mark.parametrize("name", LISTS)
def test_with_a_list(benchmark, data: KeywordData, index: KeywordIndex, name: str) -> None:
    """Query by query, so that preparing the list is in the time; without one, turn by turn, in the figure."""
    keyword, share, as_mask = LISTS[name]
    rng = np.random.default_rng(2)
    ids = rng.choice(ITEMS, int(share if share >= 1 else share * ITEMS), replace=False)
    mask = np.zeros(ITEMS, bool)
    mask[ids] = True
    filters = {keyword: mask if as_mask else ids}
    inside = mask if keyword == "allow" else ~mask
    for query in data.queries[:5]:
        got, scores = index.search(*query, TOP, **filters)
        assert inside[got].all()
        every, all_scores = index.search(*query, ITEMS)
        np.testing.assert_array_equal(got, every[inside[every]][:TOP])
        np.testing.assert_array_equal(scores, all_scores[inside[every]][:TOP])
    benchmark.group, benchmark.name = f"P1c {name}", "test_ours"
    benchmark.pedantic(
        lambda: [index.search(*query, TOP, **filters) for query in data.queries], rounds=9, warmup_rounds=1
    )


@pytest.mark.parametrize("name", LISTS)
def test_without(benchmark, data: KeywordData, index: KeywordIndex, name: str) -> None:
    benchmark.group, benchmark.name = f"P1c {name}", "test_without_a_list"
    benchmark.extra_info["target"] = 1 / MOST_WITH_A_LIST
    benchmark.pedantic(
        lambda: [index.search(*query, TOP) for query in data.queries], rounds=9, warmup_rounds=1
    )
