from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.explain import Explanation, KeywordItem, Neighbour, keywords_match, mark_matches

WORDS = st.lists(st.sampled_from(["wool", "blue", "red", "warm"]), min_size=1, max_size=3).map(" ".join)


@given(WORDS, WORDS)
def test_matching_is_symmetric_and_reflexive(one, other):
    assert keywords_match(one, other) == keywords_match(other, one)
    assert keywords_match(one, one)


def test_an_empty_keyword_matches_nothing():
    assert not keywords_match("", "wool")
    assert not keywords_match("", "")


def test_part_of_a_word_is_no_match():
    assert not keywords_match("art", "party")


def test_marks_and_support_order(scarf: Explanation):
    assert scarf.matches == ("wool", "blue", "soft")
    assert [item.matched for item in scarf.history] == [
        frozenset({"wool"}),
        frozenset(),
        frozenset({"merino wool", "blue"}),
    ]
    assert scarf.candidate.matched == {"wool", "blue", "soft"}
    assert scarf.neighbours[1].item.matched == frozenset()


def test_evidence_names_the_items(scarf: Explanation):
    rows = {row.keyword: (row.history, row.neighbours) for row in scarf.evidence}
    assert rows == {"wool": ((0, 2), (0,)), "blue": ((2,), (0,)), "soft": ((), (0,))}


def test_marking_twice_changes_nothing(scarf: Explanation):
    again = mark_matches(scarf.candidate, scarf.history, scarf.neighbours)
    assert again == (scarf.candidate, scarf.history, scarf.neighbours, scarf.matches)


def test_the_summary_counts_items(scarf: Explanation):
    assert scarf.summary == (
        "It shares wool, blue and soft with 2 of 3 items in the history "
        "and 1 of 2 next items of similar users."
    )


def test_the_summary_without_matches_and_without_history():
    mug = KeywordItem("i7", "Mug", ("ceramic",))
    hat = KeywordItem("i1", "Hat", ("wool",))
    none = Explanation("u", (hat,), (Neighbour(0.5, hat),), mug, 0.1, 0.1)
    assert none.summary.startswith("None of its keywords")
    assert Explanation("u", (), (), mug, 0.1, 0.1).summary.startswith("There is no history")
