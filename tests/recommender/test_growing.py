"""New items and new events without a fit: what was counted in two steps is what is counted at once."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsrarec import Dataset, Recommender
from mmsrarec.data import BadRowsWarning
from mmsrarec.errors import InputError
from mmsrarec.recommender.known_users import KnownUsers
from mmsrarec.retrieve import CoInteraction, ItemKNN, SequenceModel, SimilarUsers, Transitions
from mmsrarec.summarize import KeywordTable, Summarizer

N_ITEMS = 12
_ITEMS = pl.DataFrame({"item_id": list(range(N_ITEMS))})


def again(fitted: Recommender) -> Recommender:
    """The same fitted parts in an object of its own; parts are never written to."""
    recommender = Recommender(**fitted.get_params())
    recommender._take(fitted.parts_)
    return recommender


# --- events -----------------------------------------------------------------------------------------------------------


@st.composite
def two_steps(draw: st.DrawFn) -> tuple[Dataset, Dataset, Dataset, pl.DataFrame]:
    """All training events, those of the first step, validation users, and the events of the second step."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users = draw(st.integers(4, 14))
    pairs = rng.permutation(users * N_ITEMS)[: draw(st.integers(users, users * N_ITEMS // 2))]
    # Times are distinct: which of two events of one moment comes first is up to the order of the rows.
    events = pl.DataFrame(
        {"user_id": pairs // N_ITEMS, "item_id": pairs % N_ITEMS, "timestamp": rng.permutation(len(pairs))}
    )
    held_out = events.filter(pl.col("user_id") < 2)
    training = events.filter(pl.col("user_id") >= 2)
    late = pl.Series(rng.random(len(training)) < draw(st.sampled_from([0.1, 0.5, 0.9])))
    late[0] = False  # something must be there to begin with
    read = [Dataset.from_frames(frame, _ITEMS) for frame in (training, training.filter(~late), held_out)]
    return read[0], read[1], read[2], training.filter(late)


@given(two_steps())
@settings(max_examples=25)
def test_counted_in_two_steps_is_counted_at_once(steps) -> None:
    everything, before, validation, rest = steps
    at_once = KnownUsers.from_datasets(everything, validation)
    known, bad_rows = KnownUsers.from_datasets(before, validation).updated(rest)
    assert not bad_rows
    taken, expected = known.training_histories(), at_once.training_histories()
    # Users that came later have other ids; the validation users stand between old and new ones.
    names = [users.ids.filter(pl.Series(users.training)).to_list() for users in (known, at_once)]
    place = np.array([names[0].index(user) for user in names[1]])
    assert [taken[user].tolist() for user in place] == [history.tolist() for history in expected]
    for user in validation.user_ids:
        own = [users.histories[int(users.find([user])[0])].tolist() for users in (known, at_once)]
        assert own[0] == own[1]

    alone = np.arange(N_ITEMS)[:, None]
    cosine = [ItemKNN().fit(histories, N_ITEMS).scores(alone) for histories in (taken, expected)]
    np.testing.assert_array_equal(*cosine)
    following = [
        Transitions().fit(histories, N_ITEMS).probability_.toarray() for histories in (taken, expected)
    ]
    np.testing.assert_allclose(*following, rtol=1e-5)
    paths = [CoInteraction.from_arrays(h.indptr, h.items, N_ITEMS) for h in (taken, expected)]
    history = expected[0][:-1]
    for there, here in ((-1, -1), (int(place[0]), 0)):
        found = [
            path.evidence(history, np.arange(N_ITEMS), exclude_user=user)
            for path, user in zip(paths, (there, here), strict=True)
        ]
        np.testing.assert_array_equal(found[0][0], found[1][0])
        np.testing.assert_array_equal(found[0][1].strengths, found[1][1].strengths)


@given(two_steps())
@settings(max_examples=8)
def test_similar_users_of_two_steps_are_those_of_one(steps) -> None:
    everything, before, validation, rest = steps
    model = (
        SequenceModel(dimension=8, epochs=1, layers=1).fit(everything.histories(), N_ITEMS)
        if (everything.histories().lengths >= 2).any()
        else None
    )
    if model is None:
        return
    first = KnownUsers.from_datasets(before, validation)
    known, _ = first.updated(rest)
    old, taken = first.training_histories(), known.training_histories()
    kept = SimilarUsers(positions=3).fit(model, old)
    vectors = kept.vectors_.copy()
    changed = [user for user in range(len(taken)) if user >= len(old) or len(taken[user]) != len(old[user])]
    grown, fresh = (
        kept.updated(model, taken, np.array(changed, int)),
        SimilarUsers(positions=3).fit(model, taken),
    )
    np.testing.assert_array_equal(grown.users_, fresh.users_)
    np.testing.assert_array_equal(grown.next_items_, fresh.next_items_)
    np.testing.assert_allclose(grown.vectors_, fresh.vectors_, atol=1e-5)
    np.testing.assert_array_equal(kept.vectors_, vectors)


def test_an_update_makes_new_users_known_and_old_histories_longer(fitted: Recommender, parts) -> None:
    train, _, test = parts
    old, new = train.user_ids[0], test.user_ids[0]
    item = next(i for i in range(train.n_items) if i not in train.histories()[0])
    late = pl.DataFrame({"user_id": [old], "item_id": [train.item_ids[item]], "timestamp": [1_750_000_000]})
    events = test.interactions.filter(pl.col("user") == 0)
    strange = pl.DataFrame(
        {"user_id": [new, new], "item_id": ["no item", train.item_ids[0]], "timestamp": [1, -5]}
    )
    arrived = pl.DataFrame(
        {
            "user_id": [new] * len(events),
            "item_id": test.item_ids[events["item"].to_list()],
            "timestamp": events["timestamp"],
        }
    )
    updated = again(fitted)
    popularity, before = fitted.parts_.popularity.copy(), fitted.recommend([old], k=5)
    with pytest.warns(BadRowsWarning, match="unknown item"):
        assert updated.update(pl.concat([late, arrived, strange])) is updated
    assert updated.bad_rows_.counts == {"unknown item": 1, "negative timestamp": 1}
    users = updated.parts_.users
    assert users.histories[int(users.find([old])[0])].tolist() == [*train.histories()[0], item]
    assert users.histories[int(users.find([new])[0])].tolist() == test.histories()[0].tolist()
    place = int(users.find([new])[0])
    assert users.knowledge_base_id[place] == fitted.parts_.users.training.sum()
    gained = np.bincount([item, *test.histories()[0]], minlength=train.n_items)
    assert (updated.parts_.popularity - popularity).tolist() == gained.tolist()
    assert updated.engine_.sequence_model.counts_.tolist() == updated.parts_.popularity.tolist()
    assert train.item_ids[item] not in updated.recommend([old], k=30)["item_id"].to_list()
    assert len(updated.recommend([new], k=3)) == 3
    # A bridge like any other: it took these two, so it connects one with the other.
    one, other = test.histories()[0][:2]
    counts = [r.engine_.signals.paths.evidence([int(one)], [int(other)])[0][0] for r in (fitted, updated)]
    assert counts[1] == counts[0] + 1
    # The recommender that was updated from is what it was.
    assert fitted.recommend([old], k=5).equals(before)
    assert np.array_equal(fitted.parts_.popularity, popularity)
    with pytest.raises(InputError, match="users holds ids that were not in the training data"):
        fitted.recommend([new])


def test_what_validation_users_take_later_is_told_to_nobody(fitted: Recommender, parts) -> None:
    _, validation, _ = parts
    user = validation.user_ids[0]
    items = [item for item in range(validation.n_items) if item not in validation.histories()[0]][:3]
    late = {
        "user_id": [user] * 3,
        "item_id": validation.item_ids[items].to_list(),
        "timestamp": [1_750_000_000 + n for n in range(3)],
    }
    updated = again(fitted).update(pl.DataFrame(late))
    users = updated.parts_.users
    assert users.histories[int(users.find([user])[0])][-3:].tolist() == items
    assert np.array_equal(updated.parts_.popularity, fitted.parts_.popularity)
    for name in ("users_", "next_items_", "vectors_"):
        kept, was = (getattr(r.engine_.signals.similar_users, name) for r in (updated, fitted))
        np.testing.assert_array_equal(kept, was)


def test_an_updated_model_is_saved_loaded_and_updated_again(fitted: Recommender, parts, tmp_path) -> None:
    test = parts[2]
    events = test.interactions.select(
        user_id=test.user_ids.gather(test.interactions["user"]),
        item_id=test.item_ids.gather(test.interactions["item"]),
        timestamp="timestamp",
    )
    half = len(events) // 2
    updated = again(fitted).update(events[:half])
    updated.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model", device="cpu")
    asked = [test.user_ids[0], parts[0].user_ids[0], parts[1].user_ids[0]]
    assert loaded.recommend(asked, k=5).equals(updated.recommend(asked, k=5))
    for one in (updated, loaded):
        one.update(events[half:])
    everybody = test.user_ids.to_list()
    assert loaded.recommend(everybody, k=5).equals(updated.recommend(everybody, k=5))
    loaded.save(tmp_path / "model")
    once = Recommender.load(tmp_path / "model", device="cpu")
    assert once.recommend(everybody, k=5).equals(updated.recommend(everybody, k=5))
    with pytest.warns(BadRowsWarning, match="duplicate event"):
        once.update(events)
    assert once.bad_rows_.counts == {"duplicate event": len(events)}


def test_bad_frames_change_nothing(fitted: Recommender) -> None:
    updated = again(fitted)
    for call, message in (
        (lambda: updated.update(pl.DataFrame({"user_id": ["u1"]})), "interactions has no column 'item_id'"),
        (lambda: updated.update([1, 2]), "interactions must be a pandas, Polars or PyArrow frame"),
        (lambda: updated.update("gone.csv"), "interactions must be an existing file, got 'gone.csv'"),
        (lambda: updated.add_items(pl.DataFrame({"title": ["x"]})), "items has no column 'item_id'"),
        (lambda: updated.add_items("gone.parquet"), "items must be an existing file, got 'gone.parquet'"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    frame = pl.DataFrame({"user_id": ["a"], "item_id": ["no item"], "timestamp": [1]})
    with pytest.raises(InputError, match="1 bad rows and strict=True allows none"):
        updated.update(frame, strict=True)
    assert updated.parts_ is fitted.parts_
    for call in (lambda r: r.update(frame), lambda r: r.add_items(frame)):
        with pytest.raises(InputError, match="not fitted; call fit"):
            call(Recommender())


# --- items ------------------------------------------------------------------------------------------------------------

NEW = pl.DataFrame(
    {
        "item_id": ["n1", "n2", "n3"],
        "title": ["Woollen bobble hat", "Enamel mug", "Walking boots"],
        "description": ["Warm in winter.", "Holds tea outdoors.", "For wet hills."],
        "categories": ["Clothing|Hats", "Kitchen", "Shoes"],
        "image": ["n1.png", None, None],
    }
)


@pytest.fixture
def shop(catalogue: Dataset, saved: Path, tmp_path: Path) -> Recommender:
    """The fitted recommender over pictures of its own, to which one can be added."""
    shutil.copytree(catalogue.images.root, tmp_path / "images")
    Image.new("RGB", (64, 64), "darkgreen").save(tmp_path / "images" / "n1.png")
    return Recommender.load(saved, images=tmp_path / "images", device="cpu")


def test_new_items_are_there_at_once_and_after_a_file(shop: Recommender, parts, tmp_path: Path) -> None:
    shop.add_items(NEW)
    n_items = parts[0].n_items
    assert shop.parts_.catalogue.n_items == n_items + 3
    user = parts[0].user_ids[0]
    recommended = shop.recommend([user], k=3, allow=["n1", "n2", "n3"])
    assert sorted(recommended["item_id"]) == ["n1", "n2", "n3"]
    assert 0 < shop.predict(users=[user], items=["n1"])[0] < 1
    assert len(shop.recommend(histories=[["n1", "n2"]], k=3)) == 3
    why = shop.explain(user, "n1")
    assert why.candidate.title == "Woollen bobble hat"
    assert why.candidate.picture is not None
    words = shop.parts_.retrieval.keywords[n_items]
    assert words, "the tiny model said nothing of the hat; choose another"
    assert "n1" in shop.search(list(words), k=n_items)["item_id"].to_list()
    # Ranked by what the text says, not all alike.
    scores = shop.engine_.sequence_model.scores([parts[0].histories()[0]])[0, -3:]
    assert len(np.unique(scores)) == 3

    shop.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model", device="cpu")
    for one in (shop, loaded):
        one.update(
            pl.DataFrame({"user_id": [user, "new"], "item_id": ["n1", "n1"], "timestamp": [1.75e9, 1.75e9]})
        )
    assert loaded.parts_.popularity[n_items] == 2
    assert loaded.recommend([user, "new"], k=6).equals(shop.recommend([user, "new"], k=6))


def test_only_what_is_new_or_changed_is_summarized(
    shop: Recommender, parts, tmp_path: Path, monkeypatch
) -> None:
    asked: list[str] = []
    summarize = Summarizer.summarize

    def spy(self, contents, table, **options):
        asked.extend(content.title for content in contents)
        return summarize(self, contents, table, **options)

    monkeypatch.setattr(Summarizer, "summarize", spy)
    train = parts[0]
    known = pl.DataFrame({"item_id": train.item_ids}).hstack(train.items)[:4]
    before = shop.parts_
    assert shop.add_items(known).parts_ is before
    assert asked == []

    taken = int(train.histories()[0][0])
    row = pl.DataFrame({"item_id": train.item_ids}).hstack(train.items)[taken]
    reworded = row.with_columns(title=pl.lit("Something else entirely"))
    shop.add_items(pl.concat([known.filter(pl.col("item_id") != row["item_id"][0]), reworded]))
    assert asked == ["Something else entirely"]
    assert shop.parts_.catalogue.n_items == train.n_items
    assert shop.parts_.retrieval.contents[taken].title == "Something else entirely"
    was, now = before.retrieval.signals, shop.parts_.retrieval.signals
    moved = now.sequence_model.scores([[]]) - was.sequence_model.scores([[]])
    assert not moved.any()  # by popularity, which is what it was
    stays, moves = (
        np.flatnonzero([condition(row) for row in range(train.n_items)])
        for condition in (lambda item: item != taken, lambda item: item == taken)
    )
    embeddings = [s.sequence_model._network.item_embedding.weight.detach().numpy() for s in (was, now)]
    np.testing.assert_array_equal(embeddings[0][stays], embeddings[1][stays])
    assert np.abs(embeddings[0][moves] - embeddings[1][moves]).max() > 0
    # Who took it is represented anew; the others are not.
    fresh = SimilarUsers().fit(now.sequence_model, shop.parts_.users.training_histories())
    np.testing.assert_allclose(now.similar_users.vectors_, fresh.vectors_, atol=1e-5)
    assert np.abs(was.similar_users.vectors_ - now.similar_users.vectors_).max() > 1e-4

    picture = tmp_path / "images" / train.items["image"][1]
    Image.new("RGB", (64, 64), "red").save(picture)
    asked.clear()
    shop.add_items(known)
    assert asked == [train.items["title"][1]]


def test_items_that_fail_half_way_change_nothing_and_go_on(shop: Recommender, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("mmsrarec.summarize.writer.items_of_a_batch", lambda backbone: 1)
    put_many, written = KeywordTable.put_many, []

    def put_two(self, rows, *, made_by):
        if len(written) == 2:
            raise KeyboardInterrupt
        put_many(self, rows, made_by=made_by)
        written.extend(rows)

    before, answer = shop.parts_, shop.recommend(histories=[[]], k=5)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(KeywordTable, "put_many", put_two)
        shop.add_items(NEW, workdir=tmp_path / "run")
    assert shop.parts_ is before
    assert shop.recommend(histories=[[]], k=5).equals(answer)
    shop.add_items(NEW, workdir=tmp_path / "run")
    with KeywordTable(tmp_path / "run" / "keywords.sqlite") as table:
        assert table.count(shop.parts_.language_model.summarizer.fingerprint) == 3
    undisturbed = replace(before)
    other = Recommender(**shop.get_params())
    other._take(undisturbed)
    other.add_items(NEW)
    assert other.parts_.retrieval.keywords == shop.parts_.retrieval.keywords


def test_another_encoder_is_refused(saved: Path, tmp_path: Path) -> None:
    from mmsrarec.backbone import SentenceEncoder
    from mmsrarec.errors import StoredFileError

    other = SentenceEncoder.load().model
    other.max_seq_length = 16
    loaded = Recommender.load(saved, encoder=other, device="cpu")
    with pytest.raises(StoredFileError, match="was fitted with another sentence encoder"):
        loaded.add_items(NEW.drop("image"))


def test_models_given_loaded_travel_on(fitted: Recommender, tmp_path: Path) -> None:
    """Saving over the folder that a model was loaded from keeps the backbone and the encoder that lie in it."""
    from mmsrarec.backbone import SentenceEncoder
    from mmsrarec.testing import tiny_llava

    given = Recommender(**fitted.get_params())
    given.set_params(backbone=tiny_llava(), encoder=SentenceEncoder.load().model)
    given._take(fitted.parts_)
    given.save(tmp_path / "model")
    for _ in range(2):
        loaded = Recommender.load(tmp_path / "model", device="cpu")
        loaded.save(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("error", BadRowsWarning)
        loaded.add_items(NEW.drop("image"))
    assert sorted(loaded.recommend(histories=[[]], k=3, allow=["n1", "n2", "n3"])["item_id"]) == [
        "n1",
        "n2",
        "n3",
    ]
