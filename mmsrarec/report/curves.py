"""Training curves as drawings: points in a box, its ticks, and a sentence for those who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmsrarec.explain import plain

__all__ = ["Curve", "draw_curve"]

LEFT, TOP, WIDTH, HEIGHT = 46.0, 10.0, 264.0, 112.0
_MOST_POINTS = 400
_FIRST_IN_POWERS = 100_000


@dataclass(frozen=True)
class Curve:
    """A curve ready to be drawn in a box of 320 × 150 units.

    Attributes
    ----------
    name
        What was measured.
    line
        ``points`` of an SVG polyline; empty if nothing finite was measured.
    area
        The same, closed along the bottom.
    end
        Where the curve ends, for a dot.
    vertical, horizontal
        Ticks: position and label.
    description
        The curve in a sentence.
    """

    name: str
    line: str
    area: str
    end: tuple[float, float] | None
    vertical: tuple[tuple[float, str], ...]
    horizontal: tuple[tuple[float, str], ...]
    description: str


def draw_curve(name: str, points: Sequence[tuple[float, float]]) -> Curve:
    """Scale a curve into its box.

    Parameters
    ----------
    name
        What was measured, for example ``"loss"``.
    points
        Pairs of step and value in any order; what is not finite is left out. Long curves
        are thinned to 400 points.

    Returns
    -------
    Curve
        Ready for the template.

    Examples
    --------
    >>> draw_curve("loss", [(0, 2.0), (10, 1.0)]).description
    'loss: 2 at step 0, 1 at step 10; lowest 1, highest 2.'
    """
    name = plain(name.replace("_", " "), limit=60)
    finite = sorted((float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y))
    if not finite:
        return Curve(name, "", "", None, (), (), f"{name}: nothing was measured.")
    values = [value for _, value in finite]
    low, high = min(values), max(values)
    first, last = finite[0], finite[-1]
    x_span = (last[0] - first[0]) or 1.0
    y_span = (high - low) or 1.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + WIDTH * (point[0] - first[0]) / x_span
        y = TOP + HEIGHT * (high - point[1]) / y_span if high > low else TOP + HEIGHT / 2
        return round(x, 1), round(y, 1)

    drawn = [place(point) for point in _thinned(finite)]
    line = " ".join(f"{x},{y}" for x, y in drawn)
    bottom = TOP + HEIGHT
    vertical = [(TOP, _tick(high)), (bottom, _tick(low))] if high > low else [(TOP + HEIGHT / 2, _tick(low))]
    horizontal = [(LEFT, _tick(first[0]))] + ([(LEFT + WIDTH, _tick(last[0]))] if last[0] > first[0] else [])
    return Curve(
        name=name,
        line=line,
        area=f"{drawn[0][0]},{bottom} {line} {drawn[-1][0]},{bottom}",
        end=drawn[-1],
        vertical=tuple(vertical),
        horizontal=tuple(horizontal),
        description=(
            f"{name}: {_tick(first[1])} at step {_tick(first[0])}, "
            f"{_tick(last[1])} at step {_tick(last[0])}; lowest {_tick(low)}, highest {_tick(high)}."
        ),
    )


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= _MOST_POINTS:
        return points
    step = (len(points) - 1) / (_MOST_POINTS - 1)
    return [points[round(position * step)] for position in range(_MOST_POINTS)]


def _tick(value: float) -> str:
    written = f"{value:,.0f}" if 1000 <= abs(value) < _FIRST_IN_POWERS else f"{value:.3g}"
    return written.replace("-", "\u2212")
