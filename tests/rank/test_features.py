"""The features of the blend, each against its plain definition."""

import numpy as np
import pytest

from mmsrarec.rank import FEATURES, CandidateSource, FeatureBuilder, logit, sequence_log_probability
from mmsrarec.retrieve import KeywordSearch


@pytest.fixture(scope="module")
def source(view, paths) -> CandidateSource:
    return CandidateSource(KeywordSearch(view.all_keywords), view.all_keywords, paths, budget=6)


def test_logit_is_finite_at_the_ends() -> None:
    values = logit(np.array([0.0, 0.25, 1.0], np.float32))
    assert np.isfinite(values).all()
    assert values[1] == pytest.approx(np.log(1 / 3))
    assert values[0] == pytest.approx(-values[2], rel=1e-6)


def test_log_probability_sums_to_one_for_huge_scores() -> None:
    scores = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], np.float32)
    assert np.exp(sequence_log_probability(scores)).sum(axis=1) == pytest.approx([1, 1])


def test_columns_are_what_they_are_named(catalogue, builder, source, similar_users) -> None:
    histories = [catalogue.histories()[user] for user in (0, 1)]
    exclude = np.array([0, 1], np.int32)
    contexts = builder.build(histories, exclude_users=exclude)
    candidates = [np.array([3, 8, 3]), np.array([1])]
    popularity = np.bincount(catalogue.histories().items, minlength=catalogue.n_items)
    scores = similar_users.model_.scores(histories)
    probabilities = [np.array([0.2, 0.5, 0.9], np.float32), np.array([0.5], np.float32)]
    matrices = FeatureBuilder(source, similar_users, popularity).build(
        histories, contexts, candidates, scores, probabilities, exclude_users=exclude
    )
    assert [matrix.shape for matrix in matrices] == [(3, len(FEATURES)), (1, len(FEATURES))]
    by_name = dict(zip(FEATURES, matrices[0].T, strict=True))
    assert by_name["mllm_logit"] == pytest.approx(logit(probabilities[0]))
    assert by_name["sequence"] == pytest.approx(sequence_log_probability(scores)[0, [3, 8, 3]])
    assert by_name["popularity"] == pytest.approx(np.log1p(popularity[[3, 8, 3]]))
    found = dict(
        zip(*(part.tolist() for part in source.search.search(source.query(contexts[0]), 100)), strict=True)
    )
    assert by_name["keywords"] == pytest.approx([np.log1p(found.get(item, 0)) for item in (3, 8, 3)])
    neighbours = similar_users.search(histories[:1], 50, exclude_users=exclude[:1])
    votes = [
        np.log1p(neighbours.similarity[0][(neighbours.next_items[0] == item)].clip(0).sum())
        for item in (3, 8, 3)
    ]
    assert by_name["neighbours"] == pytest.approx(votes)
    everyone = [set(history.tolist()) for history in catalogue.histories()]
    for user, (history, items, matrix) in enumerate(zip(histories, candidates, matrices, strict=True)):
        bridges = [
            sum(item in took and bool(took & set(history) - {item}) for took in everyone) for item in items
        ]
        # Each of the two asked for is in the data, and would be its own bridge to what it took.
        own = [item in everyone[user] and bool(everyone[user] - {item}) for item in items]
        found = matrix[:, FEATURES.index("shared_paths")]
        assert found == pytest.approx(np.log1p(np.array(bridges) - own))


def test_a_user_with_nothing_has_features(catalogue, builder, source, similar_users) -> None:
    empty = [np.array([], np.int32)]
    [matrix] = FeatureBuilder(source, similar_users, np.zeros(catalogue.n_items)).build(
        empty,
        builder.build(empty),
        [np.array([0, 1])],
        similar_users.model_.scores(empty),
        [np.array([0.5, 0.5], np.float32)],
    )
    assert np.isfinite(matrix).all()


def test_no_users(catalogue, source, similar_users) -> None:
    builder = FeatureBuilder(source, similar_users, np.zeros(catalogue.n_items))
    assert builder.build([], [], [], np.zeros((0, catalogue.n_items)), []) == []
