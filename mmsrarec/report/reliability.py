"""Reliability as a drawing: a dot a bin in a unit square, beside the line on which what is said comes true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmsrarec.explain import plain

__all__ = ["Reliability", "draw_reliability"]

LEFT, TOP, SIDE = 40.0, 10.0, 200.0
_LARGEST, _SMALLEST = 12.0, 2.5


@dataclass(frozen=True)
class Reliability:
    """Bins ready to be drawn in a box of 250 × 244 units.

    Attributes
    ----------
    name
        Whose probability it is.
    dots
        Centre and radius of each bin.
    line
        ``points`` of an SVG polyline through them.
    description
        The drawing in a sentence.
    """

    name: str
    dots: tuple[tuple[float, float, float], ...]
    line: str
    description: str


def draw_reliability(name: str, bins: Sequence[tuple[float, float, int]]) -> Reliability:
    """Scale bins into their box.

    Parameters
    ----------
    name
        Whose probability it is, for example ``"p(yes) alone"``.
    bins
        Mean probability, share that came true, and number of candidates of each bin.

    Returns
    -------
    Reliability
        Ready for the template.

    Examples
    --------
    >>> draw_reliability("ours", [(0.05, 0.04, 90), (0.5, 0.6, 10)]).description
    'ours: of what was given 5 %, 4 % came true (90 candidates); 50 %, 60 % (10). Mean gap 1.9 %.'
    """
    name = plain(name, limit=60)
    total = sum(count for *_, count in bins)
    dots = tuple(
        (
            round(LEFT + SIDE * said, 1),
            round(TOP + SIDE * (1 - true), 1),
            round(max(_SMALLEST, _LARGEST * (count / total) ** 0.5), 1),
        )
        for said, true, count in bins
    )
    parts = [f"{100 * said:.0f} %, {100 * true:.0f} % ({count})" for said, true, count in bins]
    if parts:
        parts[0] = parts[0].replace(" (", " came true (").replace(")", " candidates)")
        gap = sum(abs(said - true) * count for said, true, count in bins) / total
        description = f"{name}: of what was given {'; '.join(parts)}. Mean gap {100 * gap:.1f} %."
    else:
        description = f"{name}: nothing was measured."
    return Reliability(name, dots, " ".join(f"{x},{y}" for x, y, _ in dots), description)
