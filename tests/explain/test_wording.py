from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.explain.wording import display_width, join_words, number, percent, plain, shorten, signed, wrap

ANY_TEXT = st.text(st.characters(codec=None), max_size=300)


@given(ANY_TEXT, st.integers(1, 60))
def test_plain_text_is_one_harmless_encodable_line(text, limit):
    cleaned = plain(text, limit=limit)
    assert len(cleaned) <= limit
    cleaned.encode("utf-8")
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in cleaned)
    assert not set(cleaned) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_plain_text_keeps_what_scripts_need():
    assert plain("نمایش\u200cنامه") == "نمایش\u200cنامه"
    assert plain("👩\u200d🎨 art") == "👩\u200d🎨 art"


def test_a_megabyte_is_cut_quickly():
    assert plain("x" * 1_000_000) == "x" * 199 + "…"


@given(st.text(max_size=80), st.integers(1, 40))
def test_shortened_text_fits(text, width):
    assert display_width(shorten(text, width)) <= max(width, 1)


@given(
    st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30)), st.integers(4, 50)
)
def test_wrapped_lines_fit_and_keep_the_order(pieces, width):
    lines = wrap(pieces, width)
    assert all(display_width(line) <= width for line in lines)
    short = [piece for piece in pieces if display_width(piece) <= width]
    assert [piece for line in lines for piece in line.split(" ") if piece in short] == short


def test_joined_words_name_how_many_are_left_out():
    assert join_words([]) == ""
    assert join_words(["a", "b"]) == "a and b"
    assert join_words(list("abcdefg")) == "a, b, c, d and 3 more"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (-0.0001, "0.000"),
        (-1.5, "−1.500"),
        (float("-inf"), "−infinite"),
        (-2e30, "−2.000e+30"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_signs():
    assert (signed(1.234), signed(-0.001), signed(float("nan"))) == ("+1.23", "0.00", "not a number")


def test_percentages_never_round_to_certainty():
    assert [percent(value) for value in (0.0, 0.004, 0.5, 0.996, 1.0)] == [
        "0 %",
        "< 1 %",
        "50 %",
        "> 99 %",
        "100 %",
    ]
