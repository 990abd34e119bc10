"""Time gaps: numbers of buckets, and a model that listens to them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.data import Histories
from mmsrarec.retrieve import SequenceModel, SimilarUsers
from mmsrarec.retrieve.sequence_model.time_gaps import gap_edges, gap_numbers, some_unknown

GROUP = 15
"""Items below come soon after the one before, the others, as many, after days."""
N_ITEMS = 2 * GROUP
DAY = 86_400
SMALL = {"dimension": 16, "epochs": 30, "patience": 30, "batch_events": 128, "learning_rate": 1e-2}
times = st.one_of(st.just(math.nan), st.integers(0, 50).map(float))
users = st.lists(st.tuples(st.lists(st.tuples(st.integers(0, 4), times), max_size=6), times), max_size=5)


def patient_users(count: int = 300, seed: int = 0) -> Histories:
    """Users who take another item of the first group within a minute, or one of the second after days."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 9, count)
    late = rng.random((count, 8)) < 0.5
    orders = np.argsort(rng.random((count, 2, GROUP)))
    items = np.where(late, GROUP + orders[:, 1, :8], orders[:, 0, :8])
    gaps = np.where(late, rng.integers(DAY, 9 * DAY, late.shape), rng.integers(1, 60, late.shape))
    taken = np.arange(8) < lengths[:, None]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return Histories(indptr, items[taken].astype(np.int32), np.cumsum(gaps, axis=1)[taken])


@pytest.fixture(scope="module", params=["sasrec", "gru4rec"])
def fitted(request: pytest.FixtureRequest) -> SequenceModel:
    return SequenceModel(kind=request.param, **SMALL).fit(patient_users(), N_ITEMS)


def asked(gap: float | None) -> Histories:
    """Somebody who has just taken item 3 and asks `gap` seconds later."""
    history = Histories(np.array([0, 3]), np.array([0, 20, 3], np.int32), np.array([0, DAY, DAY + 30]))
    return history if gap is None else history.asked(DAY + 30 + gap)


def share_soon(scores: np.ndarray) -> float:
    """Return the probability of the first group."""
    odds = np.exp(scores - scores.max())
    return float(odds[:GROUP].sum() / odds.sum())


@given(users)
def test_numbers_are_those_of_a_plain_loop(people: list):
    events = [event for history, _ in people for event in history]
    histories = Histories(
        np.cumsum([0, *(len(history) for history, _ in people)]),
        np.array([item for item, _ in events], np.int32),
        np.array([moment for _, moment in events], float),
        np.array([at for _, at in people], float),
    )
    edges = torch.tensor([1.0, 3.0, 10.0])

    def number(earlier: float, later: float) -> int:
        gap = later - earlier
        return 0 if math.isnan(gap) else 1 + sum(gap >= edge for edge in edges.tolist())

    behind, ahead = [], []
    for history, at in people:
        moments = [moment for _, moment in history]
        behind += [number(a, b) for a, b in zip([math.nan, *moments], moments, strict=False)]
        ahead += [number(a, b) for a, b in zip(moments, [*moments[1:], at], strict=False)]
    assert gap_numbers(histories, edges).tolist() == [behind, ahead]


def test_what_comes_next_depends_on_when_it_is_asked(fitted: SequenceModel):
    assert fitted.reads_times_
    soon, late, any_time = (share_soon(fitted.scores(asked(gap))[0]) for gap in (20, 2 * DAY, None))
    assert soon > late + 0.4
    unknown = share_soon(fitted.scores([[0, 20, 3]])[0])
    assert late + 0.05 < any_time < soon - 0.05
    assert late + 0.05 < unknown < soon - 0.05


def test_a_fit_to_times_is_validated_with_times():
    histories = patient_users()
    unknown = Histories(histories.indptr, histories.items, np.full(len(histories.items), np.nan))
    with_times, without = (SequenceModel(**SMALL).fit(data, N_ITEMS) for data in (histories, unknown))
    assert max(with_times.validation_ndcg_) > max(without.validation_ndcg_) + 0.05


def test_the_unit_of_time_does_not_matter():
    histories = patient_users()
    finer = Histories(histories.indptr, histories.items, histories.timestamps * 1024)
    assert torch.equal(gap_numbers_of(finer), gap_numbers_of(histories))


def gap_numbers_of(histories: Histories) -> torch.Tensor:
    return torch.from_numpy(gap_numbers(histories, gap_edges(histories)))


def test_places_in_the_order_are_no_times():
    lists = [items.tolist() for items in patient_users(40)]
    untimed = Histories.from_lists(lists)
    places = np.concatenate([np.arange(len(items)) for items in lists])
    ordered = Histories(untimed.indptr, untimed.items, places)
    models = [
        SequenceModel(**{**SMALL, "epochs": 2}).fit(histories, N_ITEMS) for histories in (untimed, ordered)
    ]
    assert not any(model.reads_times_ for model in models)
    assert models[0].fingerprint_ == models[1].fingerprint_
    assert (models[1].scores(ordered) == models[1].scores(untimed)).all()


def test_a_stored_or_grown_model_still_reads_times(fitted: SequenceModel, tmp_path: Path):
    fitted.save(tmp_path / "model")
    loaded = SequenceModel.load(tmp_path / "model")
    assert loaded.reads_times_
    assert loaded.fingerprint_ == fitted.fingerprint_
    for gap in (20, 2 * DAY):
        assert (loaded.scores(asked(gap)) == fitted.scores(asked(gap))).all()
    loaded.grow(N_ITEMS + 2)
    assert np.allclose(loaded.scores(asked(20))[:, :N_ITEMS], fitted.scores(asked(20)), atol=1e-6)


def test_a_position_of_a_history_equals_the_question_then(fitted: SequenceModel):
    histories = patient_users(3, seed=5)
    owner = np.repeat(np.arange(3), histories.lengths - 1)
    cuts = np.concatenate([np.arange(1, length) for length in histories.lengths])
    moments = fitted.user_embeddings(histories.before(owner, cuts))
    positions = fitted.position_embeddings(histories)[histories.indptr[owner] + cuts - 1]
    np.testing.assert_allclose(positions, moments, atol=1e-5)


def test_similar_users_are_those_who_waited_as_long(fitted: SequenceModel):
    similar = SimilarUsers().fit(fitted, patient_users())
    soon, late = (similar.search(asked(gap), 20).next_items[0] for gap in (20, 2 * DAY))
    assert (soon < GROUP).mean() > 0.9
    assert (late >= GROUP).mean() > 0.9


def test_some_gaps_are_hidden_in_training():
    numbers = np.ones((2, 1000, 20), np.int64)
    behind, ahead = some_unknown(numbers, np.random.default_rng(0))
    whole = (behind == 0).all(axis=1)
    assert 0.07 < whole.mean() < 0.13
    assert ((behind == 0).any(axis=1) == whole).all()
    assert (ahead[whole] == 0).all()
    assert 0.08 < (ahead[~whole] == 0).mean() < 0.12
