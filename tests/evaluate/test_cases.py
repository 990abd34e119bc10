from __future__ import annotations

import numpy as np
import pytest

from mmsrarec.data import Dataset, Histories
from mmsrarec.errors import InputError
from mmsrarec.evaluate import EvaluationCases

TEST = Histories.from_lists([[0, 1, 2, 3], [4], [], [5, 0]])
POPULARITY = np.asarray([50, 1, 1, 1, 1, 1, 40, 30, 20, 0])


def test_the_last_event_is_the_positive():
    cases = EvaluationCases.from_dataset(TEST, popularity=POPULARITY, negatives=3)
    assert cases.users.tolist() == [0, 3]
    assert cases.positives.tolist() == [3, 0]
    assert [history.tolist() for history in cases.histories] == [[0, 1, 2], [5]]
    assert cases.n_items == 10


def test_a_short_history_does_not_shorten_what_was_seen():
    cases = EvaluationCases.from_dataset(TEST, popularity=POPULARITY, negatives=3, history=2)
    assert [history.tolist() for history in cases.histories] == [[1, 2], [5]]
    assert [items.tolist() for items in cases.seen] == [[0, 1, 2], [5]]


def test_negatives_are_untouched_seeded_and_follow_popularity():
    test = Histories.from_lists([[0, 1]] * 400)
    first, again, other = (
        EvaluationCases.from_dataset(test, popularity=POPULARITY, negatives=2, seed=seed)
        for seed in (0, 0, 1)
    )
    for by in ("uniform", "popularity"):
        assert np.array_equal(first.negatives[by], again.negatives[by])
        assert not np.array_equal(first.negatives[by], other.negatives[by])
        assert not np.isin(first.negatives[by], [0, 1]).any()
    counts = np.bincount(first.negatives["popularity"].ravel(), minlength=10)
    assert counts[6] > 5 * counts[2]
    assert np.bincount(first.negatives["uniform"].ravel(), minlength=10)[2:].min() > 50


def test_from_a_dataset(catalogue: Dataset):
    train, _ = catalogue.hold_out_last()
    popularity = np.bincount(train.histories().items, minlength=catalogue.n_items)
    cases = EvaluationCases.from_dataset(catalogue, popularity=popularity, negatives=5)
    row = len(cases) // 2
    user = int(cases.users[row])
    assert catalogue.histories()[user][-1] == cases.positives[row]
    assert np.array_equal(train.histories()[user], cases.histories[row])


def test_select():
    cases = EvaluationCases.from_dataset(TEST, popularity=POPULARITY, negatives=3)
    for rows in (slice(1, 2), np.asarray([1]), np.asarray([False, True])):
        one = cases.select(rows)
        assert one.users.tolist() == [3]
        assert one.histories[0].tolist() == one.seen[0].tolist() == [5]
        assert np.array_equal(one.negatives["uniform"], cases.negatives["uniform"][1:])


def test_arguments_are_checked():
    with pytest.raises(InputError, match="no user with two events"):
        EvaluationCases.from_dataset(Histories.from_lists([[1], []]), popularity=POPULARITY)
    with pytest.raises(InputError, match="history must be 1 or more"):
        EvaluationCases.from_dataset(TEST, popularity=POPULARITY, history=0)
    with pytest.raises(InputError, match="fewer untouched items"):
        EvaluationCases.from_dataset(TEST, popularity=POPULARITY, negatives=20)
