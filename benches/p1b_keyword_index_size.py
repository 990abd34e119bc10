"""P1b: building the index of P1, its memory, opening it from disk; against bm25s, tantivy and SciPy's own lists."""

import numpy as np
import pytest

from benches.keyword_data import WORDS, KeywordData, keyword_data, tantivy_index
from mmsrarec.retrieve import KeywordIndex


@pytest.fixture(scope="module")
def data() -> KeywordData:
    return keyword_data()


@pytest.mark.benchmark(group="P1b build")
def test_ours(benchmark, data: KeywordData) -> None:
    index = benchmark.pedantic(data.index, rounds=5, warmup_rounds=1)
    different = keyword_data(skewed=True).index()
    benchmark.extra_info["figures"] = {
        "seconds": (benchmark.stats.stats.median, 3.0),
        "bytes a posting": (index.nbytes / index.stats()["postings"], 8.0),
        "bytes a posting, weights all different": (different.nbytes / different.stats()["postings"], 8.0),
    }


@pytest.mark.benchmark(group="P1b build")
def test_bm25s_numba(benchmark, data: KeywordData) -> None:
    import bm25s
    from bm25s.tokenization import Tokenized

    tokens = Tokenized(ids=data.tokens.tolist(), vocab={str(word): word for word in range(WORDS)})
    benchmark.pedantic(
        lambda: bm25s.BM25(backend="numba").index(tokens, show_progress=False), rounds=1, warmup_rounds=0
    )


@pytest.mark.benchmark(group="P1b build")
def test_tantivy(benchmark, data: KeywordData) -> None:
    documents = data.documents()
    benchmark.pedantic(lambda: tantivy_index(documents, threads=2), rounds=1, warmup_rounds=0)


@pytest.mark.benchmark(group="P1b build")
def test_scipy_lists(benchmark, data: KeywordData) -> None:
    benchmark.pedantic(data.lists, rounds=3, warmup_rounds=1)


@pytest.fixture(scope="module", params=["equal often", "all different"])
def saved(request, data: KeywordData, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "keywords.index"
    (keyword_data(skewed=True) if request.param == "all different" else data).index().save(path)
    return request.param, path


def test_opening(benchmark, saved) -> None:
    weights, path = saved
    benchmark.group, benchmark.name = f"P1b open, weights {weights}", "test_ours"
    benchmark.pedantic(lambda: KeywordIndex.open(path), rounds=15, warmup_rounds=2)
    benchmark.extra_info["figures"] = {"milliseconds": (1000 * benchmark.stats.stats.median, 50.0)}


def test_reading_the_bytes(benchmark, saved) -> None:
    """What no opening that looks at every byte can be faster than, by NumPy on one thread."""
    weights, path = saved
    benchmark.group, benchmark.name = f"P1b open, weights {weights}", "test_sum_of_all_bytes"
    benchmark.pedantic(
        lambda: np.memmap(path, np.uint8, mode="r")[: path.stat().st_size // 8 * 8].view(np.uint64).sum(),
        rounds=15,
        warmup_rounds=2,
    )
