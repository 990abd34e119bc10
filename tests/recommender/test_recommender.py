"""The public object: ids in, ids out, errors that name the argument."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

from mmsrarec import Dataset, Recommender
from mmsrarec.errors import InputError


def test_predict_is_a_probability_aligned_with_the_input(fitted: Recommender, parts) -> None:
    users, items = parts[0].user_ids[:3].to_list(), parts[0].item_ids[:3].to_list()
    together = fitted.predict(users=[users[0], users[1], users[0]], items=[items[0], items[0], items[2]])
    assert together.dtype == np.float32
    assert together.shape == (3,)
    assert ((together > 0) & (together < 1)).all()
    alone = [fitted.predict(users=[u], items=[i])[0] for u, i in ((users[0], items[0]), (users[1], items[0]))]
    assert together[:2] == pytest.approx(alone, abs=1e-5)


def test_predict_for_people_never_seen(fitted: Recommender, parts) -> None:
    items = parts[2].item_ids.to_list()
    ragged = fitted.predict(histories=[items[:3], []], items=[[items[5], items[6]], [items[7]]])
    assert [len(part) for part in ragged] == [2, 1]
    flat = fitted.predict(histories=[items[:3]], items=[items[6]])
    assert flat == pytest.approx(ragged[0][1:], abs=1e-5)


def test_history_changes_the_prediction(fitted: Recommender, parts) -> None:
    items = parts[2].item_ids.to_list()
    one, other = fitted.predict(histories=[items[:5], items[10:15]], items=[items[20], items[20]])
    assert one != other


def test_nothing_asked_nothing_answered(fitted: Recommender) -> None:
    assert fitted.predict(users=[], items=[]).shape == (0,)
    frame = fitted.recommend([], k=3)
    assert frame.columns == ["user_id", "item_id", "rank", "score"]
    assert len(frame) == 0


def test_recommend_returns_ranked_unseen_items(fitted: Recommender, parts) -> None:
    users = parts[0].user_ids[:2].to_list()
    frame = fitted.recommend(users, k=5)
    assert frame["user_id"].to_list() == [users[0]] * 5 + [users[1]] * 5
    assert frame["rank"].to_list() == [1, 2, 3, 4, 5] * 2
    for position, user in enumerate(users):
        rows = frame.filter(pl.col("user_id") == user)
        assert rows["score"].is_sorted(descending=True)
        seen = parts[0].item_ids[parts[0].histories()[position].tolist()].to_list()
        assert not set(rows["item_id"]) & set(seen)
        assert rows["item_id"].is_unique().all()


def test_recommend_fills_k_even_beyond_the_budget(fitted: Recommender, parts) -> None:
    assert len(fitted.recommend(histories=[[]], k=20)) == 20
    user = parts[0].user_ids[0]
    unseen = parts[0].n_items - len(parts[0].histories()[0])
    assert len(fitted.recommend([user], k=parts[0].n_items)) == unseen
    assert len(fitted.recommend([user], k=parts[0].n_items, exclude_seen=False)) == parts[0].n_items


def test_allow_and_block(fitted: Recommender, parts) -> None:
    items = parts[0].item_ids.to_list()
    frame = fitted.recommend(histories=[items[:2]], k=5, allow=items[:8], block=[items[3]])
    assert set(frame["item_id"]) <= {*items[2:8]} - {items[3]}
    assert len(frame) == 5
    assert len(fitted.recommend(histories=[[]], k=5, allow=[])) == 0


def test_explanation_agrees_with_recommendation_and_prediction(fitted: Recommender, parts) -> None:
    user = parts[0].user_ids[0]
    first = fitted.recommend([user], k=1).row(0, named=True)
    why = fitted.explain(user)
    assert why.candidate.item_id == first["item_id"]
    assert why.rank == 1
    assert why.score == pytest.approx(first["score"], abs=1e-6)
    assert why.probability == pytest.approx(
        fitted.predict(users=[user], items=[first["item_id"]])[0], abs=1e-5
    )
    history = parts[0].item_ids[parts[0].histories()[0][-5:].tolist()].to_list()
    shown = [item.item_id for item in why.history]
    assert shown == history[-len(shown) :]
    left_out = len(history) - len(shown) + 3 - len(why.neighbours)
    assert not left_out or any(note.startswith(f"{left_out} weaker pieces") for note in why.notes)
    # What moved the scores of two items apart is all in the features.
    other = fitted.explain(user, fitted.recommend([user], k=2)["item_id"][1])
    odds = [np.log(shown.score / (1 - shown.score)) - sum(shown.features.values()) for shown in (why, other)]
    assert odds[0] == pytest.approx(odds[1], abs=1e-5)
    assert str(first["item_id"]) in str(why) or why.candidate.title in str(why)


def test_an_explanation_counts_who_else_took_the_item(fitted: Recommender, parts) -> None:
    train = parts[0]
    everyone = [set(history.tolist()) for history in train.histories()]
    user = next(place for place, took in enumerate(everyone) if len(took) > 1)
    item = int(train.histories()[user][-1])
    others = [took for place, took in enumerate(everyone) if place != user and item in took]
    why = fitted.explain(train.user_ids[user], train.item_ids[item])
    assert why.bridge_users == sum(bool(took & everyone[user] - {item}) for took in others)
    assert why.bridge_users > 0
    assert len(why.shared_items) > 0
    for shared in why.shared_items:
        place = int(train.item_index([shared.item.item_id])[0])
        assert place in everyone[user] - {item}
        assert shared.users == sum(place in took for took in others)
    stranger = fitted.explain(history=[], item=train.item_ids[item])
    assert (stranger.bridge_users, stranger.shared_items) == (0, ())


def test_any_item_can_be_explained(fitted: Recommender, parts) -> None:
    seen = parts[0].item_ids[int(parts[0].histories()[0][0])]
    why = fitted.explain(parts[0].user_ids[0], seen)
    assert why.candidate.item_id == seen
    assert why.rank is None
    nobody = fitted.explain(history=[], item=seen)
    assert nobody.history == ()
    assert any("no history yet" in note for note in nobody.notes)


def test_search_finds_by_keyword(fitted: Recommender) -> None:
    words = fitted.parts_.retrieval.keywords
    item = next(position for position, keywords in enumerate(words) if keywords)
    frame = fitted.search(list(words[item]), k=40)
    assert fitted.parts_.catalogue.item_ids[item] in frame["item_id"].to_list()
    assert len(fitted.search("zzzzqqqqxxxx", k=3)) == 0


def test_frames_come_back_as_they_came(parameters: dict, catalogue: Dataset, fitted: Recommender) -> None:
    assert isinstance(fitted.recommend(histories=[[]], k=2), pl.DataFrame)
    frame = pd.DataFrame({"user_id": ["a", "b"], "item_id": [1, 1], "timestamp": [1, 2]})
    assert Dataset.from_frames(frame).frame_kind == "pandas"


def test_get_and_set_params() -> None:
    recommender = Recommender(history=7, seed=2)
    assert recommender.get_params()["history"] == 7
    assert recommender.set_params(history=3).history == 3
    assert Recommender(**recommender.get_params()).get_params() == recommender.get_params()
    assert repr(recommender) == "Recommender(history=3, seed=2)"
    with pytest.raises(InputError, match="'depth' is not a parameter; there are"):
        recommender.set_params(depth=1)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("preset", "huge", "preset must be one of"),
        ("history", 0, "history must be a whole number of 1 or more, got 0"),
        ("similar_users", -1, "similar_users must be a whole number of 0 or more, got -1"),
        ("similar_users", True, "similar_users must be a whole number of 0 or more, got True"),
        ("max_keywords", 1.5, "max_keywords must be a whole number of 1 or more, got 1.5"),
        ("seed", "a", "seed must be a whole number of 0 or more, got 'a'"),
        ("reward_weights", (1, 2), "reward_weights must be 3 finite numbers"),
        ("reward_weights", (1, 2, np.nan), "reward_weights must be 3 finite numbers"),
        ("reconstruction", "bleu", "reconstruction must be one of"),
        ("sequence_model", "lstm", "sequence_model must be one of"),
        ("backbone", 3, "backbone must be"),
    ],
)
def test_bad_parameters_are_named_by_fit(catalogue: Dataset, name: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recommender(**{name: value}).fit(catalogue)


def test_bad_data_is_named_by_fit(catalogue: Dataset) -> None:
    with pytest.raises(InputError, match="train must be a Dataset, got list"):
        Recommender().fit([])
    other = Dataset.from_frames(pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [1]}))
    with pytest.raises(InputError, match="validation must have the same catalogue as train"):
        Recommender().fit(catalogue, other)
    with pytest.raises(InputError, match="two are needed so that one can be set aside"):
        Recommender().fit(other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda r, i: r.predict(users=["nobody"], items=i[:1]),
            "users holds ids that were not in the training data",
        ),
        (lambda r, i: r.predict(histories=[["no item"]], items=i[:1]), "no item"),
        (lambda r, i: r.predict(histories=[[]], items=["no item"]), "no item"),
        (lambda r, i: r.predict(histories=[[]], items=i[:2]), "items must have one entry for each of the 1"),
        (lambda r, i: r.predict(items=i[:1]), "give either users="),
        (lambda r, i: r.predict(users="ab", items=i[:1]), "users must be a list, got the string 'ab'"),
        (lambda r, i: r.recommend(histories=[[]], k=0), "k must be a whole number of 1 or more, got 0"),
        (
            lambda r, i: r.recommend(histories=[[]], k=10_000),
            "k must be at most 40, the size of the catalogue",
        ),
        (lambda r, i: r.recommend(histories=[[]], k=1, allow=["no item"]), "no item"),
        (
            lambda r, i: r.recommend(histories=[[]], k=1, exclude_seen="yes"),
            "exclude_seen must be True or False",
        ),
        (lambda r, i: r.explain(), "give either users="),
        (lambda r, i: r.search("x", k=0), "k must be a whole number"),
    ],
)
def test_bad_calls_are_named(fitted: Recommender, parts, call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(fitted, parts[0].item_ids.to_list())


def test_unfitted_is_a_clear_error(tmp_path) -> None:
    for call in (
        lambda r: r.predict(users=[1], items=[1]),
        lambda r: r.recommend([1]),
        lambda r: r.save(tmp_path / "model"),
    ):
        with pytest.raises(InputError, match="not fitted; call fit"):
            call(Recommender())


def test_when_it_is_asked_matters(fitted: Recommender, parts) -> None:
    train = parts[0]
    user = train.user_ids[1]
    [last] = train.interactions.filter(pl.col("user") == 1)["timestamp"].tail(1)
    at_once, later, unknown = (
        fitted.recommend([user], k=5, at=at)["score"].to_list() for at in (last, last + 10 * 86_400, None)
    )
    assert len({tuple(at_once), tuple(later), tuple(unknown)}) == 3
    moment = dt.datetime.fromtimestamp(last, dt.UTC)
    for same in (moment, moment.isoformat(), [str(last)]):
        assert fitted.recommend([user], k=5, at=same)["score"].to_list() == at_once
    assert fitted.explain(user, at=last).score == pytest.approx(at_once[0])


def test_people_never_seen_can_tell_their_times(fitted: Recommender, parts) -> None:
    _, validation, test = parts
    history = test.histories()[0]
    ids = test.item_ids[history.tolist()].to_list()
    times = test.interactions.filter(pl.col("user") == 0)["timestamp"].to_list()
    timed = fitted.recommend(histories=[ids], k=5, timestamps=[times], at=times[-1] + 60)
    assert timed["score"].to_list() != fitted.recommend(histories=[ids], k=5)["score"].to_list()
    why = fitted.explain(history=ids, timestamps=times, at=times[-1] + 60)
    assert why.score == pytest.approx(timed["score"][0], abs=1e-6)
    # A known person is asked the same through the model's own record of the history.
    known = validation.user_ids[0]
    row = validation.interactions.filter(pl.col("user") == 0)
    ids, times = validation.item_ids[row["item"].to_list()].to_list(), row["timestamp"].to_list()
    assert fitted.predict(histories=[ids], timestamps=[times], at=times[-1], items=[ids[0]]) == pytest.approx(
        fitted.predict(users=[known], at=times[-1], items=[ids[0]]), abs=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": [0], "at": "tomorrow"}, "at must hold times: numbers as in the training data, dates"),
        ({"users": [0], "at": [1, 2]}, "at must be one time, or one for each of the 1 people, got 2"),
        ({"users": [0], "timestamps": [[1]]}, "timestamps belong to histories="),
        ({"histories": [[0]], "at": 5}, "at says nothing beside histories without times; give timestamps="),
        ({"histories": [[0, 1]], "timestamps": [[5]]}, r"got \[1\] for \[2\] events"),
        ({"histories": [[0, 1]], "timestamps": [[5, 4]]}, "must not fall within a history"),
        ({"histories": [[0]], "timestamps": [[None]]}, "timestamps must hold times.*got None"),
    ],
)
def test_times_that_cannot_be(fitted: Recommender, parts, arguments: dict, message: str) -> None:
    ids, users = parts[0].item_ids, parts[0].user_ids
    given = dict(arguments)
    if "users" in given:
        given["users"] = [users[place] for place in given["users"]]
    if "histories" in given:
        given["histories"] = [[ids[item] for item in history] for history in given["histories"]]
    with pytest.raises(InputError, match=message):
        fitted.recommend(**given)
