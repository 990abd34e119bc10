"""Candidates: a union of three sources under a budget, filters first."""

from dataclasses import replace

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
def source(view, paths) -> CandidateSource:
    return CandidateSource(KeywordSearch(view.all_keywords), view.all_keywords, paths, budget=6)


def test_sources_take_turns(catalogue, builder, source: CandidateSource) -> None:
    history = catalogue.histories()[0]
    [context] = builder.build([history])
    scores = np.arange(catalogue.n_items, dtype=float)
    everything = np.ones(catalogue.n_items, bool)
    found = source.candidates(history, context, scores, everything, exclude_user=0).tolist()
    by_keywords, _ = source.search.search(source.query(context), 6, allow=everything)
    counts, _ = source.paths.evidence(history, np.arange(catalogue.n_items), exclude_user=0)
    by_paths = np.argsort(-counts, kind="stable")
    assert len(found) == len(set(found)) == 6
    first_turn = list(dict.fromkeys([catalogue.n_items - 1, by_keywords[0], by_paths[0]]))
    assert found[: len(first_turn)] == first_turn
    allowed_by_some = set(by_keywords.tolist()) | set(by_paths[:6].tolist())
    assert set(found) <= allowed_by_some | set(range(catalogue.n_items - 6, catalogue.n_items))


def test_the_items_with_most_bridge_users_are_candidates(builder, source: CandidateSource, catalogue) -> None:
    history = catalogue.histories()[3][:1]
    nothing_known = replace(builder.build([history])[0], history=(), neighbours=())
    allowed = np.ones(catalogue.n_items, bool)
    allowed[history] = False
    without_scores = np.full(catalogue.n_items, -np.inf)
    found = source.candidates(history, nothing_known, without_scores, allowed, exclude_user=3)
    counts, _ = source.paths.evidence(history, np.arange(catalogue.n_items), exclude_user=3)
    counts[history] = 0
    expected = [item for item in np.argsort(-counts, kind="stable") if counts[item]]
    assert len(expected) > 3
    assert found.tolist() == expected[:6]


def test_filters_come_before_the_budget(catalogue, builder, source: CandidateSource) -> None:
    history = catalogue.histories()[0]
    [context] = builder.build([history])
    allowed = np.zeros(catalogue.n_items, bool)
    allowed[[2, 3, 5]] = True
    found = source.candidates(history, context, np.arange(catalogue.n_items, dtype=float), allowed)
    assert set(found.tolist()) == {2, 3, 5}
    none = source.candidates(history, context, np.zeros(catalogue.n_items), np.zeros(catalogue.n_items, bool))
    assert none.tolist() == []


def test_more_can_be_asked_for(catalogue, builder, source: CandidateSource) -> None:
    history = catalogue.histories()[0]
    [context] = builder.build([history])
    everything = np.ones(catalogue.n_items, bool)
    scores = np.zeros(catalogue.n_items)
    found = source.candidates(history, context, scores, everything, at_least=catalogue.n_items)
    assert len(found) == catalogue.n_items


def test_bad_budget_is_named(source: CandidateSource) -> None:
    with pytest.raises(InputError, match="candidates must be 1 or more, got 0"):
        CandidateSource(source.search, source.keywords, source.paths, budget=0)
