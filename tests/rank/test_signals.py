"""Signals, the candidates chosen by them, and the features made of them, each against its plain definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.errors import InputError
from mmsrarec.rank import (
    FEATURES,
    PLAIN,
    Signals,
    choose_candidates,
    logit,
    sequence_log_probability,
    top_items,
)

NAMES = ("sequence", "keywords", "item_knn", "transitions", "neighbours", "shared_paths")


@given(
    st.lists(st.tuples(st.sampled_from([-np.inf, 0.0, 1.0, 2.5]), st.booleans()), max_size=20),
    st.integers(0, 25),
)
def test_top_items_equals_sorting(rows: list[tuple[float, bool]], count: int) -> None:
    scores = np.array([score for score, _ in rows])
    allowed = np.array([flag for _, flag in rows], bool)
    expected = sorted(
        (item for item, (score, flag) in enumerate(rows) if flag and np.isfinite(score)),
        key=lambda item: (-rows[item][0], item),
    )
    assert top_items(scores, allowed, count).tolist() == expected[:count]


def test_logit_is_finite_at_the_ends() -> None:
    values = logit(np.array([0.0, 0.25, 1.0], np.float32))
    assert np.isfinite(values).all()
    assert values[1] == pytest.approx(np.log(1 / 3))
    assert values[0] == pytest.approx(-values[2], rel=1e-6)


def test_log_probability_sums_to_one_for_huge_scores() -> None:
    scores = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], np.float32)
    assert np.exp(sequence_log_probability(scores)).sum(axis=1) == pytest.approx([1, 1])


def made_up(n_items: int, **given: dict[int, float]) -> dict[str, np.ndarray]:
    signals = {name: np.zeros(n_items) for name in NAMES}
    signals["sequence"] = -np.arange(n_items, dtype=float)
    for name, scores in given.items():
        signals[name][list(scores)] = list(scores.values())
    return signals


class TestCandidates:
    everything = np.ones(30, bool)

    def test_signals_take_turns_and_the_sequence_model_has_every_second_one(self) -> None:
        signals = made_up(30, item_knn={20: 2.0, 21: 1.0}, transitions={20: 3.0}, keywords={25: 0.1})
        found = choose_candidates(signals, self.everything, 8).tolist()
        assert found == [0, 20, 1, 2, 3, 25, 4, 5]

    def test_a_signal_with_nothing_to_say_suggests_nothing(self) -> None:
        assert choose_candidates(made_up(30), self.everything, 5).tolist() == [0, 1, 2, 3, 4]

    def test_filters_come_before_the_budget(self) -> None:
        allowed = np.zeros(30, bool)
        allowed[[7, 20, 29]] = True
        signals = made_up(30, neighbours={5: 9.0, 20: 1.0})
        assert sorted(choose_candidates(signals, allowed, 3).tolist()) == [7, 20, 29]
        assert choose_candidates(signals, np.zeros(30, bool), 3).tolist() == []

    @given(st.integers(1, 40), st.integers(0, 5))
    def test_distinct_within_the_budget_and_full_where_items_last(self, budget: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        signals = {name: rng.random(30) * (rng.random(30) < 0.3) for name in NAMES}
        signals["sequence"] = rng.normal(size=30)
        allowed = rng.random(30) < 0.8
        found = choose_candidates(signals, allowed, budget)
        assert len(set(found.tolist())) == len(found) == min(budget, allowed.sum())
        assert allowed[found].all()

    def test_bad_budget_is_named(self) -> None:
        with pytest.raises(InputError, match="candidates must be 1 or more, got 0"):
            choose_candidates(made_up(30), self.everything, 0)


@pytest.fixture(scope="module")
def popularity(catalogue) -> np.ndarray:
    return np.bincount(catalogue.histories().items, minlength=catalogue.n_items)


@pytest.fixture(scope="module")
def signals(catalogue, view, similar_users) -> Signals:
    return Signals.fit(similar_users.model_, similar_users, catalogue.histories(), view.all_keywords)


def test_signals_are_what_they_are_named(catalogue, builder, signals: Signals, similar_users) -> None:
    histories = [catalogue.histories()[user] for user in (0, 1)]
    exclude = np.array([0, 1], np.int32)
    contexts = builder.build(histories, exclude_users=exclude)
    everyone = [set(history.tolist()) for history in catalogue.histories()]
    for user, found in enumerate(signals.of(histories, contexts, exclude)):
        history = histories[user]
        scores = similar_users.model_.scores([history])
        assert found["sequence"] == pytest.approx(sequence_log_probability(scores)[0], abs=1e-5)
        assert found["item_knn"] == pytest.approx(signals.item_knn.scores([history])[0], rel=1e-5, abs=1e-6)
        assert found["transitions"] == pytest.approx(
            signals.transitions.scores([history])[0], rel=1e-5, abs=1e-6
        )
        items, by_words = signals.search.search(signals.query(contexts[user]), catalogue.n_items)
        assert found["keywords"][items] == pytest.approx(by_words)
        assert np.count_nonzero(found["keywords"]) == len(items)
        near = similar_users.search([history], 50, exclude_users=exclude[[user]])
        votes = [
            near.similarity[0][near.next_items[0] == item].clip(0).sum() for item in range(catalogue.n_items)
        ]
        assert found["neighbours"] == pytest.approx(np.array(votes), abs=1e-4)
        # The person asked for is in the data, and would be its own bridge to what it took.
        bridges = [
            sum(
                item in took and bool(took & set(history.tolist()) - {item})
                for other, took in enumerate(everyone)
                if other != user
            )
            for item in range(catalogue.n_items)
        ]
        assert found["shared_paths"].tolist() == bridges


def test_users_computed_together_are_as_if_alone(catalogue, builder, signals: Signals, monkeypatch) -> None:
    histories = [catalogue.histories()[user] for user in range(5)]
    contexts, nobody = builder.build(histories), np.full(5, -1)
    together = list(signals.of(histories, contexts, nobody))
    monkeypatch.setattr("mmsrarec.rank.signals._SCORES_AT_ONCE", 2 * catalogue.n_items)
    for one, two in zip(together, signals.of(histories, contexts, nobody), strict=True):
        for name in NAMES:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-6)


def test_features_are_columns_of_the_signals(catalogue, signals: Signals, popularity) -> None:
    rng = np.random.default_rng(0)
    given = {name: rng.random(catalogue.n_items) for name in NAMES}
    items = np.array([3, 8, 3])
    matrix = signals.features(given, np.array([1, 2, 3]), items)
    by_name = dict(zip(FEATURES, matrix.T, strict=True))
    assert np.isnan(by_name["mllm_logit"]).all()
    assert by_name["sequence"] == pytest.approx(given["sequence"][items])
    assert by_name["sequence_margin"] == pytest.approx(given["sequence"][items] - given["sequence"].max())
    above = [(given["sequence"] > given["sequence"][item]).sum() for item in items]
    assert by_name["sequence_rank"] == pytest.approx(np.log1p(above))
    assert by_name["popularity"] == pytest.approx(np.log1p(popularity[items]))
    assert by_name["history_length"] == pytest.approx(np.log1p([3, 3, 3]))
    for name in ("keywords", "neighbours", "shared_paths"):
        assert by_name[name] == pytest.approx(np.log1p(given[name][items]))
    for name in ("item_knn", "transitions"):
        assert by_name[name] == pytest.approx(np.sqrt(given[name][items]))


def test_a_user_with_nothing_has_features(builder, signals: Signals) -> None:
    empty = [np.array([], np.int32)]
    [found] = signals.of(empty, builder.build(empty), np.array([-1]))
    matrix = signals.features(found, empty[0], np.array([0, 1]))
    assert np.isfinite(matrix[:, -len(PLAIN) :]).all()
    assert signals.features(found, empty[0], np.array([], np.int64)).shape == (0, len(FEATURES))


def test_no_users(signals: Signals) -> None:
    assert list(signals.of([], [], np.empty(0, np.int32))) == []
