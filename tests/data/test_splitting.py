"""Splits, k-core and held-out events: nothing lost, nothing twice, nothing from the future."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsrarec.data import Dataset
from mmsrarec.errors import InputError

events_strategy = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 9), st.integers(0, 20)),
    max_size=60,
    unique_by=lambda e: e[:2],
)


def dataset_of(events: list[tuple[int, int, int]]) -> Dataset:
    names = {"user_id": pl.Int64, "item_id": pl.Int64, "timestamp": pl.Int64}
    items = pl.DataFrame({"item_id": range(10)})
    return Dataset.from_frames(pl.DataFrame(events, schema=names, orient="row"), items)


def rows(data: Dataset) -> set[tuple]:
    user = data.user_ids.gather(data.interactions["user"]).to_list()
    item = data.item_ids.gather(data.interactions["item"]).to_list()
    return set(zip(user, item, data.interactions["timestamp"].to_list(), strict=True))


@settings(max_examples=40)
@given(events_strategy, st.sampled_from(["user", "time"]), st.integers(0, 3))
def test_parts_are_disjoint_and_complete(events, by, seed):
    data = dataset_of(events)
    parts = data.split(by=by, ratios=(6, 2, 2), seed=seed)
    assert set().union(*map(rows, parts)) == rows(data)
    assert sum(part.n_interactions for part in parts) == data.n_interactions
    for part in parts:
        assert part.item_ids is data.item_ids
        assert part.interactions["user"].n_unique() == part.n_users
        assert part.interactions.equals(part.interactions.sort("user", "timestamp", maintain_order=True))


def test_users_are_in_one_part_and_shares_are_kept(catalogue):
    train, valid, test = catalogue.split(ratios=(8, 1, 1), seed=3)
    assert (train.n_users, valid.n_users, test.n_users) == (48, 6, 6)
    users = [set(part.user_ids.to_list()) for part in (train, valid, test)]
    assert not users[0] & users[1]
    assert not users[0] & users[2]
    assert not users[1] & users[2]
    again, other = catalogue.split(seed=3)[2], catalogue.split(seed=4)[2]
    assert again.fingerprint == test.fingerprint != other.fingerprint


def test_time_goes_forward(catalogue):
    parts = catalogue.split(by="time", ratios=(6, 2, 2))
    bounds = [(p.interactions["timestamp"].min(), p.interactions["timestamp"].max()) for p in parts]
    assert bounds[0][1] < bounds[1][0]
    assert bounds[1][1] < bounds[2][0]


def test_events_of_one_moment_stay_together():
    data = dataset_of([(user, user % 10, 5) for user in range(10)] + [(20, 0, 6)])
    train, valid, test = data.split(by="time", ratios=(5, 3, 2))
    assert [part.n_interactions for part in (train, valid, test)] == [10, 0, 1]


@pytest.mark.parametrize("n_users", [1, 2, 3, 5, 9, 100])
def test_small_shares_get_a_user_where_there_are_enough(n_users):
    sizes = [part.n_users for part in dataset_of([(u, 0, 1) for u in range(n_users)]).split()]
    assert sum(sizes) == n_users
    assert min(sizes) >= (1 if n_users >= 3 else 0)
    assert dataset_of([(u, 0, 1) for u in range(5)]).split(ratios=(8, 2, 0))[2].n_users == 0


@pytest.mark.parametrize("ratios", [(8, 1), (8, 1, -1), (0, 0, 0), (1, 1, float("nan")), "abc", None])
def test_bad_ratios_are_named(ratios, catalogue):
    with pytest.raises(InputError, match="ratios must be three numbers"):
        catalogue.split(ratios=ratios)


def test_bad_arguments_are_named(catalogue):
    with pytest.raises(InputError, match="by must be 'user' or 'time', got 'item'"):
        catalogue.split(by="item")
    with pytest.raises(InputError, match="k must be 1 or more, got 0"):
        catalogue.k_core(0)
    with pytest.raises(InputError, match="n must be 1 or more, got 0"):
        catalogue.hold_out_last(0)


@settings(max_examples=40)
@given(events_strategy, st.integers(1, 4))
def test_the_core_is_the_largest_that_holds(events, k):
    core = dataset_of(events).k_core(k)
    expected = set(events)
    while True:
        users = [event[0] for event in expected]
        items = [event[1] for event in expected]
        kept = {e for e in expected if users.count(e[0]) >= k and items.count(e[1]) >= k}
        if kept == expected:
            break
        expected = kept
    assert rows(core) == expected
    assert core.n_users == len({event[0] for event in expected})
    assert core.n_items == len({event[1] for event in expected})
    assert len(core.items) == core.n_items


def test_the_core_of_users_keeps_the_catalogue():
    data = dataset_of([(1, 1, 1), (1, 2, 2), (2, 1, 1)])
    core = data.k_core(2, items=False)
    assert (core.n_users, core.n_items) == (1, 10)


@settings(max_examples=40)
@given(events_strategy, st.integers(1, 3))
def test_held_out_events_are_the_last(events, n):
    data = dataset_of(events)
    rest, held = data.hold_out_last(n)
    assert rest.user_ids is data.user_ids
    assert len(held) == data.n_users
    for user, whole in enumerate(data.histories()):
        split = len(whole) - n if len(whole) > n else len(whole)
        assert rest.histories()[user].tolist() == whole[:split].tolist()
        assert held[user].tolist() == whole[split:].tolist()
