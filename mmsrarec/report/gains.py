"""What parts are worth as a drawing: a dot and its interval a part, beside the line of no gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmsrarec.explain import plain
from mmsrarec.explain.wording import signed

__all__ = ["Gains", "draw_gains"]

LEFT, RIGHT, TOP, ROW = 112.0, 310.0, 8.0, 22.0


@dataclass(frozen=True)
class Gains:
    """Gains ready to be drawn in a box of 320 × `height` units.

    Attributes
    ----------
    name
        What was measured.
    rows
        Of each part: its name, its height, where its interval begins and ends, where its gain lies, and whether
        the interval is clear of zero.
    zero
        Where no gain lies.
    bottom, height
        Of the drawing's last row, and of the box with the ticks below it.
    ticks
        Position and label.
    description
        The drawing in a sentence.
    """

    name: str
    rows: tuple[tuple[str, float, float, float, float, bool], ...]
    zero: float
    bottom: float
    height: float
    ticks: tuple[tuple[float, str], ...]
    description: str


def draw_gains(name: str, gains: Sequence[tuple[str, float, float, float]]) -> Gains:
    """Scale gains and their intervals into their box, zero always in it.

    Parameters
    ----------
    name
        What was measured, for example ``"NDCG@5 of the blend"``.
    gains
        Of each part: its name, its gain, and the ends of its interval, as shares; drawn in percent. What is not
        finite is left out.

    Returns
    -------
    Gains
        Ready for the template.

    Examples
    --------
    >>> draw_gains("NDCG@5", [("paths", 0.02, -0.01, 0.05), ("sft", 0.1, 0.06, 0.14)]).description
    'NDCG@5: paths +2.0 (−1.0 to +5.0), sft +10.0 (+6.0 to +14.0), in percent.'
    """
    name = plain(name, limit=60)
    finite = [
        (plain(part.replace("_", " "), limit=18), 100 * gain, 100 * low, 100 * high)
        for part, gain, low, high in gains
        if all(map(math.isfinite, (gain, low, high)))
    ]
    bottom = TOP + ROW * len(finite)
    if not finite:
        return Gains(name, (), LEFT, bottom, bottom + ROW, (), f"{name}: nothing was measured.")
    lowest = min(0.0, *(low for _, _, low, _ in finite))
    highest = max(0.0, *(high for _, _, _, high in finite))
    span = (highest - lowest) or 1.0

    def place(value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (value - lowest) / span, 1)

    rows = tuple(
        (part, TOP + ROW * (row + 0.5), place(low), place(high), place(gain), low > 0 or high < 0)
        for row, (part, gain, low, high) in enumerate(finite)
    )
    ends = {value: signed(value, 1) for value in (lowest, highest) if value}
    told = (
        f"{part} {signed(gain, 1)} ({signed(low, 1)} to {signed(high, 1)})"
        for part, gain, low, high in finite
    )
    return Gains(
        name=name,
        rows=rows,
        zero=place(0.0),
        bottom=bottom,
        height=bottom + ROW,
        ticks=tuple((place(value), label) for value, label in ends.items()),
        description=f"{name}: {', '.join(told)}, in percent.",
    )
