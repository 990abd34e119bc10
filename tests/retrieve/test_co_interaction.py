"""Evidence of co-interaction against its definition, user by user in plain Python."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.errors import InputError
from mmsrarec.retrieve import Bridges, CoInteraction

N_ITEMS = 9
item_lists = st.lists(st.integers(0, N_ITEMS - 1), max_size=8)
user_lists = st.lists(item_lists, max_size=25)
Path = tuple[int, int, float]


def build(users: list[list[int]], cap: int = 10_000, n_items: int = N_ITEMS) -> CoInteraction:
    indptr = np.cumsum([0, *map(len, users)])
    items = np.array([item for row in users for item in row], np.int32)
    return CoInteraction.from_arrays(indptr, items, n_items, cap=cap)


def brute_force(
    users: list[list[int]], cap: int, history: list[int], candidate: int, exclude_user: int
) -> list[Path]:
    """All paths to one candidate, strongest first."""
    sets = [set(row) for row in users]
    takers = {item: sum(item in taken for taken in sets) for item in range(N_ITEMS)}
    paths = []
    for user, taken in enumerate(sets):
        shared = {item for item in taken & set(history) if takers[item] <= cap and item != candidate}
        if user == exclude_user or candidate not in taken or not shared:
            continue
        weight = sum(round(math.log(1 + len(sets) / takers[item]) * 2**20) / 2**20 for item in shared)
        rarest = min(shared, key=lambda item: (takers[item], item))
        paths.append((user, rarest, float(np.float32(weight / math.sqrt(len(taken))))))
    return sorted(paths, key=lambda path: (-path[2], path[0]))


def rows_of(bridges: Bridges) -> list[list[Path]]:
    """The paths of each candidate without padding, which must be at the end and uniform."""
    rows = []
    for users, items, strengths in zip(bridges.users, bridges.items, bridges.strengths, strict=True):
        found = int((users >= 0).sum())
        assert (users[found:] == -1).all()
        assert (items[found:] == -1).all()
        assert (strengths[found:] == 0).all()
        rows.append(
            list(zip(users[:found].tolist(), items[:found].tolist(), strengths[:found].tolist(), strict=True))
        )
    return rows


@given(
    users=user_lists,
    history=item_lists,
    candidates=item_lists,
    max_paths=st.integers(0, 6),
    cap=st.integers(0, 12) | st.just(10_000),
    data=st.data(),
)
def test_evidence_equals_brute_force(users, history, candidates, max_paths, cap, data):
    exclude_user = data.draw(st.integers(-1, len(users) - 1))
    counts, bridges = build(users, cap).evidence(history, candidates, max_paths, exclude_user=exclude_user)
    assert counts.dtype == bridges.users.dtype == bridges.items.dtype == np.int32
    assert bridges.strengths.dtype == np.float32
    shape = (len(candidates), max_paths)
    assert bridges.users.shape == bridges.items.shape == bridges.strengths.shape == shape
    wanted = [brute_force(users, cap, history, candidate, exclude_user) for candidate in candidates]
    assert counts.tolist() == [len(paths) for paths in wanted]
    assert rows_of(bridges) == [paths[:max_paths] for paths in wanted]


def test_rare_and_popular_items_equal_brute_force():
    """Items that few of many users took are kept as ids, the others as bits; both meet here."""
    rng = np.random.default_rng(3)
    share = 1.0 / np.arange(1, N_ITEMS + 1) ** 3
    users = [rng.choice(N_ITEMS, rng.integers(1, 4), p=share / share.sum()).tolist() for _ in range(400)]
    for cap in (10_000, 100, 5):
        paths = build(users, cap)
        for _ in range(20):
            history = rng.integers(0, N_ITEMS, rng.integers(0, 6)).tolist()
            wanted = [brute_force(users, cap, history, item, 17) for item in range(N_ITEMS)]
            for max_paths in (0, 3):
                counts, bridges = paths.evidence(history, np.arange(N_ITEMS), max_paths, exclude_user=17)
                assert counts.tolist() == [len(found) for found in wanted]
                assert rows_of(bridges) == [found[:max_paths] for found in wanted]


@given(users=user_lists, history=item_lists, candidates=item_lists, shuffle=st.randoms())
def test_order_and_repetition_change_nothing(users, history, candidates, shuffle):
    counts, bridges = build(users).evidence(history, candidates)
    mixed = [row + row[:2] for row in users]
    for row in mixed:
        shuffle.shuffle(row)
    repeated = history + history[:3]
    shuffle.shuffle(repeated)
    again, bridges_again = build(mixed).evidence(repeated, candidates)
    assert again.tolist() == counts.tolist()
    assert rows_of(bridges_again) == rows_of(bridges)


def test_a_bridge_that_shares_rarer_items_is_stronger_and_one_that_took_everything_is_weaker():
    users = [[0, 5], [1, 5], [0], [0], [0], [0, 1, 2, 3, 4, 5, 6, 7, 8]]
    _, bridges = build(users).evidence([0, 1], [5])
    assert bridges.users[0].tolist() == [1, 5, 0, -1, -1]
    assert bridges.items[0].tolist() == [1, 1, 0, -1, -1]


def test_an_item_over_the_cap_is_no_shared_item_but_may_be_a_candidate():
    users = [[0, 1], [0, 2], [0, 1, 3]]
    assert build(users, cap=3).evidence([0], [1, 2])[0].tolist() == [2, 1]
    assert build(users, cap=2).evidence([0], [1, 2])[0].tolist() == [0, 0]
    assert build(users, cap=2).evidence([1, 3], [0])[0].tolist() == [2]


def test_nobody_is_their_own_bridge():
    users = [[0, 1], [0, 1, 2]]
    paths = build(users)
    for user in range(2):
        counts, bridges = paths.evidence([0, 1], [0, 1, 2], exclude_user=user)
        assert user not in bridges.users
        assert counts.tolist() == ([1, 1, 1] if user == 0 else [1, 1, 0])


def test_a_candidate_of_the_history_needs_another_shared_item():
    counts, bridges = build([[0], [0, 1], [0, 1]]).evidence([0, 1], [0, 0])
    assert counts.tolist() == [2, 2]
    assert bridges.items[0].tolist() == [1, 1, -1, -1, -1]
    assert build([[0], [0]]).evidence([0], [0])[0].tolist() == [0]


def test_nothing_asked_or_nothing_known():
    nobody = CoInteraction.from_arrays([0], [], 3)
    counts, bridges = nobody.evidence([0, 1], [2])
    assert counts.tolist() == [0]
    assert bridges.users.tolist() == [[-1] * 5]
    assert build([[0, 1]]).evidence([], [1])[0].tolist() == [0]
    counts, bridges = build([[0, 1]]).evidence([0], [])
    assert counts.shape == (0,)
    assert bridges.users.shape == (0, 5)
    assert CoInteraction.from_arrays([0, 0], [], 0).evidence([], [])[0].tolist() == []
    counts, bridges = build([[0, 1]]).evidence([0], [1], max_paths=0)
    assert (counts.tolist(), bridges.users.shape) == ([1], (1, 0))


def one_user() -> CoInteraction:
    return build([[0, 1]], n_items=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CoInteraction.from_arrays([], [], 1), "indptr is empty"),
        (lambda: CoInteraction.from_arrays([1, 1], [0], 1), r"indptr\[0\] must be 0, got 1"),
        (lambda: CoInteraction.from_arrays([0, 2, 1], [0], 1), r"indptr\[2\] must not be below indptr\[1\] = 2"),
        (lambda: CoInteraction.from_arrays([0, 1], [0, 0], 1), r"indptr\[1\] must be the number of items, 2, got 1"),
        (lambda: CoInteraction.from_arrays([0, 1], [1], 1), r"items\[0\] = 1 is no item; .* n_items - 1 = 0"),
        (lambda: CoInteraction.from_arrays([0, 1], [0], 0), "n_items is 0, so there are none"),
        (lambda: CoInteraction.from_arrays([0, 1], [-1], 1), r"items\[0\] must lie in 0\.\.2147483647, got -1"),
        (lambda: CoInteraction.from_arrays([0, 1], [0.5], 1), "items must hold integers, got float64"),
        (lambda: CoInteraction.from_arrays([0, 1], [0], -1), "n_items must be an integer of 0 or more, got -1"),
        (lambda: CoInteraction.from_arrays([0, 1], [0], 2**40), r"n_items must lie in 0\.\.2147483647"),
        (lambda: CoInteraction.from_arrays([0, 1], [0], 1, cap=-1), "cap must be an integer of 0 or more, got -1"),
        (lambda: one_user().evidence([2], [0]), r"history\[0\] = 2 is no item; ids run from 0 to n_items - 1 = 1"),
        (lambda: one_user().evidence([0], [1, 7]), r"candidates\[1\] = 7 is no item"),
        (lambda: one_user().evidence([[0]], [1]), r"history must have one dimension, got shape \(1, 1\)"),
        (lambda: one_user().evidence([0], [1], -1), "max_paths must be an integer of 0 or more, got -1"),
        (lambda: one_user().evidence([0], [1], 1.5), "max_paths must be an integer of 0 or more, got 1.5"),
        (lambda: one_user().evidence([0], [1], exclude_user=1), r"exclude_user must lie in -1\.\.0, got 1"),
        (lambda: one_user().evidence([0], [1], exclude_user=-2), r"exclude_user must lie in -1\.\.0, got -2"),
        (lambda: one_user().evidence([0], [1], exclude_user=None), "exclude_user must be an integer, .* got None"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_many_threads_get_the_answers_of_one():
    rng = np.random.default_rng(0)
    paths = CoInteraction.from_arrays(np.arange(0, 40_001, 10), rng.integers(0, 300, 40_000), 300)
    histories = [rng.integers(0, 300, 20) for _ in range(60)]
    candidates = rng.integers(0, 300, 21)

    def ask(history: np.ndarray) -> tuple[list[int], list[list[Path]]]:
        counts, bridges = paths.evidence(history, candidates, exclude_user=7)
        return counts.tolist(), rows_of(bridges)

    wanted = [ask(history) for history in histories]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, histories)) == wanted


def test_memory_is_what_is_documented():
    paths = build([[0, 1, 1], [2]], n_items=4)
    assert (paths.n_users, paths.n_items, paths.cap) == (2, 4, 10_000)
    interactions, items, users, bits = 4 * 3, 8 * (4 + 1) + 4 * 4, 4 * 2, 8 * 3
    assert paths.nbytes == interactions + items + users + bits
