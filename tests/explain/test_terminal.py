from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.explain import Explanation, KeywordItem, Neighbour, SharedItem
from mmsrarec.explain.wording import display_width

TEXT = st.text(st.characters(codec=None), max_size=120)
NUMBER = st.floats(width=32)
ITEM = st.builds(
    lambda title, keywords: KeywordItem("i", title, tuple(keywords), frozenset(keywords[:2])),
    TEXT,
    st.lists(TEXT, max_size=8),
)


def test_the_text_tells_the_whole_story(scarf: Explanation):
    text = str(scarf)
    for part in (
        "Why Scarf for user 17?",
        "p(yes) 0.834   score 0.741   rank 1",
        "[wool], red, winter",
        "0.93  Scarf",
        "language model: p(yes)",
        "+1.62",
        "−0.31",
        "Note: Nobody in the training data took this item.",
        "14 users took this and something of the history.",
        "  3 users who also took Gloves took this.",
    ):
        assert part in text


@given(
    st.lists(ITEM, max_size=4),
    st.lists(st.builds(Neighbour, NUMBER, ITEM), max_size=3),
    ITEM,
    st.none() | NUMBER,
    NUMBER,
    st.dictionaries(TEXT, NUMBER, max_size=4),
    st.lists(TEXT, max_size=3),
    st.lists(st.builds(SharedItem, st.integers(1, 2**31 - 1), ITEM), max_size=3),
)
def test_any_content_fits_a_terminal(
    history, neighbours, candidate, probability, score, features, notes, shared
):
    explanation = Explanation(
        "u",
        tuple(history),
        tuple(neighbours),
        candidate,
        probability,
        score,
        3,
        features,
        (),
        tuple(notes),
        2**31 - 1,
        tuple(shared),
    )
    text = str(explanation)
    assert max(display_width(line) for line in text.split("\n")) <= 100
    assert "\x1b" not in text
    text.encode("utf-8")


def test_a_missing_probability_and_rank_are_left_out(scarf: Explanation):
    text = str(replace(scarf, probability=None, rank=None, features={}, notes=(), bridge_users=0))
    assert "p(yes)" not in text
    assert "rank" not in text
    assert "moved the score" not in text
    assert "also took" not in text


def test_a_feature_that_is_not_a_number_is_named(scarf: Explanation):
    assert "not a number" in str(replace(scarf, features={"odd": math.nan, "even": 1.0}))
