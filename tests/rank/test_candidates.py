"""Candidates: a union of two sources under a budget, filters first."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.errors import InputError
from mmsrarec.rank import CandidateSource, top_items
from mmsrarec.retrieve import KeywordSearch


@given(
    st.lists(st.tuples(st.sampled_from([-np.inf, 0.0, 1.0, 2.5]), st.booleans()), max_size=20),
    st.integers(0, 25),
)
def test_top_items_equals_sorting(rows: list[tuple[float, bool]], count: int) -> None:
    scores = np.array([score for score, _ in rows])
    allowed = np.array([flag for _, flag in rows], bool)
    expected = sorted(
        (item for item, (score, flag) in enumerate(rows) if flag and np.isfinite(score)),
        key=lambda item: (-rows[item][0], item),
    )
    assert top_items(scores, allowed, count).tolist() == expected[:count]


@pytest.fixture(scope="module")
def source(view) -> CandidateSource:
    return CandidateSource(KeywordSearch(view.all_keywords), view.all_keywords, budget=6)


def test_sources_take_turns(catalogue, builder, source: CandidateSource) -> None:
    [context] = builder.build([catalogue.histories()[0]])
    scores = np.arange(catalogue.n_items, dtype=float)
    everything = np.ones(catalogue.n_items, bool)
    found = source.candidates(context, scores, everything).tolist()
    by_keywords, _ = source.search.search(source.query(context), 6, allow=everything)
    assert len(found) == len(set(found)) == 6
    assert found[0] == catalogue.n_items - 1
    assert found[1] == by_keywords[0]
    assert set(found) <= set(by_keywords.tolist()) | set(range(catalogue.n_items - 6, catalogue.n_items))


def test_filters_come_before_the_budget(catalogue, builder, source: CandidateSource) -> None:
    [context] = builder.build([catalogue.histories()[0]])
    allowed = np.zeros(catalogue.n_items, bool)
    allowed[[2, 3, 5]] = True
    found = source.candidates(context, np.arange(catalogue.n_items, dtype=float), allowed)
    assert set(found.tolist()) == {2, 3, 5}
    none = source.candidates(context, np.zeros(catalogue.n_items), np.zeros(catalogue.n_items, bool))
    assert none.tolist() == []


def test_more_can_be_asked_for(catalogue, builder, source: CandidateSource) -> None:
    [context] = builder.build([catalogue.histories()[0]])
    everything = np.ones(catalogue.n_items, bool)
    scores = np.zeros(catalogue.n_items)
    assert (
        len(source.candidates(context, scores, everything, at_least=catalogue.n_items)) == catalogue.n_items
    )


def test_bad_budget_is_named(source: CandidateSource) -> None:
    with pytest.raises(InputError, match="candidates must be 1 or more, got 0"):
        CandidateSource(source.search, source.keywords, budget=0)
