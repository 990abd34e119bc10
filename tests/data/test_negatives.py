"""Negatives: never touched, never twice, drawn from the distribution asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsrarec.data import Histories, sample_negatives
from mmsrarec.errors import InputError


@settings(max_examples=80)
@given(
    st.lists(st.lists(st.integers(0, 29), max_size=20), min_size=1, max_size=8),
    st.integers(1, 10),
    st.sampled_from(["uniform", "popularity"]),
    st.integers(0, 2**32),
)
def test_never_touched_and_never_twice(seen, n, by, seed):
    drawn = sample_negatives(seen, n=n, n_items=30, by=by, seed=seed)
    assert drawn.shape == (len(seen), n)
    assert drawn.dtype == np.int32
    for items, negatives in zip(seen, drawn.tolist(), strict=True):
        assert not set(items) & set(negatives)
        assert len(set(negatives)) == n
        assert all(0 <= item < 30 for item in negatives)
    assert np.array_equal(drawn, sample_negatives(seen, n=n, n_items=30, by=by, seed=seed))


def test_a_dataset_brings_its_size_and_all_its_events(catalogue):
    drawn = sample_negatives(catalogue, n=20, seed=1)
    for history, negatives in zip(catalogue.histories(), drawn, strict=True):
        assert not np.intersect1d(history, negatives).size
    some = sample_negatives(catalogue, n=5, users=[3, 3, 0])
    assert some.shape == (3, 5)
    assert not np.intersect1d(catalogue.histories()[3], some[:2]).size
    assert not np.array_equal(drawn, sample_negatives(catalogue, n=20, seed=2))


def test_uniform_is_uniform_when_few_and_when_many_are_left():
    for seen, untouched in (([0, 1], 8), (list(range(7)), 3)):
        drawn = sample_negatives([seen] * 30_000, n=2, n_items=10, seed=0)
        share = np.bincount(drawn.ravel(), minlength=10)[len(seen) :] / drawn.size
        assert np.abs(share - 1 / untouched).max() < 0.01


def test_popularity_is_successive_sampling():
    weights = np.array([0, 5.0, 3.0, 1.0, 1.0, 90.0])
    rows = 40_000
    drawn = sample_negatives([[5]] * rows, n=2, n_items=6, by="popularity", popularity=weights, seed=0)
    left = weights[:5] / 10
    first = np.bincount(drawn[:, 0], minlength=5) / rows
    assert np.abs(first - left).max() < 0.01
    second = sum(
        left[taken] * np.where(np.arange(5) == taken, 0, left / (1 - left[taken])) for taken in range(1, 5)
    )
    assert np.abs(np.bincount(drawn[:, 1], minlength=5) / rows - second).max() < 0.01


def test_items_nobody_chose_come_last():
    seen = Histories.from_lists([[0], [1], [1], [2]])
    drawn = sample_negatives(seen, n=4, n_items=5, by="popularity", users=[0] * 50)
    assert {tuple(sorted(row[:2])) for row in drawn.tolist()} == {(1, 2)}
    assert {tuple(sorted(row[2:])) for row in drawn.tolist()} == {(3, 4)}
    assert len({tuple(row[2:]) for row in drawn.tolist()}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be 1 or more, got 0"),
        ({"n_items": None}, "n_items must be the size of the catalogue"),
        ({"by": "random"}, "by must be 'uniform' or 'popularity', got 'random'"),
        ({"n_items": 3}, "seen holds items outside 0 … 2"),
        ({"n": 3}, "n is 3, but 1 users have fewer untouched items, first user 1 with 2 of 5"),
        ({"by": "popularity", "popularity": [1, 2]}, "popularity must be 5 finite numbers"),
        ({"by": "popularity", "popularity": [1, 2, 3, 4, -1]}, "popularity must be 5 finite numbers"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        sample_negatives([[0], [1, 2, 3, 3]], **{"n": 2, "n_items": 5, **arguments})


def test_users_who_are_short_are_named_by_their_own_number(catalogue):
    with pytest.raises(InputError, match=r"first user 7 with"):
        sample_negatives(catalogue, n=40, users=[7])
    with pytest.raises(InputError, match="n_items must be that of the dataset, 40"):
        sample_negatives(catalogue, n=2, n_items=41)
