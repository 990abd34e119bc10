"""Extracted keywords tell an item from the others and could be an answer of the model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError
from mmsrarec.summarize.keywords import parse_answer
from mmsrarec.summarize.targets import KeywordExtractor, phrases

texts = st.text(max_size=60)
items = st.builds(ItemContent, texts, texts, st.lists(st.text(max_size=15), max_size=3).map(tuple))


@given(st.lists(items, min_size=1, max_size=6), st.integers(1, 6))
@settings(max_examples=150)
def test_any_catalogue_gives_answers_that_parse_to_themselves(
    contents: list[ItemContent], limit: int
) -> None:
    extractor = KeywordExtractor(contents, limit=limit)
    for content in contents:
        for keywords in (extractor.text_keywords(content), extractor.image_keywords(content)):
            assert len(keywords) <= limit
            if keywords:
                parsed = parse_answer(", ".join(keywords))
                assert parsed.keywords == keywords
                assert not parsed.repaired


def test_phrases_do_not_cross_stop_words_or_punctuation() -> None:
    assert phrases("Red mug, blue lamp") == ["red", "mug", "red mug", "blue", "lamp", "blue lamp"]
    assert phrases("mug of tea") == ["mug", "tea"]
    assert phrases("boy's room") == ["boy", "room"]
    assert phrases("Ｃａｆé 冒険 x 7") == ["café", "冒険", "café 冒険"]


def test_common_words_lose_to_telling_ones() -> None:
    shop = [ItemContent(f"Lamp {index}", "A lamp for the home.", ()) for index in range(5)]
    shop.append(ItemContent("Lamp 9", "A lamp of walnut for the home.", ()))
    assert KeywordExtractor(shop, limit=1).text_keywords(shop[-1]) == ("walnut",)


def test_in_a_large_catalogue_a_keyword_is_shared() -> None:
    shop = [
        ItemContent(f"Thing {index}", f"Unique{index} {'oak' if index % 2 else 'pine'} shelf.", ("Home",))
        for index in range(60)
    ]
    assert KeywordExtractor(shop).text_keywords(shop[1]) == ("home", "oak shelf", "thing")


def test_the_image_prompt_is_taught_what_a_picture_can_show() -> None:
    shop = [
        ItemContent("Wool scarf", "Handmade in Porto.", ("Winter",)),
        ItemContent("Silk scarf Giulia", "Soft.", ("Summer",)),
    ]
    assert KeywordExtractor(shop).image_keywords(shop[1]) == ("summer", "scarf")


def test_a_category_with_a_comma_is_two_keywords() -> None:
    shop = [ItemContent("Mug", "", ("Home, Kitchen & Co",))]
    assert KeywordExtractor(shop).text_keywords(shop[0])[:2] == ("home", "kitchen & co")


def test_nothing_to_extract_is_nothing_not_an_error() -> None:
    shop = [ItemContent("", "", ()), ItemContent("...", "the of a", ())]
    extractor = KeywordExtractor(shop)
    assert extractor.text_keywords(shop[0]) == extractor.text_keywords(shop[1]) == ()
    with pytest.raises(InputError, match="contents"):
        KeywordExtractor([])
