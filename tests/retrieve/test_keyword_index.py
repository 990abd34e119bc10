import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.retrieve.keyword_index import KeywordIndex

N_KEYWORDS = 12
Row = list[tuple[int, float]]

# Few keywords and some equal weights, so that ties, duplicates and crowded lists are common; and the range of float32.
even_weights = st.sampled_from([0.25, 0.5, 1.0, 3.0])
any_weights = st.floats(float(np.float32(1e-30)), float(np.float32(1e30)), width=32)
keyword_ids = st.integers(0, N_KEYWORDS - 1)


def rows_of(weights: st.SearchStrategy[float], most: int) -> st.SearchStrategy[list[Row]]:
    return st.lists(st.lists(st.tuples(keyword_ids, weights), max_size=5), max_size=most)


def row_of(weights: st.SearchStrategy[float]) -> st.SearchStrategy[Row]:
    return st.lists(st.tuples(keyword_ids, weights), max_size=8)


def arrays(rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    entries = [entry for row in rows for entry in row]
    indptr = np.cumsum([0, *map(len, rows)])
    return (
        indptr,
        np.array([keyword for keyword, _ in entries], np.int32),
        np.array([weight for _, weight in entries], np.float32),
    )


def brute_force(items: list[Row], query: Row, k: int, permitted: set[int]) -> tuple[list[int], np.ndarray]:
    """The definition, in float64: every item against the query, rounded, sorted by score and then id."""
    table = np.zeros((len(items), N_KEYWORDS))
    for item, row in enumerate(items):
        for keyword, weight in row:
            table[item, keyword] += np.float32(weight)
    table = table.astype(np.float32).astype(np.float64)
    wanted = np.zeros(N_KEYWORDS)
    for keyword, weight in query:
        wanted[keyword] += np.float32(weight)
    scores = np.zeros(len(items))
    for keyword in range(N_KEYWORDS):
        scores += table[:, keyword] * wanted[keyword]
    with np.errstate(over="ignore"):
        rounded = scores.astype(np.float32)
    shares = ((table > 0) & (wanted > 0)).any(1)
    best = sorted((item for item in permitted if shares[item]), key=lambda item: (-rounded[item], item))[:k]
    return best, rounded[best]


def check(
    index: KeywordIndex, items: list[Row], query: Row, k: int, permitted: set[int], **filters: object
) -> None:
    _, keywords, weights = arrays([query])
    ids, scores = index.search(keywords, weights, k, **filters)
    wanted_ids, wanted_scores = brute_force(items, query, k, permitted)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    assert ids.tolist() == wanted_ids
    np.testing.assert_array_equal(scores, wanted_scores)


@pytest.mark.parametrize("weights", [even_weights, any_weights], ids=["ties", "wide range"])
@given(data=st.data(), k=st.integers(0, 40))
def test_search_equals_brute_force(weights, data, k):
    items, query = (
        data.draw(rows_of(weights, 30)),
        data.draw(row_of(weights)),
    )
    check(KeywordIndex.from_arrays(*arrays(items), N_KEYWORDS), items, query, k, set(range(len(items))))


@given(
    items=rows_of(even_weights, 30), queries=rows_of(even_weights, 30), k=st.integers(0, 10), data=st.data()
)
def test_filters_and_batches_equal_brute_force(items, queries, k, data):
    index = KeywordIndex.from_arrays(*arrays(items), N_KEYWORDS)
    everything = set(range(len(items)))
    some = st.sets(st.sampled_from(sorted(everything))) if items else st.just(set())
    allow, exclude = data.draw(st.none() | some), data.draw(st.none() | some)
    permitted = (everything if allow is None else allow) - (exclude or set())
    filters = {
        name: None if ids is None else np.isin(np.arange(len(items)), list(ids)) if as_mask else sorted(ids)
        for name, ids, as_mask in (
            ("allow", allow, data.draw(st.booleans())),
            ("exclude", exclude, data.draw(st.booleans())),
        )
    }
    batch_ids, batch_scores = index.search_batch(*arrays(queries), k, threads=2, **filters)
    assert batch_ids.shape == batch_scores.shape == (len(queries), k)
    for row, query in enumerate(queries):
        check(index, items, query, k, permitted, **filters)
        ids, scores = brute_force(items, query, k, permitted)
        assert batch_ids[row].tolist() == ids + [-1] * (k - len(ids))
        np.testing.assert_array_equal(batch_scores[row], [*scores, *[-np.inf] * (k - len(ids))])


@settings(max_examples=40)
@given(
    items=rows_of(even_weights, 15),
    steps=st.lists(rows_of(even_weights, 8) | st.sets(st.integers(0, 40)), max_size=10),
    query=row_of(even_weights),
    mmap=st.booleans(),
)
def test_add_remove_and_save_equal_brute_force(tmp_path_factory, items, steps, query, mmap):
    items = list(items)
    index = KeywordIndex.from_arrays(*arrays(items), N_KEYWORDS)
    alive = set(range(len(items)))
    for step in steps:
        if isinstance(step, set):
            gone = {item for item in step if item < len(items)}
            assert index.remove(sorted(gone)) == len(gone & alive)
            alive -= gone
        else:
            ids = index.add(*arrays(step))
            assert ids.tolist() == list(range(len(items), len(items) + len(step)))
            items += step
            alive |= set(ids.tolist())
        check(index, items, query, 5, alive)
    path = tmp_path_factory.mktemp("index") / "keywords.index"
    index.save(path)
    opened = KeywordIndex.open(path, mmap=mmap)
    assert (len(opened), opened.n_items, opened.n_keywords) == (len(alive), len(items), N_KEYWORDS)
    check(opened, items, query, 5, alive)
    opened.add(*arrays([[(0, 1.0)]]))
    check(opened, [*items, [(0, 1.0)]], query, 5, alive | {len(items)})


@settings(max_examples=25)
@given(
    n_items=st.sampled_from([3_000, 65_536, 65_537, 140_000]),
    kind=st.sampled_from(["equal", "few values", "skewed", "wide", "whole range"]),
    n_keywords=st.sampled_from([3, 300, 100_000]),
    terms=st.integers(1, 60),
    k=st.sampled_from([1, 10, 100, 3_000]),
    allowed=st.sampled_from([None, 0.0, 0.0005, 0.01, 0.5]),
    seed=st.integers(0, 2**32),
)
def test_pruned_searches_equal_brute_force(n_items, kind, n_keywords, terms, k, allowed, seed):
    """Catalogues of more than one window with frequent and rare keywords: what the small ones never reach."""
    rng = np.random.default_rng(seed)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        keywords = np.minimum(n_keywords - 1, (n_keywords + 1) ** rng.random(count) - 1).astype(np.int32)
        weights = {
            "equal": np.ones(count),
            "few values": 1 + 0.25 * rng.integers(0, 4, count) * (rng.random(count) < 0.2),
            "skewed": np.exp(rng.normal(0, 1, count)),
            "wide": 10 ** rng.uniform(-12, 12, count),
            "whole range": 10 ** rng.uniform(-30, 30, count),
        }[kind]
        return keywords, weights.astype(np.float32)

    per_item = 5
    keywords, weights = draw(n_items * per_item)
    order = np.argsort(np.repeat(np.arange(n_items), per_item) * n_keywords + keywords, kind="stable")
    items, keywords, weights = order // per_item, keywords[order], weights[order]
    first = np.flatnonzero(np.diff(items * n_keywords + keywords, prepend=-1))  # one entry a keyword and item
    items, keywords, weights = items[first], keywords[first], weights[first]
    starts = np.searchsorted(items, np.arange(n_items + 1))
    index = KeywordIndex.from_arrays(starts, keywords, weights, n_keywords=n_keywords)

    query, query_weights = draw(terms)
    scores = np.zeros(n_items)
    for keyword in np.unique(query):
        part = keywords == keyword
        wanted = query_weights[query == keyword].astype(np.float64).sum()
        scores[items[part]] += wanted * weights[part].astype(np.float64)
    mask = None if allowed is None else rng.random(n_items) < allowed
    candidates = np.flatnonzero((scores > 0) if mask is None else (scores > 0) & mask)
    with np.errstate(over="ignore"):
        rounded = scores.astype(np.float32)
    best = candidates[np.lexsort([candidates, -rounded[candidates]])][:k]
    ids, found = index.search(query, query_weights, k, allow=mask)
    np.testing.assert_array_equal(ids, best)
    np.testing.assert_array_equal(found, rounded[best])


def test_one_keyword_on_every_item_ranks_by_weight_then_id():
    weights = np.tile([1.0, 2.0], 500)
    index = KeywordIndex.from_arrays(np.arange(1001), np.zeros(1000, int), weights)
    ids, scores = index.search([0], [1.0], k=600)
    assert ids.tolist() == [*range(1, 1000, 2), *range(0, 200, 2)]
    assert scores.tolist() == [2.0] * 500 + [1.0] * 100


def test_weights_of_repeated_keywords_add_up():
    index = KeywordIndex.from_arrays([0, 3, 4], [5, 1, 5, 5], [1.0, 9.0, 0.5, 1.0])
    ids, scores = index.search([5, 5], [2.0, 1.0], k=5)
    assert (ids.tolist(), scores.tolist()) == ([0, 1], [4.5, 3.0])


def test_an_index_without_items_can_grow():
    index = KeywordIndex.from_arrays([0], [], [])
    assert index.search([], [], k=3)[0].tolist() == []
    assert index.search_batch([0], [], [], k=3)[0].shape == (0, 3)
    assert index.add([0, 1], [3], [1.0], n_keywords=4).tolist() == [0]
    assert index.search([3], [1.0], k=3)[0].tolist() == [0]
    assert index.stats() == {
        "items": 1,
        "removed": 0,
        "keywords": 4,
        "postings": 1,
        "segments": 1,
        "nbytes": index.nbytes,
        "mapped": False,
    }


def one_item() -> KeywordIndex:
    return KeywordIndex.from_arrays([0, 2], [0, 1], [1.0, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: KeywordIndex.from_arrays([0, 1], [0], [np.nan]),
            r"weights\[0\] must be finite and above 0, got nan",
        ),
        (
            lambda: KeywordIndex.from_arrays([0, 1], [0], [np.inf]),
            r"weights\[0\] must be finite and above 0, got inf",
        ),
        (
            lambda: KeywordIndex.from_arrays([0, 1], [0], [1e300]),
            r"weights\[0\] must be finite and above 0, got inf",
        ),
        (
            lambda: KeywordIndex.from_arrays([0, 1], [0], [-1.0]),
            r"weights\[0\] must be finite and above 0, got -1",
        ),
        (
            lambda: KeywordIndex.from_arrays([0, 1], [0], [0.0]),
            r"weights\[0\] must be finite and above 0, got 0",
        ),
        (
            lambda: KeywordIndex.from_arrays([0, 1], [4], [1.0], 4),
            r"keywords\[0\] = 4 is unknown; .* - 1 = 3",
        ),
        (
            lambda: KeywordIndex.from_arrays([0, 1], [-1], [1.0]),
            r"keywords\[0\] must lie in 0\.\.2147483647, got -1",
        ),
        (lambda: KeywordIndex.from_arrays([0, 1], [2**40], [1.0]), r"keywords\[0\] must lie in 0\.\."),
        (lambda: KeywordIndex.from_arrays([0, 1], [0.5], [1.0]), "keywords must hold integers, got float64"),
        (lambda: KeywordIndex.from_arrays([0, 1], ["a"], [1.0]), "keywords must hold integers, got <U1"),
        (
            lambda: KeywordIndex.from_arrays([[0, 1]], [0], [1.0]),
            r"indptr must have one dimension, got shape \(1, 2\)",
        ),
        (lambda: KeywordIndex.from_arrays([], [], []), "indptr is empty"),
        (lambda: KeywordIndex.from_arrays([1, 1], [0], [1.0]), r"indptr\[0\] must be 0"),
        (
            lambda: KeywordIndex.from_arrays([0, 1, 0], [0], [1.0]),
            r"indptr\[2\] must not be below indptr\[1\]",
        ),
        (lambda: KeywordIndex.from_arrays([0, 2], [0], [1.0]), r"indptr\[1\] must be the number of keywords"),
        (lambda: KeywordIndex.from_arrays([0, 1], [0], [1.0, 2.0]), "weights has 2 entries, keywords has 1"),
        (
            lambda: KeywordIndex.from_arrays([0, 1], [0], [1.0], -1),
            "n_keywords must be an integer of 0 or more",
        ),
        (lambda: one_item().search([2], [1.0], 1), r"keywords\[0\] = 2 is unknown"),
        (lambda: one_item().search([0], [np.nan], 1), r"weights\[0\] must be finite"),
        (lambda: one_item().search([0], [1.0], -1), "k must be an integer of 0 or more, got -1"),
        (lambda: one_item().search([0], [1.0], 1.5), "k must be an integer of 0 or more, got 1.5"),
        (lambda: one_item().search([0], [1.0], 1, allow=[1]), r"allow\[0\] = 1 is no item"),
        (lambda: one_item().search([0], [1.0], 1, exclude=[-1]), r"exclude\[0\] = -1 is no item"),
        (
            lambda: one_item().search([0], [1.0], 1, allow=[True, False]),
            "allow is a mask of 2 flags, expected .*: 1",
        ),
        (
            lambda: one_item().search_batch([0, 1], [0], [1.0], 1, threads=0),
            "threads must be 1 or more, got 0",
        ),
        (lambda: one_item().add([0, 1], [2], [1.0]), r"keywords\[0\] = 2 is unknown"),
        (lambda: one_item().add([0, 1], [0], [1.0], n_keywords=1), r"n_keywords must lie in 2\.\."),
        (lambda: one_item().remove([1]), r"ids\[0\] = 1 is no item"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.fixture
def saved(tmp_path):
    rng = np.random.default_rng(0)
    index = KeywordIndex.from_arrays(
        np.arange(0, 301, 3), rng.integers(0, 20, 300), rng.random(300) + 0.1, 20
    )
    index.remove([4, 7])
    index.save(tmp_path / "keywords.index")
    return tmp_path / "keywords.index", index


def test_a_truncated_file_is_named_and_refused(saved):
    path, _ = saved
    whole = path.read_bytes()
    for size in np.linspace(0, len(whole) - 1, 20).astype(int):
        path.write_bytes(whole[:size])
        with pytest.raises(StoredFileError, match=str(path)):
            KeywordIndex.open(path)


def test_a_bit_flip_is_refused_or_changes_nothing(saved):
    path, index = saved
    whole = path.read_bytes()
    queries = np.arange(0, 21), np.arange(20), np.ones(20)
    wanted = index.search_batch(*queries, 10)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            got = KeywordIndex.open(path).search_batch(*queries, 10)
        except StoredFileError:
            refused += 1
        else:
            np.testing.assert_array_equal(got, wanted)
    assert refused > 150


def test_foreign_newer_and_missing_files_are_named(saved):
    path, _ = saved
    newer = bytearray(path.read_bytes())
    newer[8] += 1
    path.write_bytes(newer)
    with pytest.raises(StoredFileError, match="format version 4, this mmsrarec reads up to 3"):
        KeywordIndex.open(path)
    path.write_bytes(b"PAR1" * 100)
    with pytest.raises(StoredFileError, match="is not a keyword index"):
        KeywordIndex.open(path)
    path.unlink()
    with pytest.raises(StoredFileError, match="does not exist"):
        KeywordIndex.open(path)


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    path, index = saved
    before = path.read_bytes()
    monkeypatch.setattr(
        os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(StoredFileError, match="No space left on device"):
        index.save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_mapped_index_outlives_its_file(saved):
    path, index = saved
    opened = KeywordIndex.open(path, mmap=True)
    path.unlink()
    assert opened.stats()["mapped"]
    np.testing.assert_array_equal(opened.search([3], [1.0], 10), index.search([3], [1.0], 10))


def test_searches_go_on_during_additions():
    index = KeywordIndex.from_arrays([0, 1, 2], [0, 0], [1.0, 1.0])
    torn = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            torn.append(len(index.search([0], [1.0], 10**6)[0]) % 2)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(200):
        index.add([0, 1, 2], [0, 0], [1.0, 1.0])
    done.set()
    reader.join()
    assert sum(torn) == 0
    assert len(torn) > 0


LONG_BATCH = """
import numpy as np
from mmsrarec.retrieve.keyword_index import KeywordIndex
rng = np.random.default_rng(0)
indptr, keywords, weights = np.arange(0, 1_000_001, 10), rng.integers(0, 5, 1_000_000), np.ones(1_000_000)
index = KeywordIndex.from_arrays(indptr, keywords, weights)
print("ready", flush=True)
try:
    index.search_batch(indptr, keywords, weights, 10, threads=2)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_long_batch():
    with subprocess.Popen([sys.executable, "-c", LONG_BATCH], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1.0)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert (
            time.monotonic() - started < 5.0
        )  # well under 0.1 s on an idle machine; the batch would take a minute
