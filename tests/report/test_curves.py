from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.report import draw_curve
from mmsrarec.report.curves import HEIGHT, LEFT, TOP, WIDTH


def points_of(line: str) -> list[tuple[float, float]]:
    return [tuple(float(part) for part in pair.split(",")) for pair in line.split()]


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(width=32)), max_size=1000))
def test_every_point_is_inside_the_box(points):
    curve = draw_curve("loss", points)
    drawn = points_of(curve.line)
    assert len(drawn) <= 400
    assert bool(drawn) == any(math.isfinite(value) for _, value in points)
    assert all(LEFT <= x <= LEFT + WIDTH and TOP <= y <= TOP + HEIGHT for x, y in drawn)
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)


def test_a_falling_curve_falls_and_keeps_its_ends():
    curve = draw_curve("loss", [(step, 1000.0 - step) for step in range(1000)])
    drawn = points_of(curve.line)
    assert drawn[0] == (LEFT, TOP)
    assert drawn[-1] == curve.end == (LEFT + WIDTH, TOP + HEIGHT)
    assert curve.vertical == ((TOP, "1,000"), (TOP + HEIGHT, "1"))
    assert curve.horizontal == ((LEFT, "0"), (LEFT + WIDTH, "999"))


def test_large_numbers_are_written_out_while_there_is_room():
    curve = draw_curve("reward", [(0, -12_345.0), (99_999, 2.5e6)])
    assert curve.vertical == ((TOP, "2.5e+06"), (TOP + HEIGHT, "−12,345"))
    assert curve.horizontal[1][1] == "99,999"


def test_a_constant_and_a_single_point_are_drawn_in_the_middle():
    for points in ([(0, 2.0), (5, 2.0)], [(3, 2.0)]):
        curve = draw_curve("loss", points)
        assert {y for _, y in points_of(curve.line)} == {TOP + HEIGHT / 2}
        assert len(curve.vertical) == 1


def test_nothing_measured_is_said():
    assert draw_curve("reward_mean", [(0, math.inf)]).description == "reward mean: nothing was measured."
