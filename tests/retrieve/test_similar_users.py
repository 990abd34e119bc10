from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsrarec.data import Histories
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.retrieve.sequence_model import SequenceModel
from mmsrarec.retrieve.similar_users import SimilarUsers

N_ITEMS = 25


def histories_of(users: int = 80, seed: int = 0) -> Histories:
    rng = np.random.default_rng(seed)
    return Histories.from_lists(
        [((rng.integers(N_ITEMS) + np.arange(rng.integers(0, 16))) % N_ITEMS).tolist() for _ in range(users)]
    )


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    return SequenceModel(dimension=16, epochs=3, max_length=10, learning_rate=5e-3).fit(
        histories_of(), N_ITEMS
    )


@pytest.fixture(scope="module")
def similar(model: SequenceModel) -> SimilarUsers:
    return SimilarUsers(positions=4).fit(model, histories_of())


def brute_force(
    model: SequenceModel, histories: Histories, positions: int, asker: list[int], k: int, excluded: int
) -> list[tuple[int, int, float]]:
    """All positions one by one, as the method is written."""
    query = model.user_embeddings([asker])[0]
    query /= np.linalg.norm(query)
    by_event = model.position_embeddings(histories)
    best: dict[int, tuple[float, int, int]] = {}
    for user in range(len(histories)):
        items = histories[user]
        for position in range(max(0, len(items) - 1 - positions), len(items) - 1):
            following = int(items[position + 1])
            if user == excluded or following in asker:
                continue
            vector = by_event[histories.indptr[user] + position]
            similarity = round(float(query @ vector / np.linalg.norm(vector)), 6)
            if user not in best or similarity > best[user][0]:
                best[user] = (similarity, position, following)
    ranked = sorted(best.items(), key=lambda entry: (-entry[1][0], entry[0]))[:k]
    return [(user, following, similarity) for user, (similarity, _, following) in ranked]


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=14),
    st.integers(1, 90),
    st.integers(-1, 79),
)
def test_equals_brute_force(model, similar, asker: list[int], k: int, excluded: int):
    found = similar.search([asker], k, exclude_users=[excluded])
    expected = brute_force(model, histories_of(), 4, asker, k, excluded)
    count = len(expected)
    assert found.users.shape == found.next_items.shape == found.similarity.shape == (1, k)
    assert (found.users[0, count:] == -1).all()
    assert (found.next_items[0, count:] == -1).all()
    np.testing.assert_allclose(found.similarity[0, :count], [row[2] for row in expected], atol=2e-6)
    users = found.users[0, :count].tolist()
    assert len(set(users)) == count
    assert excluded not in users
    assert not set(found.next_items[0, :count].tolist()) & set(asker)
    # Two users whose cosines agree to rounding may change places between the two computations.
    gaps = -np.diff([row[2] for row in expected])
    if (gaps > 3e-6).all() and count < k:
        assert users == [row[0] for row in expected]


def test_equal_similarities_come_in_order_of_users(model: SequenceModel):
    histories = Histories.from_lists([[0, 1, 2]] * 40 + [[0, 1, 3]] * 40)
    found = SimilarUsers().fit(model, histories).search([[0, 1]], k=60)
    assert found.users[0].tolist() == list(range(60))
    assert found.next_items[0].tolist() == [2] * 40 + [3] * 20


def test_a_next_item_already_seen_gives_way_to_the_next_best(model: SequenceModel):
    histories = Histories.from_lists([[0, 1, 2], [5, 6, 7], [0, 1, 9]])
    similar = SimilarUsers().fit(model, histories)
    assert similar.search([[0, 1]], k=1).next_items.tolist() == [[2]]
    asker = [2, 0, 1]
    assert 2 not in similar.search([asker], k=3).next_items
    assert set(similar.search([asker], k=3).users[0].tolist()) == {1, 2, -1}


def test_rows_are_independent_of_the_batch(similar: SimilarUsers):
    askers = [[1, 2, 3], [], [9], [20, 21]]
    together = similar.search(askers, k=5)
    for row, asker in enumerate(askers):
        alone = similar.search([asker], k=5)
        assert together.users[row].tolist() == alone.users[0].tolist()
    assert (together.users[1] == -1).all()
    assert similar.search([], k=2).users.shape == (0, 2)


def test_an_empty_knowledge_base_finds_nobody(model: SequenceModel):
    similar = SimilarUsers().fit(model, Histories.from_lists([[1], []]))
    assert similar.search([[1, 2]], k=2).users.tolist() == [[-1, -1]]
    assert SimilarUsers().fit(model, Histories.from_lists([])).search([[1]], k=1).users.tolist() == [[-1]]


def test_keeps_the_most_recent_positions_only(model: SequenceModel):
    similar = SimilarUsers(positions=2).fit(model, Histories.from_lists([list(range(10)), [3, 4]]))
    assert similar.users_.tolist() == [0, 0, 1]
    assert similar.next_items_.tolist() == [8, 9, 4]


def test_chunks_of_users_do_not_show(model: SequenceModel, monkeypatch: pytest.MonkeyPatch):
    histories = histories_of(30)
    whole = SimilarUsers().fit(model, histories)
    monkeypatch.setattr("mmsrarec.retrieve.similar_users._USERS_AT_ONCE", 7)
    parts = SimilarUsers().fit(model, histories)
    assert parts.users_.tolist() == whole.users_.tolist()
    assert parts.next_items_.tolist() == whole.next_items_.tolist()


class TestStorage:
    def test_searches_the_same_after_load(self, similar: SimilarUsers, tmp_path: Path):
        similar.save(tmp_path / "users")
        loaded = SimilarUsers.load(tmp_path / "users", similar.model_)
        left, right = (one.search([[1, 2, 3], [7]], k=6) for one in (similar, loaded))
        assert np.array_equal(left.users, right.users)
        assert np.array_equal(left.next_items, right.next_items)
        assert np.array_equal(left.similarity, right.similarity)
        assert loaded.positions == similar.positions

    def test_another_model_is_refused(self, similar: SimilarUsers, tmp_path: Path):
        similar.save(tmp_path / "users")
        other = SequenceModel(dimension=16, epochs=1, seed=5).fit(histories_of(), N_ITEMS)
        with pytest.raises(StoredFileError, match="another sequence model"):
            SimilarUsers.load(tmp_path / "users", other)

    def test_a_truncated_file_is_named(self, similar: SimilarUsers, tmp_path: Path):
        similar.save(tmp_path / "users")
        path = tmp_path / "users" / "entries.safetensors"
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(StoredFileError, match=r"entries\.safetensors"):
            SimilarUsers.load(tmp_path / "users", similar.model_)


def test_arguments_are_checked(similar: SimilarUsers):
    with pytest.raises(InputError, match="positions must be a whole number of 1 or more, got 0"):
        SimilarUsers(positions=0)
    with pytest.raises(InputError, match="k must be a whole number of 1 or more, got 0"):
        similar.search([[1]], k=0)
    with pytest.raises(InputError, match="exclude_users must have one id for each of the 2 histories"):
        similar.search([[1], [2]], k=1, exclude_users=[3])
    with pytest.raises(InputError, match="item ids from 0 to 24, got 99"):
        similar.search([[99]], k=1)
