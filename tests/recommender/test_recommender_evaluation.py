"""The evaluation of a fitted recommender agrees with what it predicts, and asks the language model once."""

import numpy as np
import pytest

from mmsrarec import Recommender
from mmsrarec.backbone import Backbone
from mmsrarec.data import Dataset
from mmsrarec.errors import InputError
from mmsrarec.evaluate import (
    EvaluationCases,
    EvaluationTable,
    calibration_error,
    evaluate_recommender,
    mid_ranks,
    recommendation_cost,
)
from mmsrarec.rank import KeptProbabilities


@pytest.fixture(scope="module")
def table(fitted: Recommender, parts: tuple[Dataset, Dataset, Dataset]) -> EvaluationTable:
    return evaluate_recommender(fitted, parts[2], negatives=8, seed=1)


def test_rows_and_baselines(table: EvaluationTable, parts) -> None:
    assert table.models == [
        "mmsrarec", "p(yes) alone", "in real time", "sequence model", "popularity", "item-kNN",
    ]  # fmt: skip
    assert table.n_users == sum(len(history) >= 2 for history in parts[2].histories())
    assert "item-kNN" in str(table)


def test_reliability_counts_every_candidate_once(table: EvaluationTable) -> None:
    for name in table.models[:2]:
        bins = table.reliability.filter(model=name)
        assert bins["count"].sum() == 9 * table.n_users
        assert (bins["observed"] * bins["count"]).sum() == pytest.approx(table.n_users)
        assert 0 <= calibration_error(bins) <= 1
    assert set(table.reliability["model"]) == set(table.models[:2])


def test_p_alone_is_what_predict_says(fitted: Recommender, table: EvaluationTable, parts) -> None:
    test = parts[2]
    cases = EvaluationCases.from_dataset(test, popularity=fitted.parts_.popularity, negatives=8, seed=1)
    candidates = np.column_stack([cases.positives, cases.negatives["uniform"]])
    names, histories = test.item_ids, cases.histories
    p = np.stack(
        fitted.predict(
            histories=[names[history.tolist()].to_list() for history in histories],
            items=[names[row.tolist()].to_list() for row in candidates],
            timestamps=[part.tolist() for part in np.split(histories.timestamps, histories.indptr[1:-1])],
            at=histories.asked_at,
        )
    )
    auc = (1 - mid_ranks(p[:, 0], p[:, 1:]) / 8).mean()
    assert table.value("p(yes) alone", "uniform", "AUC") == pytest.approx(auc, abs=0.02)


def test_training_users_are_not_their_own_neighbours(fitted: Recommender, parts, monkeypatch) -> None:
    """A user of the knowledge base, evaluated on its last event, must not be shown its own next item."""
    from mmsrarec.retrieve import SimilarUsers

    asked = []
    search = SimilarUsers.search

    def recording(self, histories, k, exclude_users=None):
        asked.extend(zip(histories, exclude_users, strict=True))
        return search(self, histories, k, exclude_users)

    monkeypatch.setattr(SimilarUsers, "search", recording)
    evaluate_recommender(fitted, parts[0], users=3, negatives=8, full_catalogue=False)
    histories = parts[0].histories()
    assert asked
    for history, user in asked:
        assert user >= 0
        assert np.array_equal(history, histories[int(user)][:-1])


def test_sample_of_users(fitted: Recommender, parts) -> None:
    table = evaluate_recommender(fitted, parts[0], users=3, negatives=8, full_catalogue=False)
    assert table.n_users == 3


def test_an_interrupted_evaluation_goes_on(fitted: Recommender, parts, tmp_path, monkeypatch) -> None:
    asked, ask = [], Backbone.first_token_probability

    def recording(self, prompts, **settings):
        asked.append(len(prompts))
        return ask(self, prompts, **settings)

    monkeypatch.setattr(Backbone, "first_token_probability", recording)
    settings = {"users": 4, "negatives": 8, "full_catalogue": False}
    table = evaluate_recommender(fitted, parts[2], **settings)
    add, all_asked = KeptProbabilities.add, sum(asked)

    def interrupted(self, keys, probabilities):
        add(self, keys, probabilities)
        if len(self) > all_asked / 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(KeptProbabilities, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_recommender(fitted, parts[2], workdir=tmp_path, **settings)
    monkeypatch.setattr(KeptProbabilities, "add", add)
    asked.clear()
    resumed = evaluate_recommender(fitted, parts[2], workdir=tmp_path, **settings)
    assert 0 < sum(asked) < 0.7 * all_asked
    for name in ("p(yes) alone", "mmsrarec"):
        for metric in ("AUC", "NDCG@5"):
            value = table.value(name, "uniform", metric)
            assert resumed.value(name, "uniform", metric) == pytest.approx(value, abs=0.02)
    asked.clear()
    again = evaluate_recommender(fitted, parts[2], workdir=tmp_path, **settings)
    assert sum(asked) == 0
    assert again.per_user.equals(resumed.per_user)


def test_bad_arguments_are_named(fitted: Recommender, parts) -> None:
    with pytest.raises(InputError, match="users must be 1 or more"):
        evaluate_recommender(fitted, parts[2], users=0)
    other = parts[2].k_core(2)
    if other.n_items != parts[2].n_items:
        with pytest.raises(InputError, match="test must have the catalogue"):
            evaluate_recommender(fitted, other)


def test_the_cost_line_counts_a_prefix_once(fitted: Recommender, parts) -> None:
    cost = recommendation_cost(fitted, parts[2], users=3, negatives=8)
    assert (cost.users, cost.candidates) == (3, 27)
    # A prefix and, on a CPU, its branches as one batch.
    assert (cost.passes, cost.sequences) == (6, 30)
    assert 0 < cost.pictures <= 27
    assert cost.tokens < 0.7 * cost.tokens_one_by_one
    assert 0 < cost.seconds_without < cost.seconds
    again = recommendation_cost(fitted, parts[2], users=3, negatives=8)
    assert (again.tokens, again.pictures) == (cost.tokens, cost.pictures)
    assert f"{cost.tokens / 27:.0f} tokens" in str(cost)
    with pytest.raises(InputError, match="users must be 1 or more"):
        recommendation_cost(fitted, parts[2], users=0)
