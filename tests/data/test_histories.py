"""Histories: rows of a flat array, their times, and moments of the past."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.data import Histories
from mmsrarec.errors import InputError

lists = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6)


def timed(histories: list[list[int]]) -> Histories:
    """Give the events the times 0, 10, 20, … throughout."""
    flat = Histories.from_lists(histories)
    return Histories(flat.indptr, flat.items, np.arange(len(flat.items)) * 10)


def test_histories_select_iterate_and_refuse():
    histories = Histories(np.array([0, 2, 2, 3]), np.array([3, 1, 2], np.int32), np.array([5, 9, 7]))
    chosen = histories.select([2, 0, 2])
    assert [each.tolist() for each in chosen] == [[2], [3, 1], [2]]
    assert chosen.timestamps.tolist() == [7, 5, 9, 7]
    assert chosen.asked_at is None
    assert histories[-1].tolist() == [2]
    assert histories[0].dtype == np.int32
    with pytest.raises(IndexError, match="user 3 is outside"):
        histories[3]
    with pytest.raises(InputError, match="indptr must rise to the number of events, 2"):
        Histories(np.array([0, 3]), np.array([1, 2], np.int32), np.array([0, 1]))
    with pytest.raises(InputError, match=r"asked_at must have the shape \(3,\), got \(2,\)"):
        Histories(histories.indptr, histories.items, histories.timestamps, np.zeros(2))
    assert len(Histories.from_lists([])) == 0


@given(lists, st.integers(-7, 7), st.integers(-7, 7))
def test_a_slice_is_that_of_a_list(histories: list[list[int]], start: int, stop: int):
    chosen = timed(histories).asked(np.arange(len(histories)))[start:stop]
    assert [each.tolist() for each in chosen] == histories[start:stop]
    assert chosen.asked_at.tolist() == list(range(len(histories)))[start:stop]


@given(lists, st.integers(0, 4))
def test_recent_keeps_the_last_events(histories: list[list[int]], n: int):
    recent = timed(histories).recent(n)
    assert [each.tolist() for each in recent] == [items[-n:] if n else [] for items in histories]


@given(lists.map(lambda histories: [items for items in histories if items]))
def test_the_last_event_tells_when_its_history_is_asked(histories: list[list[int]]):
    whole = timed(histories)
    before = whole.without_last()
    assert [each.tolist() for each in before] == [items[:-1] for items in histories]
    assert whole.last_items.tolist() == [items[-1] for items in histories]
    assert whole.items_at(np.arange(len(whole)), before.lengths).tolist() == whole.last_items.tolist()
    assert before.asked_at.tolist() == whole.timestamps[whole.indptr[1:] - 1].tolist()


def test_lists_have_no_times_and_histories_stay_themselves():
    histories = Histories.from_lists([[3, 1], [2]])
    assert np.isnan(histories.timestamps).all()
    assert Histories.of(histories) is histories
    assert [each.tolist() for each in Histories.of([[3], np.array([1])])] == [[3], [1]]
    assert histories.asked(5).asked_at.tolist() == [5, 5]
