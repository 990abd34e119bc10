"""Parsing and merging hold for any text a model may write, and for the cases seen in practice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsrarec.summarize.keywords import (
    MAX_CHARACTERS,
    MAX_WORDS,
    ParsedAnswer,
    keyword_key,
    merge_keywords,
    normalize_keyword,
    parse_answer,
)

answers = st.one_of(
    st.text(max_size=200),
    st.lists(st.text(max_size=30), max_size=12).map(", ".join),
    st.lists(st.sampled_from(["Dog", "dogs", "big dog", "the", "猫", "1.", "-", "\n", "a b c d e f"])).map(
        ", ".join
    ),
)
keyword_lists = st.lists(st.text(min_size=1, max_size=20), max_size=10)


@given(answers, st.integers(1, 8), st.booleans())
@settings(max_examples=300)
def test_any_answer_gives_a_list_of_short_distinct_keywords(answer: str, limit: int, cut_short: bool) -> None:
    parsed = parse_answer(answer, limit=limit, cut_short=cut_short)
    assert len(parsed.keywords) <= min(limit, parsed.written)
    assert len({keyword_key(keyword) for keyword in parsed.keywords}) == len(parsed.keywords)
    for keyword in parsed.keywords:
        assert keyword == normalize_keyword(keyword) != ""
        assert "," not in keyword
        assert "\n" not in keyword
        assert len(keyword) <= 2 * MAX_CHARACTERS
    assert parsed.repaired or parsed.keywords


@given(answers)
@settings(max_examples=300)
def test_parsing_what_was_parsed_changes_nothing(answer: str) -> None:
    keywords = parse_answer(answer).keywords
    if keywords:
        assert parse_answer(", ".join(keywords)).keywords == keywords


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_normalizing_twice_is_normalizing_once(text: str) -> None:
    once = normalize_keyword(text)
    assert normalize_keyword(once) == once
    assert keyword_key(once) == keyword_key(text)


@given(keyword_lists, keyword_lists, st.integers(1, 8))
@settings(max_examples=300)
def test_merging_keeps_both_modalities_and_repeats_nothing(
    image: list[str], text: list[str], limit: int
) -> None:
    merged = merge_keywords(image, text, limit=limit)
    keys = [keyword_key(keyword) for keyword in merged]
    image_keys = {keyword_key(keyword) for keyword in image} - {""}
    text_keys = {keyword_key(keyword) for keyword in text} - {""}
    assert len(set(keys)) == len(keys) == min(limit, len(image_keys | text_keys))
    assert set(keys) <= image_keys | text_keys
    if limit >= 2 and image_keys and text_keys:
        assert set(keys) & image_keys
        assert set(keys) & text_keys


def test_the_modalities_take_turns_with_text_first() -> None:
    merged = merge_keywords(["red", "dotted", "cup"], ["tea", "kitchen", "gift"], limit=5)
    assert merged == ("tea", "red", "kitchen", "dotted", "gift")


def test_one_modality_fills_up_when_the_other_has_little() -> None:
    assert merge_keywords(["red"], ["tea", "mug", "gift", "home"], limit=4) == ("tea", "red", "mug", "gift")
    assert merge_keywords([], ["tea"], limit=4) == ("tea",)
    assert merge_keywords(["red"], [], limit=4) == ("red",)
    assert merge_keywords([], [], limit=4) == ()


@pytest.mark.parametrize(
    ("answer", "keywords", "written", "repaired"),
    [
        ("comedy, dog, Dogs, DOG", ("comedy", "dog"), 4, False),
        ("Keywords: red mug; tea | gift", ("red mug", "tea", "gift"), 4, False),
        ("Key words for this item: tea", ("tea",), 1, False),
        ("\n\n tea, mug\nHere is why: because", ("tea", "mug"), 2, False),
        ("Here are the keywords:\n\n- tea\n- red mug\n\nEnjoy!", ("tea", "red mug"), 3, False),
        ("1. tea\n2. mug", ("tea", "mug"), 2, False),
        ("1. tea, 2. mug, - gift", ("tea", "mug", "gift"), 3, False),
        ("コメディ、犬、Москва", ("コメディ", "犬", "москва"), 3, False),
        ("This mug is made for the tea lover", ("mug", "tea", "lover"), 8, True),
        ("tea, a mug that was made for all of us", ("tea", "mug that was"), 10, True),
        ("a story of, the red mug, who, made for", ("story", "red mug", "who", "made"), 9, False),
        ("", (), 0, True),
        ("..., !!, --", (), 0, True),
    ],
)
def test_answers_seen_in_practice(
    answer: str, keywords: tuple[str, ...], written: int, repaired: bool
) -> None:
    parsed = parse_answer(answer)
    assert (parsed.keywords, parsed.written, parsed.repaired) == (keywords, written, repaired)


@given(answers, st.integers(1, 8), st.booleans())
@settings(max_examples=300)
def test_as_written_is_a_part_of_what_is_repaired(answer: str, limit: int, cut_short: bool) -> None:
    repaired = parse_answer(answer, limit=99, cut_short=cut_short)
    as_written = parse_answer(answer, limit=limit, cut_short=cut_short, as_written=True)
    assert as_written.written == repaired.written
    assert {keyword_key(keyword) for keyword in as_written.keywords} <= {
        keyword_key(keyword) for keyword in repaired.keywords
    }
    if not repaired.repaired:
        assert as_written.keywords == repaired.keywords[:limit]


def test_as_written_a_clause_is_no_keyword() -> None:
    def as_written(answer: str) -> ParsedAnswer:
        return parse_answer(answer, as_written=True)

    assert as_written("tea, a mug that was made for all") == ParsedAnswer(("tea",), written=8, repaired=True)
    assert as_written("this mug was made for all") == ParsedAnswer((), written=6, repaired=True)
    assert as_written("tea, " + "x" * 49).keywords == ("tea",)


def test_a_long_part_keeps_few_words() -> None:
    (keyword,) = parse_answer("x" * 200 + ", ").keywords
    assert len(keyword) == MAX_CHARACTERS
    assert all(len(k.split()) <= MAX_WORDS for k in parse_answer("a b c d e f g, tea").keywords)


def test_half_a_word_is_dropped_only_when_generation_was_cut() -> None:
    assert parse_answer("tea, red mu", cut_short=True).keywords == ("tea",)
    assert parse_answer("tea, red mu").keywords == ("tea", "red mu")
    assert parse_answer("tea", cut_short=True).keywords == ("tea",)


def test_a_repeated_keyword_counts_in_length_and_not_in_keywords() -> None:
    parsed = parse_answer("sale, " * 7 + "sale")
    assert parsed.keywords == ("sale",)
    assert parsed.written == 8


def test_echo_of_the_instruction_is_no_keyword() -> None:
    answer = parse_answer("teapot, keywords for this text, stoneware, Keyword")
    assert answer == ParsedAnswer(("teapot", "stoneware"), written=7, repaired=True)
    assert parse_answer("keyboard, keystone").keywords == ("keyboard", "keystone")
