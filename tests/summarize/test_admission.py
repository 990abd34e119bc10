"""Answers about pictures take part in GRPO and in keywords only where they are about their own items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import ItemContent, make_catalogue
from mmsrarec.summarize import KeywordTable, Summarizer, training
from mmsrarec.summarize.admission import are_about_their_items, own_less_others
from mmsrarec.summarize.grpo import POLICY, PolicyPrompt
from mmsrarec.summarize.summarizer import ADAPTER
from mmsrarec.summarize.table import KeywordRow
from mmsrarec.summarize.training import policy_prompts
from mmsrarec.summarize.warm_start import add_fresh_adapter, language_lora


def test_one_list_for_all_is_no_nearer_to_its_items(tiny_encoder: SentenceEncoder) -> None:
    texts = ["a red lamp", "tea from assam", "a wooden chair", ""]
    generic = own_less_others([["lamp", "tea"]] * 4, texts, tiny_encoder)
    assert generic.mean() == pytest.approx(0.0, abs=1e-6)
    own = own_less_others([["red", "lamp"], ["tea", "assam"], ["wooden", "chair"], []], texts, tiny_encoder)
    assert own[:3].mean() > 0.2
    assert own[3] == 0.0


def test_pictures_that_say_what_is_in_them_are_admitted_and_those_of_other_items_are_not(
    embedded: Backbone, tmp_path: Path
) -> None:
    shop = make_catalogue(20, 4, 3, folder=tmp_path)
    _, prompts = policy_prompts(embedded, [shop.item_content(item) for item in range(20)], text_tokens=16)
    encoder = SentenceEncoder.load(device="cpu")
    add_fresh_adapter(embedded, POLICY, language_lora(embedded), seed=0)

    def admitted(prompts: list[PolicyPrompt]) -> bool:
        return are_about_their_items(embedded, POLICY, prompts, encoder, answer_tokens=16, limit=8, seed=0)

    try:
        assert admitted(prompts)
        texts = np.roll([entry.text for entry in prompts], 7)
        assert not admitted(
            [PolicyPrompt(entry.prompt, str(text)) for entry, text in zip(prompts, texts, strict=True)]
        )
    finally:
        embedded.remove_adapter(POLICY)


def test_grpo_goes_without_pictures_that_say_nothing_and_a_resumed_run_too(
    tiny_llava: Backbone,
    tiny_encoder: SentenceEncoder,
    contents: list[ItemContent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken: list[tuple[int, int]] = []

    def stop(backbone: Backbone, text: list, image: list, *parts: object, **more: object) -> None:
        taken.append((len(text), len(image)))
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train_policy", stop)
    summarizer = Summarizer(backbone=tiny_llava, encoder=tiny_encoder, warm_start_items=0, grpo_steps=1)
    with caplog.at_level("WARNING", logger="mmsrarec"), pytest.raises(KeyboardInterrupt):
        summarizer.fit(contents[:12], workdir=tmp_path)
    assert "keywords of items with a text are the text's" in caplog.text
    monkeypatch.setattr(training, "are_about_their_items", lambda *parts, **more: True)
    with pytest.raises(KeyboardInterrupt):
        summarizer.fit(contents[:12], workdir=tmp_path)
    assert taken == [(12, 0), (12, 0)]


@pytest.mark.parametrize("at_first", [True, False])
def test_pictures_that_are_heard_already_are_left_alone(
    tiny_llava: Backbone,
    tiny_encoder: SentenceEncoder,
    contents: list[ItemContent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_first: bool,
) -> None:
    asked: list[str | None] = []
    learned: list[tuple[int, int]] = []

    def about_their_items(backbone: Backbone, adapter: str | None, *parts: object, **more: object) -> bool:
        asked.append(adapter)
        return at_first or adapter is not None

    def teach(backbone: Backbone, adapter: str, prompts: list, answers: list, **more: object) -> None:
        pictured = sum(any(not isinstance(part, str) for part in prompt.content) for prompt in prompts)
        learned.append((len(prompts) - pictured, pictured))

    def stop(backbone: Backbone, text: list, image: list, *parts: object, **more: object) -> None:
        learned.append((len(text), len(image)))
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "are_about_their_items", about_their_items)
    monkeypatch.setattr(training, "warm_start", teach)
    monkeypatch.setattr(training, "train_policy", stop)
    summarizer = Summarizer(backbone=tiny_llava, encoder=tiny_encoder, warm_start_items=12, grpo_steps=1)
    with pytest.raises(KeyboardInterrupt):
        summarizer.fit(contents[:12], workdir=tmp_path)
    assert asked == ([None] if at_first else [None, POLICY])
    assert learned == ([(12, 0), (12, 0)] if at_first else [(12, 12), (12, 12)])


def test_pictures_that_say_nothing_leave_keywords_to_the_text(
    tiny_llava: Backbone,
    tiny_encoder: SentenceEncoder,
    contents: list[ItemContent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fitted(name: str) -> Summarizer:
        return Summarizer(
            backbone=tiny_llava, encoder=tiny_encoder, warm_start_items=6, grpo_steps=0, text_tokens=12
        ).fit(contents[:12], workdir=tmp_path / name)

    pictured = [content for content in contents if content.picture is not None]
    asked = [*pictured[:4], ItemContent("", picture=pictured[4].picture)]

    def rows(summarizer: Summarizer) -> list[KeywordRow]:
        table = KeywordTable(None)
        summarizer.summarize(asked, table)
        made = table.get_many([content.key for content in asked], made_by=summarizer.fingerprint)
        return [made[content.key] for content in asked]

    refused = fitted("refused")
    assert not refused.images_admitted_
    *with_text, picture_alone = from_text = rows(refused)
    assert all(row.image_keywords == () for row in with_text)
    assert [row.keywords for row in with_text] == [row.text_keywords for row in with_text]
    assert picture_alone.keywords == picture_alone.image_keywords != ()
    refused.save(tmp_path / "saved")

    with monkeypatch.context() as patch:
        patch.setattr(training, "are_about_their_items", lambda *parts, **more: True)
        admitted = fitted("admitted")
    from_both = rows(admitted)
    assert all(row.image_keywords != () for row in from_both)
    assert [row.text_keywords for row in from_both] == [row.text_keywords for row in from_text]
    assert from_both != from_text

    loaded = Summarizer.load(tmp_path / "saved", backbone=tiny_llava, encoder=tiny_encoder)
    assert loaded.fingerprint == refused.fingerprint != admitted.fingerprint
    assert rows(loaded) == from_text
    assert not fitted("refused").images_admitted_
    tiny_llava.remove_adapter(ADAPTER)
