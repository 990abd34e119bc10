"""The embedded backbone learns to answer with keywords in a handful of steps, and names what it sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trl import SFTConfig

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import ItemContent, catalogue_facts, make_catalogue
from mmsrarec.summarize import KeywordTable, Summarizer
from mmsrarec.summarize.summarizer import ADAPTER
from mmsrarec.summarize.targets import KeywordExtractor
from mmsrarec.summarize.warm_start import warm_start_examples


def test_a_short_warm_start_makes_lists_of_keywords_likelier(
    embedded: Backbone, contents: list[ItemContent], tmp_path: Path
) -> None:
    config = SFTConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        max_steps=3,
        learning_rate=2e-3,
        lr_scheduler_type="constant",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    held_out, training = contents[:3], contents[3:]
    summarizer = Summarizer(
        backbone=embedded,
        encoder=SentenceEncoder.load(device="cpu"),
        warm_start_items=6,
        grpo_steps=0,
        warm_start=config,
        text_tokens=16,
        answer_tokens=12,
    )
    prompts, answers = warm_start_examples(
        held_out,
        extractor=KeywordExtractor(contents),
        backbone=embedded,
        items=len(held_out),
        text_tokens=16,
        seed=0,
    )
    try:
        summarizer.fit(training, workdir=tmp_path / "run")
        before = embedded.mean_nll(prompts, answers)
        after = embedded.mean_nll(prompts, answers, adapter=ADAPTER)
        assert np.mean(after) < np.mean(before) - 0.3
        keywords = summarizer.summarize(held_out, KeywordTable(None))
        assert all(0 < len(words) <= 8 for words in keywords)
    finally:
        embedded.remove_adapter(ADAPTER)


def recalls(
    summarizer: Summarizer, contents: list[ItemContent], shown: list[tuple[str, ...]]
) -> tuple[float, float]:
    """Return the share of shown words among the keywords, with the right pictures and with those of others."""

    def recall(pictures: list[ItemContent]) -> float:
        asked = [
            replace(content, picture=other.picture) for content, other in zip(contents, pictures, strict=True)
        ]
        keywords = summarizer.summarize(asked, KeywordTable(None))
        return float(
            np.mean([word in found for words, found in zip(shown, keywords, strict=True) for word in words])
        )

    return recall(contents), recall(contents[5:] + contents[:5])


def test_keywords_name_what_only_the_picture_shows(embedded: Backbone, tmp_path: Path) -> None:
    catalogue, facts = make_catalogue(12, 4, 5, folder=tmp_path), catalogue_facts(12, 5)
    contents = [catalogue.item_content(item) for item in range(12)]
    shown = facts.select("colour", "pattern").rows()
    assert not any(
        word in content.text for content, words in zip(contents, shown, strict=True) for word in words
    )
    summarizer = Summarizer(backbone=embedded, encoder=None, warm_start_items=0, grpo_steps=0)
    right, shuffled = recalls(summarizer, contents, shown)
    assert right > 0.6
    assert right > shuffled + 0.4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_training_leaves_what_only_the_picture_shows(embedded: Backbone, tmp_path: Path) -> None:
    catalogue, facts = make_catalogue(52, 4, 5, folder=tmp_path / "shop"), catalogue_facts(52, 5)
    contents = [catalogue.item_content(item) for item in range(52)]
    shown = facts.select("colour", "pattern").rows()[:12]
    summarizer = Summarizer(
        backbone=embedded, encoder=SentenceEncoder.load(device="cpu"), warm_start_items=40, grpo_steps=3
    ).fit(contents[12:], workdir=tmp_path / "fit")
    right, shuffled = recalls(summarizer, contents[:12], shown)
    embedded.remove_adapter(ADAPTER)
    assert summarizer.images_admitted_
    assert right > 0.6
    assert right > shuffled + 0.4
