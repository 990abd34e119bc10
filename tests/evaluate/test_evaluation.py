from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.evaluate import EvaluationCases, evaluate
from mmsrarec.retrieve import ItemKNN, SequenceModel
from mmsrarec.retrieve.sequence_model.training import validation_ndcg
from mmsrarec.retrieve.sequence_model.validation import Cases
from mmsrarec.storage import read_json

N_ITEMS = 40


def histories_of(users: int, seed: int) -> Histories:
    rng = np.random.default_rng(seed)
    return Histories.from_lists(
        [((rng.integers(N_ITEMS) + np.arange(rng.integers(1, 9))) % N_ITEMS).tolist() for _ in range(users)]
    )


@pytest.fixture(scope="module")
def training() -> Histories:
    return histories_of(300, 0)


@pytest.fixture(scope="module")
def cases(training: Histories) -> EvaluationCases:
    popularity = np.bincount(training.items, minlength=N_ITEMS)
    return EvaluationCases.from_dataset(histories_of(330, 1), popularity=popularity, negatives=10)


def oracle(histories, candidates=None):
    """Knows that the next item is the one after the last."""
    ahead = (np.arange(N_ITEMS)[None] - np.asarray([items[-1] for items in histories])[:, None] - 1) % N_ITEMS
    scores = -ahead.astype(np.float32)
    return scores if candidates is None else np.take_along_axis(scores, candidates, axis=1)


@pytest.fixture(scope="module")
def table(training: Histories, cases: EvaluationCases):
    return evaluate({"oracle <b>": oracle}, cases, training=training)


def test_the_baselines_always_stand_beside(table):
    assert table.models == ["oracle <b>", "popularity", "item-kNN"]
    assert table.to_frame()["users"].unique().to_list() == [table.n_users]


def test_a_perfect_model_gets_full_marks(table):
    for protocol, cutoff in (("uniform", 5), ("popularity", 5), ("full", 10)):
        for metric in (f"HR@{cutoff}", f"NDCG@{cutoff}", "MRR"):
            assert table.value("oracle <b>", protocol, metric) == 1.0
    assert table.value("oracle <b>", "uniform", "AUC") == 1.0


def test_popularity_negatives_take_the_advantage_of_popularity_away(training: Histories):
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, N_ITEMS + 1) ** 1.2
    skewed = Histories.from_lists(
        [rng.choice(N_ITEMS, 6, replace=False, p=share / share.sum()).tolist() for _ in range(800)]
    )
    counts = np.bincount(skewed.items, minlength=N_ITEMS)
    found = EvaluationCases.from_dataset(skewed, popularity=counts, negatives=10)
    table = evaluate({}, found, training=skewed, protocols=["uniform", "popularity"])
    uniform, popularity = (table.value("popularity", by, "AUC") for by in ("uniform", "popularity"))
    assert uniform > 0.75
    assert popularity < uniform - 0.1


def test_values_are_the_definition_case_by_case(training: Histories, cases: EvaluationCases, table):
    model = ItemKNN().fit(training, N_ITEMS)
    own = table.per_user.filter(pl.col("model") == "item-kNN")
    for row in range(0, len(cases), 7):
        scores = model.scores([cases.histories[row]])[0]
        positive = scores[cases.positives[row]]
        drawn = scores[cases.negatives["uniform"][row]]
        rank = (drawn > positive).sum() + 0.5 * (drawn == positive).sum()
        assert own["uniform/AUC"][row] == pytest.approx(1 - rank / 10)
        assert own["uniform/HR@5"][row] == float(rank < 5)
        rivals = scores[np.setdiff1d(np.arange(N_ITEMS), [*cases.seen[row], cases.positives[row]])]
        rank = (rivals > positive).sum() + 0.5 * (rivals == positive).sum()
        assert own["full/MRR"][row] == pytest.approx(1 / (rank + 1))
        lists = own["recommended"][row].to_list()
        assert not set(lists) & set(cases.seen[row].tolist())
        allowed = np.setdiff1d(np.arange(N_ITEMS), cases.seen[row])
        assert lists == allowed[np.argsort(-scores[allowed], kind="stable")][:10].tolist()


def test_full_catalogue_agrees_with_the_validation_of_the_sequence_model(training, cases: EvaluationCases):
    model = SequenceModel(dimension=8, epochs=2, max_length=10).fit(training, N_ITEMS)
    measured = evaluate({"sasrec": model.scores}, cases, training=training, protocols=["full"])
    direct = validation_ndcg(model._network, Cases(cases.histories, cases.positives), model.max_length)
    assert measured.value("sasrec", "full", "NDCG@10") == pytest.approx(direct, abs=1e-6)


def test_coverage_and_novelty(training: Histories, cases: EvaluationCases, table):
    own = table.per_user.filter(pl.col("model") == "popularity")
    shown = set(np.concatenate(own["recommended"].to_numpy()).tolist())
    assert table.value("popularity", "full", "coverage@10") == len(shown) / N_ITEMS
    assert table.value("oracle <b>", "full", "coverage@10") == 1.0
    assert table.value("popularity", "full", "novelty@10") < table.value("oracle <b>", "full", "novelty@10")


def test_slices(table, cases: EvaluationCases):
    short = table.slice("short_history")
    assert short.n_users == sum(len(history) <= 5 for history in cases.histories)
    assert short.models == table.models
    longer = table.slice(pl.col("history_length") > 5)
    assert longer.n_users + short.n_users == table.n_users
    with pytest.raises(InputError, match="holds no user"):
        table.slice(pl.col("history_length") > 500)


def test_intervals_hold_the_value(table):
    frame = table.to_frame().drop_nulls()
    assert (frame["low"] <= frame["value"] + 1e-12).all()
    assert (frame["value"] <= frame["high"] + 1e-12).all()


def test_compare(table):
    better = table.compare("oracle <b>", "popularity", "uniform", "NDCG@5")
    assert better.p_value < 0.001
    assert better.difference == pytest.approx(
        table.value("oracle <b>", "uniform", "NDCG@5") - table.value("popularity", "uniform", "NDCG@5")
    )
    assert table.compare("popularity", "popularity", "full", "MRR").p_value == 1.0
    with pytest.raises(InputError, match="no model 'als'"):
        table.compare("als", "popularity", "full", "MRR")
    with pytest.raises(InputError, match="no metric 'full/AUC'"):
        table.compare("popularity", "item-kNN", "full", "AUC")


def test_text_html_and_json(table, tmp_path: Path):
    text = str(table)
    assert "oracle <b>" in text
    assert "100.00" in text
    assert "Full catalogue" in text
    page = table.to_html()
    assert "oracle &lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("<table") == 3
    assert table._repr_html_() == page
    table.write_json(tmp_path / "evaluation.json")
    stored = read_json(tmp_path / "evaluation.json")
    assert stored["users"] == table.n_users
    assert stored["rows"] == table.rows


def test_the_scorer_gets_what_it_is_promised(training: Histories, cases: EvaluationCases):
    calls = []

    def scorer(histories, candidates):
        calls.append((len(histories), None if candidates is None else (candidates.shape, candidates.dtype)))
        return np.zeros((len(histories), N_ITEMS) if candidates is None else candidates.shape)

    measured = evaluate({"nothing": scorer}, cases, training=training)
    assert sum(count for count, _ in calls) == 3 * len(cases)
    assert {(None if form is None else (form[0][1], str(form[1]))) for _, form in calls} == {
        None,
        (11, "int32"),
    }
    assert measured.value("nothing", "uniform", "AUC") == 0.5


def test_a_scorer_may_lose_items_but_not_their_shape(training: Histories, cases: EvaluationCases):
    def knows_nothing(histories, candidates):
        shape = (len(histories), N_ITEMS) if candidates is None else candidates.shape
        return np.full(shape, -np.inf)

    measured = evaluate({"nothing": knows_nothing}, cases, training=training)
    assert measured.value("nothing", "uniform", "AUC") == 0.5
    lengths = np.asarray([len(np.unique(items)) for items in cases.seen])
    others = N_ITEMS - lengths - 1
    assert measured.value("nothing", "full", "MRR") == pytest.approx(np.mean(1 / (others / 2 + 1)))
    with pytest.raises(InputError, match=r"short must return scores of shape \(256, 11\), got \(256, 1\)"):
        evaluate({"short": lambda _, candidates: candidates[:, :1]}, cases, training=training)
    with pytest.raises(InputError, match="bad returned NaN"):
        evaluate({"bad": lambda _, candidates: candidates * np.nan}, cases, training=training)


def test_arguments_are_checked(training: Histories, cases: EvaluationCases):
    with pytest.raises(InputError, match="cases hold no user"):
        evaluate({}, cases.select(slice(0, 0)), training=training)
    with pytest.raises(InputError, match="protocols must be of"):
        evaluate({}, cases, training=training, protocols=["gaussian"])
    with pytest.raises(InputError, match="full_cutoff must be a whole number of 1 or more, got 0"):
        evaluate({}, cases, training=training, full_cutoff=0)
