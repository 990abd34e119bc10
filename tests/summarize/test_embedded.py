"""The embedded backbone learns to answer with keywords in a handful of steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from trl import SFTConfig

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import ItemContent
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
