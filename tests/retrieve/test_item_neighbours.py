from __future__ import annotations

import numpy as np
import pytest

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.retrieve import ItemKNN, Transitions

TRAINING = Histories.from_lists([[0, 1, 2], [1, 2, 2], [0, 1], [3], []])


def test_item_knn_is_the_formula_written_out():
    rng = np.random.default_rng(0)
    histories = [rng.integers(0, 12, rng.integers(0, 9)).tolist() for _ in range(40)]
    model = ItemKNN(recency=0.7).fit(Histories.from_lists(histories), 12)
    touched = np.asarray([np.isin(np.arange(12), items) for items in histories], float)
    users = touched.sum(axis=0)
    cosine = touched.T @ touched / np.sqrt(np.outer(users, users))
    np.fill_diagonal(cosine, 0)
    asker = [3, 7, 3, 1]
    expected = sum(0.7**age * cosine[item] for age, item in enumerate(reversed(asker)))
    expected = expected + 1e-6 * users / users.max()
    scores = model.scores([asker])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5, atol=1e-8)
    candidates = np.asarray([[5, 2, 2]])
    np.testing.assert_array_equal(model.scores([asker], candidates), scores[:, [5, 2, 2]])


@pytest.mark.parametrize("model", [ItemKNN, Transitions])
def test_histories_stay_as_they_are(model):
    asked = Histories.from_lists([[2, 0, 2], [3, 1]])
    model().fit(TRAINING, 5).scores(asked)
    assert [history.tolist() for history in asked] == [[2, 0, 2], [3, 1]]


def test_histories_scored_a_few_at_a_time_score_alike(monkeypatch):
    model = ItemKNN().fit(TRAINING, 5)
    asked = [[1], [], [0, 2, 0], [3], [4, 1]]
    together = model.scores(asked)
    monkeypatch.setattr("mmsrarec.retrieve.item_neighbours._PAIRS_AT_ONCE", 2 * len(TRAINING))
    np.testing.assert_array_equal(model.scores(asked), together)


def test_an_item_taken_alone_is_not_near_itself():
    scores = ItemKNN().fit(TRAINING, 5).scores([[1], [1, 1], [4]])
    assert scores[0, 1] == scores[1, 1] == pytest.approx(1e-6)  # the tie-break of the most popular
    assert scores[2].max() == scores[0, 1]  # nobody took item 4


def test_item_knn_of_an_empty_history_is_popularity():
    scores = ItemKNN().fit(TRAINING, 5).scores([[], [0]])
    assert scores.shape == (2, 5)
    assert np.argsort(-scores[0], kind="stable").tolist() == [1, 0, 2, 3, 4]


def test_transitions_are_the_formula_written_out():
    rng = np.random.default_rng(1)
    histories = [rng.integers(0, 9, rng.integers(0, 8)).tolist() for _ in range(30)]
    model = Transitions(recency=0.5).fit(Histories.from_lists(histories), 9)
    counted = np.zeros((9, 9))
    for items in histories:
        for place, item in enumerate(items):
            for step, later in enumerate(items[place + 1 : place + 4], start=1):
                counted[item, later] += 1 / step
    probability = counted / np.maximum(counted.sum(axis=1, keepdims=True), 1e-12)
    expected = probability[2] + 0.5 * probability[8]
    scores = model.scores([[8, 2], []])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)
    assert not scores[1].any()
    np.testing.assert_array_equal(model.scores([[8, 2]], [[3, 3, 0]]), scores[:1, [3, 3, 0]])


@pytest.mark.parametrize("model", [ItemKNN, Transitions])
@pytest.mark.parametrize("recency", [0, 1.5, float("nan")])
def test_recency_is_checked(model, recency: float):
    with pytest.raises(InputError, match=f"recency must be above 0 and up to 1, got {recency}"):
        model(recency=recency)
