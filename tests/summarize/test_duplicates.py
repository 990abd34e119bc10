"""Near-duplicates go, other numbers and other languages stay."""

from __future__ import annotations

import pytest

from mmsrarec.backbone import SentenceEncoder
from mmsrarec.errors import MmsrarecError
from mmsrarec.summarize.duplicates import NearDuplicates


@pytest.fixture(scope="module")
def distinct() -> NearDuplicates:
    try:
        return NearDuplicates(SentenceEncoder.load(device="cpu"))
    except MmsrarecError as error:
        pytest.skip(f"the embedded sentence encoder is not installed: {error}")


def test_the_first_of_what_says_the_same_is_kept(distinct: NearDuplicates) -> None:
    words = ["tv series", "color", "wife", "television series", "colour", "husband", "gray", "grey"]
    assert distinct(words) == ("tv series", "color", "wife", "husband", "gray")


def test_numbers_and_other_scripts_are_never_the_same(distinct: NearDuplicates) -> None:
    for words in (
        ("size 38", "size 39", "1998", "1999"),
        ("москва", "москвы", "犬", "狗", "小説", "café", "cafe"),
    ):
        assert distinct(words) == words


def test_without_an_encoder_nothing_is_dropped() -> None:
    assert NearDuplicates(None)(["color", "colour"]) == ("color", "colour")
