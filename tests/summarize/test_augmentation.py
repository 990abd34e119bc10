"""Other views are true of their item, and training can begin with what another catalogue taught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError
from mmsrarec.summarize import KeywordTable, Summarizer
from mmsrarec.summarize.augmentation import CroppedPicture, another_view
from mmsrarec.summarize.summarizer import ADAPTER
from mmsrarec.testing import TinyPicture


@given(
    st.text(max_size=20), st.text(max_size=80), st.lists(st.text(max_size=8), max_size=4), st.integers(0, 99)
)
@settings(max_examples=100)
def test_a_view_says_nothing_that_the_item_does_not(
    title: str, description: str, categories: list[str], seed: int
) -> None:
    view = another_view(ItemContent(title, description, tuple(categories)), np.random.default_rng(seed))
    assert view.title in (title, "")
    assert view.title == title or description.strip()
    assert sorted(view.categories) == sorted(categories)
    words, known = view.description.split(), description.split()
    assert words == known[len(known) - len(words) :]


def test_a_crop_is_a_part_of_the_picture() -> None:
    whole = TinyPicture((200, 0, 0), (40, 30))
    crops = [
        another_view(ItemContent("a", picture=whole), np.random.default_rng(seed)).picture
        for seed in range(20)
    ]
    assert len({crop.key for crop in crops} | {whole.key}) == 21
    for crop in crops:
        width, height = crop.load().size
        assert 29 <= width <= 40
        assert 21 <= height <= 30
    part = CroppedPicture(whole, (0.25, 0.2, 0.5, 0.7)).load()
    assert part.size == (10, 15)
    assert part.getpixel((5, 5)) == (200, 0, 0)


def test_training_begins_with_what_another_catalogue_taught(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder, contents: list[ItemContent], tmp_path: Path
) -> None:
    def learner(items: int, views: int = 1) -> Summarizer:
        return Summarizer(
            backbone=tiny_llava,
            encoder=tiny_encoder,
            warm_start_items=items,
            grpo_steps=0,
            warm_start_views=views,
            text_tokens=12,
            answer_tokens=8,
        )

    try:
        general = learner(12).fit(contents[:12], workdir=tmp_path / "general")
        general.save(tmp_path / "saved")
        once = learner(4).fit(contents[20:24], workdir=tmp_path / "once").warm_start_log_
        fresh = learner(4, views=3).fit(contents[20:24], workdir=tmp_path / "fresh")
        assert len(fresh.warm_start_log_) > len(once)
        loaded = Summarizer.load(tmp_path / "saved", backbone=tiny_llava, encoder=tiny_encoder)
        begun = learner(4, views=3).fit(contents[20:24], workdir=tmp_path / "begun", start=loaded)
        # The same examples, easier for one that has learned to answer.
        assert begun.warm_start_log_[0]["loss"] < fresh.warm_start_log_[0]["loss"]
        made = begun.fingerprint
        assert learner(4, views=3).fit(contents[20:24], workdir=tmp_path / "fresh").fingerprint != made
        begun.fit(contents[20:24], workdir=tmp_path / "begun", start=loaded)
        assert begun.fingerprint == made
        assert begun.summarize(contents[30:33], KeywordTable(None))
        with pytest.raises(InputError, match="start must be a fitted"):
            learner(4).fit(contents[:4], workdir=tmp_path / "none", start=learner(4))
    finally:
        if ADAPTER in tiny_llava.adapters:
            tiny_llava.remove_adapter(ADAPTER)
