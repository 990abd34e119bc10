from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.report.gains import LEFT, RIGHT, TOP, draw_gains

SHARES = st.floats(-1, 1)


@given(st.lists(st.tuples(SHARES, SHARES, SHARES).map(sorted), max_size=9))
def test_every_part_is_a_row_in_the_box_and_zero_is_in_it(values):
    drawn = draw_gains("AUC", [("paths", gain, low, high) for low, gain, high in values])
    assert len(drawn.rows) == len(values)
    assert LEFT <= drawn.zero <= RIGHT
    for _, y, low, high, gain, clear in drawn.rows:
        assert LEFT <= low <= gain <= high <= RIGHT
        assert TOP < y < drawn.bottom < drawn.height
        if clear:
            assert drawn.zero <= low or high <= drawn.zero


def test_positions_are_proportional_and_what_is_clear_of_zero_is_marked():
    drawn = draw_gains("AUC", [("a", 0.5, 0.25, 1.0), ("b", 0.0, -1.0, 1.0), ("c", -0.5, -0.75, -0.25)])
    middle = (LEFT + RIGHT) / 2
    assert drawn.zero == middle
    assert drawn.rows[0][2:5] == (middle + 24.8, RIGHT, middle + 49.5)
    assert [clear for *_, clear in drawn.rows] == [True, False, True]
    assert drawn.ticks == ((LEFT, "−100.0"), (RIGHT, "+100.0"))


@pytest.mark.parametrize("gains", [[], [("a", float("nan"), 0.0, 0.0)], [("a", 0.0, 0.0, float("inf"))]])
def test_nothing_finite_is_said(gains):
    drawn = draw_gains("AUC", gains)
    assert drawn.rows == ()
    assert drawn.description == "AUC: nothing was measured."


def test_no_gain_at_all_has_no_ticks():
    drawn = draw_gains("AUC", [("a", 0.0, 0.0, 0.0)])
    assert drawn.ticks == ()
    assert drawn.rows[0][-1] is False
