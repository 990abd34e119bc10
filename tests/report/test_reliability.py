from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.report.reliability import LEFT, SIDE, TOP, draw_reliability

SHARES = st.floats(0, 1)


@given(st.lists(st.tuples(SHARES, SHARES, st.integers(1, 10**9)), max_size=10))
def test_every_bin_is_a_dot_in_the_square(bins):
    drawn = draw_reliability("ours", bins)
    assert len(drawn.dots) == len(bins)
    assert all(LEFT <= x <= LEFT + SIDE and TOP <= y <= TOP + SIDE and 0 < r <= 12 for x, y, r in drawn.dots)


def test_what_came_true_as_said_lies_on_the_line_and_more_is_larger():
    first, second = draw_reliability("ours", [(0.1, 0.1, 400), (0.9, 0.9, 100)]).dots
    assert first[0] - LEFT == TOP + SIDE - first[1]
    assert first[2] == 2 * second[2] or abs(first[2] - 2 * second[2]) < 0.2
    assert second[0] > first[0]
    assert second[1] < first[1]
