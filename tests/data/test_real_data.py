"""The real data sets: read whole, nothing dropped, protocol numbers as published."""

import pytest

from mmsrarec.data import Dataset, read_microlens, read_movielens, sample_negatives


@pytest.fixture(scope="module")
def posters(data_folder) -> Dataset:
    return read_movielens(data_folder / "movielens-posters", strict=True)


@pytest.fixture(scope="module")
def microlens(data_folder) -> Dataset:
    folder = data_folder / "microlens-50k"
    return read_microlens(folder / "interactions.csv.gz", folder / "items.csv.gz", strict=True)


def test_posters_are_read_whole(posters, data_folder):
    assert (posters.n_users, posters.n_items, posters.n_interactions) == (500, 2872, 46_956)
    assert posters.items["image"].is_not_null().all()
    assert posters.item_content(0).picture.load().mode == "RGB"
    assert posters.item_text(0).startswith("Toy Story (1995). A cowboy doll")
    folder = data_folder / "movielens-posters"
    files = folder / "interactions.csv", folder / "items.csv"
    assert Dataset.from_csv(*files, images=folder / "images").fingerprint == posters.fingerprint


def test_microlens_is_read_whole(microlens, data_folder):
    assert (microlens.n_users, microlens.n_items, microlens.n_interactions) == (50_000, 19_220, 359_708)
    assert microlens.histories().lengths.min() >= 5
    folder = data_folder / "microlens-50k"
    files = folder / "interactions.csv.gz", folder / "items.csv.gz"
    assert Dataset.from_csv(*files).fingerprint == microlens.fingerprint


def test_the_papers_protocol_on_microlens(microlens):
    train, valid, test = microlens.split(by="user", ratios=(8, 1, 1), seed=0)
    assert (train.n_users, valid.n_users, test.n_users) == (40_000, 5_000, 5_000)
    rest, held = test.hold_out_last()
    assert (held.lengths == 1).all()
    assert rest.n_interactions == test.n_interactions - 5_000
    negatives = sample_negatives(test, n=20, seed=0)
    for history, drawn in zip(list(test.histories())[:200], negatives, strict=False):
        assert len({*history.tolist(), *drawn.tolist()}) == len(history) + 20
