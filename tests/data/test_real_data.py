"""The real data sets: read whole and fast, nothing dropped, protocol numbers as published."""

import time

import pytest

from mmsrarec.data import Dataset, read_microlens, read_movielens, sample_negatives

LOAD_SECONDS = 3.0


@pytest.fixture(scope="module")
def posters(data_folder) -> Dataset:
    return read_movielens(data_folder / "movielens-posters", strict=True)


@pytest.fixture(scope="module")
def microlens(data_folder) -> Dataset:
    folder = data_folder / "microlens-50k"
    return read_microlens(folder / "interactions.csv.gz", folder / "items.csv.gz", strict=True)


def seconds(read) -> float:
    times = []
    for _ in range(2):
        started = time.perf_counter()
        read()
        times.append(time.perf_counter() - started)
    return min(times)


def test_posters_are_read_whole_and_fast(posters, data_folder):
    assert (posters.n_users, posters.n_items, posters.n_interactions) == (500, 2872, 46_956)
    assert posters.items["image"].is_not_null().all()
    assert posters.item_content(0).picture.load().mode == "RGB"
    assert posters.item_text(0).startswith("Toy Story (1995). A cowboy doll")
    folder = data_folder / "movielens-posters"
    files = folder / "interactions.csv", folder / "items.csv"
    assert Dataset.from_csv(*files, images=folder / "images").fingerprint == posters.fingerprint
    assert seconds(lambda: Dataset.from_csv(*files, images=folder / "images")) < LOAD_SECONDS


def test_microlens_is_read_whole_and_fast(microlens, data_folder):
    assert (microlens.n_users, microlens.n_items, microlens.n_interactions) == (50_000, 19_220, 359_708)
    assert microlens.histories().lengths.min() >= 5
    folder = data_folder / "microlens-50k"
    files = folder / "interactions.csv.gz", folder / "items.csv.gz"
    assert Dataset.from_csv(*files).fingerprint == microlens.fingerprint
    assert seconds(lambda: Dataset.from_csv(*files)) < LOAD_SECONDS


def test_the_papers_protocol_on_microlens(microlens):
    train, valid, test = microlens.split(by="user", ratios=(8, 1, 1), seed=0)
    assert (train.n_users, valid.n_users, test.n_users) == (40_000, 5_000, 5_000)
    rest, held = test.hold_out_last()
    assert (held.lengths == 1).all()
    assert rest.n_interactions == test.n_interactions - 5_000
    negatives = sample_negatives(test, n=20, seed=0)
    for history, drawn in zip(list(test.histories())[:200], negatives, strict=False):
        assert len({*history.tolist(), *drawn.tolist()}) == len(history) + 20
