"""Image prompts take part in GRPO only where their answers are about their own items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import ItemContent, make_catalogue
from mmsrarec.summarize import Summarizer, training
from mmsrarec.summarize.admission import are_about_their_items, own_less_others
from mmsrarec.summarize.grpo import POLICY, PolicyPrompt
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
    assert "GRPO learns from text prompts alone" in caplog.text
    monkeypatch.setattr(training, "are_about_their_items", lambda *parts, **more: True)
    with pytest.raises(KeyboardInterrupt):
        summarizer.fit(contents[:12], workdir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        summarizer.fit(contents[:12], workdir=tmp_path, seed=1)
    assert taken == [(12, 0), (12, 0), (12, 12)]
