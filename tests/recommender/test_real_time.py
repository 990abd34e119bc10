"""Recommending without the language model: by what it taught, without one inference, through saving and growing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmsrarec import Dataset, Recommender
from mmsrarec.backbone import SentenceEncoder, counting
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.evaluate import recommendation_cost
from mmsrarec.rank import FEATURES
from mmsrarec.recommender.blending import fit_blend
from mmsrarec.recommender.engine import Engine
from mmsrarec.storage import MANIFEST, read_json, write_json

STUDENT = FEATURES.index("student_logit")


class Reader:
    """Says yes the sooner the nearer a candidate's text is to the history's: a language model whose logit is known."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors.astype(float)

    def probability(self, contexts, candidates, evidence, *, progress=None) -> list[np.ndarray]:
        logits = [
            10 * self.vectors[items] @ self.vectors[list(context.history)].mean(axis=0) - 4
            for context, items in zip(contexts, candidates, strict=True)
        ]
        return [(1 / (1 + np.exp(-logit))).astype(np.float32) for logit in logits]


def blended(fitted: Recommender, train: Dataset, asked: int) -> tuple[Engine, dict]:
    """Fit blend and student on training users, `asked` of whom the reader is asked about."""
    contents = fitted.parts_.retrieval.contents
    vectors = SentenceEncoder.load("embedded").encode([content.text for content in contents])
    engine = replace(fitted.engine_, ranker=Reader(vectors), vectors=vectors.astype(np.float16))
    histories = train.histories()
    users = np.flatnonzero(histories.lengths > 1)
    blend, student = fit_blend(engine, histories.select(users), exclude_users=users, asked=asked, seed=0)
    return engine, {"blend": blend, "student": student, "vectors": engine.vectors}


@pytest.fixture(scope="module")
def taught(fitted: Recommender, parts) -> Recommender:
    """The fitted recommender, as if it had been taught by a language model that reads."""
    recommender = Recommender(**fitted.get_params())
    _, made = blended(fitted, parts[0], asked=30)
    assert made["student"].informative
    recommender._take(replace(fitted.parts_, **made))
    return recommender


def test_no_inference_and_the_order_is_that_of_the_guess(taught: Recommender, parts) -> None:
    users = parts[0].user_ids[:4].to_list()
    with counting(taught.parts_.language_model.backbone) as cost:
        found = taught.recommend(users, k=8, language_model=False)
    assert cost.passes == cost.pictures == 0
    assert found.columns == ["user_id", "item_id", "rank", "score"]
    # What it taught matters, and it is not what the model says when it is asked.
    untaught = Recommender(**taught.get_params())
    untaught._take(replace(taught.parts_, student=None))
    alone = untaught.recommend(users, k=8, language_model=False)
    assert not found["score"].equals(alone["score"])
    assert not found["score"].equals(taught.recommend(users, k=8)["score"])


def test_guesses_are_near_what_would_be_said_of_new_people(taught: Recommender, fitted, parts) -> None:
    whole = parts[2].histories()
    histories = whole.select(np.flatnonzero(whole.lengths > 1)).without_last()
    engine = taught.engine_.without_language_model()
    ranked = engine.rank(histories, [np.arange(engine.n_items)] * len(histories))
    reader = Reader(engine.vectors)
    for one in ranked:
        [said] = reader.probability([one.context], [one.items], None)
        assert np.corrcoef(np.log(said / (1 - said)), one.features[:, STUDENT])[0, 1] > 0.5
    assert all(np.isnan(one.probabilities).all() for one in ranked)


def test_people_not_asked_about_are_guessed_and_those_asked_about_never_see_their_own(
    fitted: Recommender, parts, monkeypatch
) -> None:
    from mmsrarec.rank import BlendRanker

    seen: list[list[np.ndarray]] = []
    fit = BlendRanker.fit
    monkeypatch.setattr(
        BlendRanker, "fit", lambda self, *groups: seen.append(groups[1]) or fit(self, *groups)
    )
    _, made = blended(fitted, parts[0], asked=30)
    asked, others = seen[0][:30], seen[0][30:]
    assert len(others) > 5
    assert all(np.isfinite(matrix[:, STUDENT]).all() for matrix in seen[0])
    assert all(np.isnan(matrix[:, FEATURES.index("mllm_logit")]).all() for matrix in others)
    for matrix, guess in zip(asked, made["student"].out_of_fold_, strict=True):
        assert np.array_equal(matrix[:, STUDENT], guess.astype(np.float32))


def test_an_explanation_never_shows_a_guess_as_p(taught: Recommender, parts) -> None:
    user = parts[0].user_ids[0]
    first = taught.recommend([user], k=1, language_model=False).row(0, named=True)
    why = taught.explain(user, language_model=False)
    assert (why.candidate.item_id, why.probability) == (first["item_id"], None)
    assert why.score == pytest.approx(first["score"], abs=1e-6)
    assert "student_logit" in why.features
    assert "mllm_logit" not in why.features
    assert "p(yes)" not in str(why)
    assert "what the language model taught" in str(why)
    asked = taught.explain(user)
    assert asked.probability is not None
    assert "mllm_logit" in asked.features
    assert "student_logit" not in asked.features


def test_it_is_saved_and_grows_with_the_catalogue(taught: Recommender, parts, tmp_path: Path) -> None:
    taught.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model", device="cpu")
    users = parts[0].user_ids[:3].to_list()
    before = taught.recommend(users, k=8, language_model=False)
    assert loaded.recommend(users, k=8, language_model=False).equals(before)
    assert str(loaded.parts_.student) == str(taught.parts_.student)

    known = loaded.parts_.retrieval.contents[5]
    new = {"item_id": ["n1"], "title": [known.title], "description": [known.description]}
    loaded.add_items(pl.DataFrame({**new, "categories": ["|".join(known.categories)]}))
    vectors = loaded.parts_.vectors
    assert len(vectors) == len(taught.parts_.vectors) + 1
    np.testing.assert_allclose(vectors[-1].astype(float), vectors[5].astype(float), atol=2e-3)
    changed = pl.DataFrame({"item_id": parts[0].item_ids[[7]], "title": ["Something else entirely"]})
    loaded.add_items(changed)
    assert np.abs(loaded.parts_.vectors[7].astype(float) - vectors[7]).max() > 0.02
    assert np.array_equal(loaded.parts_.vectors[:7], vectors[:7])
    loaded.update(pl.DataFrame({"user_id": [users[0]], "item_id": ["n1"], "timestamp": [1_750_000_000]}))
    loaded.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model", device="cpu")
    found = loaded.recommend(users, k=8, language_model=False)
    assert again.recommend(users, k=8, language_model=False).equals(found)
    assert loaded.explain(users[1], "n1", language_model=False).features["student_logit"] != 0


def test_it_is_loaded_without_the_language_model(
    taught: Recommender, parts, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It answers as the whole one does in real time, and says what it cannot do."""
    taught.save(tmp_path / "model")
    whole = Recommender.load(tmp_path / "model", device="cpu")
    request.getfixturevalue("no_language_model")
    shutil.rmtree(tmp_path / "model" / "summarizer")
    light = Recommender.load(tmp_path / "model", backbone="no/such-model", language_model=False)
    users = parts[0].user_ids[:3].to_list()
    new = pl.DataFrame(
        {"user_id": [users[0]], "item_id": parts[0].item_ids[[7]], "timestamp": [1_750_000_000]}
    )
    for _ in range(2):
        found = light.recommend(users, k=8, language_model=False)
        assert found.equals(whole.recommend(users, k=8, language_model=False))
        why = light.explain(users[1], language_model=False)
        assert str(why) == str(whole.explain(users[1], language_model=False))
        assert light.search("red", 5).equals(whole.search("red", 5))
        for recommender in (light, whole):
            recommender.update(new)
    some = parts[0].item_ids[0]
    for cannot in (
        lambda: light.recommend(users),
        lambda: light.explain(users[0]),
        lambda: light.predict(users=users[:1], items=[some]),
        lambda: light.add_items(pl.DataFrame({"item_id": ["n1"], "title": ["A hat"]})),
        lambda: light.save(tmp_path / "again"),
        lambda: recommendation_cost(light, parts[0]),
    ):
        with pytest.raises(InputError, match="loaded without its language model"):
            cannot()
    assert not (tmp_path / "again").exists()
    with pytest.raises(InputError, match="language_model must be True or False, got 'no'"):
        Recommender.load(tmp_path / "model", language_model="no")


def test_a_model_of_an_earlier_version_names_what_it_lacks(taught: Recommender, tmp_path: Path) -> None:
    taught.save(tmp_path / "model")
    manifest = read_json(tmp_path / "model" / MANIFEST)
    del manifest["files"]["tokenizer.json"]
    write_json(tmp_path / "model" / MANIFEST, manifest)
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(StoredFileError, match="load it with the language model and save it again"):
        Recommender.load(tmp_path / "model", language_model=False)
    assert Recommender.load(tmp_path / "model", device="cpu").parts_.language_model is not None


def test_a_student_that_learned_nothing_is_the_blend_without_the_language_model(
    fitted: Recommender, parts, workdir: Path
) -> None:
    student = fitted.parts_.student
    assert student is not None
    assert not student.informative  # four users were asked about
    assert fitted.parts_.vectors is None
    assert "student of the language model: " in (workdir / "mmsrarec.log").read_text()
    users = parts[0].user_ids[:2].to_list()
    without = Recommender(**fitted.get_params())
    without._take(replace(fitted.parts_, without=frozenset({"mllm"})))
    assert fitted.recommend(users, k=5, language_model=False).equals(without.recommend(users, k=5))
    with pytest.raises(InputError, match="language_model must be True or False, got 'no'"):
        fitted.recommend(users, language_model="no")
