"""Outlines of the generated shop's products: each kind in two shapes, as parts to be painted one over the other.

Coordinates run from 0 to 1, x to the right, y down. ``drawing.py`` paints the parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["KINDS", "SHAPES", "Part", "parts_of"]

Point = tuple[float, float]
Outline = list[Point]
Fill = Literal["fabric", "shade", "pale", "wood", "dark", "inside"]


@dataclass(frozen=True)
class Part:
    """One painted piece.

    Parameters
    ----------
    outline
        Polygon, or the course of a stroke if `width` is given.
    fill
        ``"fabric"`` (the product's colour and pattern), ``"shade"`` (a darker tone of the colour),
        ``"inside"`` (darker still), ``"pale"``, ``"wood"`` or ``"dark"``.
    rounds
        How often the corners are cut: 0 keeps them sharp.
    width
        Width of the stroke; 0 fills the outline.
    """

    outline: Outline
    fill: Fill = "fabric"
    rounds: int = 2
    width: float = 0.0


def parts_of(kind: str, shape: str) -> list[Part]:
    """Give the parts of a product, back to front.

    Parameters
    ----------
    kind
        One of ``KINDS``.
    shape
        One of ``SHAPES[kind]``.
    """
    return _BUILDERS[kind](SHAPES[kind].index(shape) == 0)


def _mirrored(right: Outline) -> Outline:
    """Close a right half, given from top to bottom, with its mirror image."""
    return right + [(1 - x, y) for x, y in reversed(right)]


def _both(outline: Outline, fill: Fill = "fabric", rounds: int = 2, width: float = 0.0) -> list[Part]:
    return [
        Part(outline, fill, rounds, width),
        Part([(1 - x, y) for x, y in outline], fill, rounds, width),
    ]


def _ellipse(x: float, y: float, wide: float, high: float, fill: Fill = "fabric") -> Part:
    angles = [2 * math.pi * step / 48 for step in range(48)]
    return Part([(x + wide * math.cos(a), y + high * math.sin(a)) for a in angles], fill, 0)


def _line(points: Outline, fill: Fill = "shade", width: float = 0.008) -> Part:
    return Part(points, fill, 2, width)


def _fringe(left: float, right: float, y: float, length: float, count: int) -> list[Part]:
    step = (right - left) / (count - 1)
    strands = [left + step * index for index in range(count)]
    return [Part([(x, y - 0.01), (x, y + length)], "fabric", 0, 0.012) for x in strands]


def _coat(long: bool) -> list[Part]:
    hem = 0.88 if long else 0.68
    flare = 0.70 if long else 0.675
    sleeve = [(0.60, 0.17), (0.69, 0.20), (0.75, 0.34), (0.795, 0.60), (0.715, 0.625), (0.63, 0.36)]
    body = _mirrored(
        [(0.545, 0.15), (0.60, 0.165), (0.665, 0.20), (0.655, 0.40), (flare, hem), (0.52, hem + 0.01)]
    )
    lapel = [(0.53, 0.14), (0.585, 0.165), (0.60, 0.27), (0.51, 0.42), (0.50, 0.40)]
    parts = [
        *_both(sleeve),
        Part([(0.44, 0.15), (0.56, 0.15), (0.53, 0.30), (0.47, 0.30)], "inside"),
        Part(body),
    ]
    parts += [*_both(lapel, "shade", 1), _line([(0.50, 0.40), (0.50, hem + 0.005)], "inside", 0.007)]
    parts += _both([(0.575, 0.555), (0.64, 0.545), (0.643, 0.575), (0.577, 0.585)], "shade", 1)
    return parts + [_ellipse(0.465, y, 0.014, 0.014, "dark") for y in (0.45, 0.53, 0.61)]


def _scarf(fringed: bool) -> list[Part]:
    end = 0.78 if fringed else 0.85
    back = [(0.52, 0.30), (0.645, 0.32), (0.665, end - 0.12), (0.545, end - 0.11)]
    front = [(0.355, 0.30), (0.50, 0.32), (0.495, end), (0.345, end - 0.01)]
    parts = _fringe(0.555, 0.655, end - 0.12, 0.06, 7) if fringed else []
    parts += [Part(back, rounds=0), *(_fringe(0.355, 0.485, end - 0.01, 0.07, 8) if fringed else [])]
    parts += [
        Part(front, rounds=0),
        _ellipse(0.50, 0.275, 0.205, 0.125),
        _ellipse(0.50, 0.225, 0.125, 0.052, "inside"),
    ]
    if not fringed:
        parts += [
            _line([(0.347, end - 0.05), (0.495, end - 0.04)]),
            _line([(0.55, end - 0.15), (0.66, end - 0.16)]),
        ]
    return [*parts, _line([(0.305, 0.30), (0.42, 0.345), (0.56, 0.34), (0.695, 0.26)])]


def _sweater(crew: bool) -> list[Part]:
    sleeve = [(0.59, 0.22), (0.70, 0.245), (0.77, 0.38), (0.82, 0.66), (0.735, 0.685), (0.64, 0.42)]
    cuff = [(0.815, 0.64), (0.825, 0.70), (0.742, 0.72), (0.732, 0.665)]
    body = _mirrored([(0.55, 0.20), (0.62, 0.225), (0.68, 0.25), (0.665, 0.45), (0.665, 0.74), (0.52, 0.75)])
    hem = _mirrored([(0.50, 0.725), (0.665, 0.72), (0.66, 0.79), (0.52, 0.80)])
    parts = [*_both(sleeve), *_both(cuff, "shade", 1), Part(body), Part(hem, "shade", 1)]
    if crew:
        parts += [_ellipse(0.50, 0.205, 0.085, 0.055, "shade"), _ellipse(0.50, 0.195, 0.062, 0.036, "inside")]
    else:
        neck = _mirrored([(0.50, 0.115), (0.575, 0.12), (0.585, 0.235), (0.52, 0.26)])
        parts += [Part(neck, "shade"), _ellipse(0.50, 0.13, 0.062, 0.018, "inside")]
    return parts


def _beanie(pompom: bool) -> list[Part]:
    dome = _mirrored([(0.50, 0.26), (0.62, 0.28), (0.72, 0.40), (0.75, 0.62), (0.74, 0.70), (0.50, 0.71)])
    parts: list[Part] = []
    if pompom:
        parts += [_ellipse(0.50 + 0.05 * math.cos(a), 0.22 + 0.05 * math.sin(a), 0.06, 0.06, "pale")
                  for a in (0.4, 1.7, 2.9, 4.2, 5.4)]  # fmt: skip
        parts.append(_ellipse(0.50, 0.22, 0.075, 0.075, "pale"))
    cuff_top = 0.63 if pompom else 0.55
    cuff = _mirrored([(0.50, cuff_top), (0.755, cuff_top - 0.01), (0.765, 0.75), (0.50, 0.77)])
    ribs = [
        _line([(0.27 + 0.46 * i / 11, cuff_top + 0.02), (0.27 + 0.46 * i / 11, 0.75)], "inside", 0.006)
        for i in range(12)
    ]
    return [*parts, Part(dome, rounds=3), Part(cuff, "shade", 1), *ribs]


def _dress(sleeveless: bool) -> list[Part]:
    top = _mirrored([(0.56, 0.13), (0.595, 0.135), (0.61, 0.25), (0.585, 0.42), (0.50, 0.43)])
    skirt = _mirrored([(0.50, 0.40), (0.585, 0.405), (0.66, 0.62), (0.73, 0.86), (0.62, 0.885), (0.50, 0.89)])
    sleeve = [(0.57, 0.135), (0.64, 0.16), (0.735, 0.30), (0.675, 0.345), (0.60, 0.26)]
    neck = [(0.44, 0.12), (0.56, 0.12), (0.54, 0.19), (0.50, 0.215), (0.46, 0.19)]
    parts = [] if sleeveless else _both(sleeve)
    parts += [Part(top, rounds=1), Part(skirt, rounds=1), Part(neck, "inside")]
    parts.append(Part(_mirrored([(0.50, 0.398), (0.588, 0.396), (0.592, 0.428), (0.50, 0.432)]), "shade", 0))
    parts += [_line([(x, 0.47), (0.5 + (x - 0.5) * 2.2, 0.85)]) for x in (0.44, 0.50, 0.56)]
    return parts


def _bag(tote: bool) -> list[Part]:
    handle = [(0.39, 0.44), (0.40, 0.20), (0.50, 0.12), (0.60, 0.20), (0.61, 0.44)]
    if tote:
        body = _mirrored([(0.50, 0.38), (0.70, 0.38), (0.74, 0.84), (0.50, 0.86)])
        band = _mirrored([(0.50, 0.375), (0.70, 0.375), (0.705, 0.425), (0.50, 0.43)])
        return [Part(handle, "shade", 3, 0.03), Part(body, rounds=1), Part(band, "shade", 0)]
    flap = _mirrored([(0.50, 0.36), (0.64, 0.365), (0.725, 0.50), (0.66, 0.60), (0.50, 0.64)])
    parts = [Part(handle, "shade", 3, 0.022), _ellipse(0.50, 0.60, 0.25, 0.245), Part(flap, "shade", 2)]
    return [*parts, _ellipse(0.50, 0.60, 0.026, 0.026, "wood")]


def _trousers(straight: bool) -> list[Part]:
    outer, inner = (0.655, 0.545) if straight else (0.725, 0.535)
    knee = 0.645 if straight else 0.635
    leg = [(0.49, 0.16), (0.625, 0.15), (0.65, 0.35), (knee, 0.60), (outer, 0.89), (inner, 0.90), (0.525, 0.62),
           (0.495, 0.40)]  # fmt: skip
    waist = _mirrored([(0.50, 0.12), (0.622, 0.12), (0.63, 0.175), (0.50, 0.18)])
    parts = [
        *_both(leg, rounds=1),
        Part(waist, "shade", 0),
        _line([(0.50, 0.18), (0.50, 0.36)], "inside", 0.008),
    ]
    parts += [_line([(0.60, 0.185), (0.635, 0.27)]), _line([(0.40, 0.185), (0.365, 0.27)])]
    return [*parts, _ellipse(0.50, 0.15, 0.014, 0.014, "wood")]


def _shirt(short_sleeved: bool) -> list[Part]:
    if short_sleeved:
        sleeve = [(0.60, 0.19), (0.70, 0.215), (0.815, 0.40), (0.72, 0.46), (0.64, 0.36)]
    else:
        sleeve = [(0.60, 0.19), (0.69, 0.215), (0.76, 0.38), (0.80, 0.68), (0.73, 0.70), (0.64, 0.40)]
    body = _mirrored([(0.55, 0.17), (0.61, 0.185), (0.675, 0.22), (0.655, 0.42), (0.665, 0.80), (0.50, 0.83)])
    collar = [(0.505, 0.225), (0.545, 0.155), (0.60, 0.17), (0.60, 0.235), (0.555, 0.285)]
    parts = [*_both(sleeve, rounds=1), Part(body, rounds=1)]
    parts.append(Part([(0.45, 0.16), (0.55, 0.16), (0.50, 0.235)], "inside", 1))
    parts += [*_both(collar, "shade", 0), _line([(0.50, 0.24), (0.50, 0.82)], "inside", 0.006)]
    return parts + [_ellipse(0.515, y, 0.009, 0.009, "pale") for y in (0.33, 0.43, 0.53, 0.63, 0.73)]


def _mug(straight: bool) -> list[Part]:
    handle = [(0.66, 0.40), (0.80, 0.38), (0.83, 0.52), (0.78, 0.66), (0.65, 0.66)]
    if straight:
        body = [(0.27, 0.30), (0.68, 0.30), (0.675, 0.78), (0.60, 0.82), (0.35, 0.82), (0.275, 0.78)]
        rim = 0.205
    else:
        body = [(0.30, 0.30), (0.65, 0.30), (0.72, 0.50), (0.67, 0.74), (0.56, 0.82), (0.39, 0.82), (0.28, 0.74),
                (0.23, 0.50)]  # fmt: skip
        rim = 0.175
    parts = [Part(handle, "shade", 3, 0.05), Part(body, rounds=1 if straight else 3)]
    return [
        *parts,
        _ellipse(0.475, 0.305, rim, 0.05, "pale"),
        _ellipse(0.475, 0.312, rim - 0.022, 0.036, "dark"),
    ]


def _teapot(round_body: bool) -> list[Part]:
    spout = [(0.66, 0.66), (0.74, 0.60), (0.77, 0.46), (0.85, 0.40), (0.875, 0.425), (0.82, 0.52), (0.78, 0.68),
             (0.66, 0.76)]  # fmt: skip
    handle = [(0.33, 0.48), (0.20, 0.42), (0.145, 0.56), (0.20, 0.70), (0.33, 0.70)]
    if round_body:
        body, top = _ellipse(0.50, 0.60, 0.245, 0.215), 0.40
    else:
        outline = _mirrored([(0.50, 0.34), (0.615, 0.345), (0.66, 0.50), (0.715, 0.80), (0.50, 0.82)])
        body, top = Part(outline, rounds=2), 0.345
    lid = _mirrored([(0.50, top - 0.07), (0.57, top - 0.045), (0.625, top + 0.015), (0.50, top + 0.035)])
    parts = [Part(spout, "shade", 3), Part(handle, "shade", 3, 0.042), body, Part(lid, "shade", 2)]
    return [*parts, _ellipse(0.50, top - 0.085, 0.03, 0.03, "wood")]


def _lamp(cone: bool) -> list[Part]:
    base = [_ellipse(0.50, 0.84, 0.17, 0.042, "wood"), Part([(0.50, 0.50), (0.50, 0.83)], "wood", 0, 0.036)]
    narrow, wide = (0.09, 0.27) if cone else (0.225, 0.235)
    top, bottom = 0.16, 0.52
    arc = [math.pi * step / 24 for step in range(25)]
    hem = [(0.50 + wide * math.cos(angle), bottom + 0.035 * math.sin(angle)) for angle in arc]
    shade = [(0.50 - narrow, top), (0.50 + narrow, top), *hem]
    band = [*hem, *((x, y - 0.03) for x, y in reversed(hem))]
    return [*base, Part(shade, rounds=0), Part(band, "pale", 0), _ellipse(0.50, top, narrow, 0.022, "pale")]


def _cushion(square: bool) -> list[Part]:
    if square:
        outline = [(0.18, 0.19), (0.35, 0.225), (0.50, 0.23), (0.65, 0.225), (0.82, 0.19), (0.785, 0.35), (0.78, 0.50),
                   (0.785, 0.65), (0.82, 0.81), (0.65, 0.775), (0.50, 0.77), (0.35, 0.775), (0.18, 0.81),
                   (0.215, 0.65), (0.22, 0.50), (0.215, 0.35)]  # fmt: skip
        tassels = [_ellipse(x, y, 0.026, 0.026, "shade") for x in (0.185, 0.815) for y in (0.20, 0.80)]
        return [*tassels, Part(outline, rounds=2)]
    rays = [
        _line([(0.50 + 0.05 * math.cos(a), 0.50 + 0.05 * math.sin(a)),
               (0.50 + 0.20 * math.cos(a), 0.50 + 0.20 * math.sin(a))])
        for a in (2 * math.pi * step / 10 for step in range(10))
    ]  # fmt: skip
    return [_ellipse(0.50, 0.50, 0.32, 0.32, "shade"), _ellipse(0.50, 0.50, 0.305, 0.305), *rays,
            _ellipse(0.50, 0.50, 0.034, 0.034, "shade")]  # fmt: skip


def _vase(slender: bool) -> list[Part]:
    stems = [
        _line([(0.50, 0.34), (0.46, 0.20), (0.40, 0.10)], "dark", 0.01),
        _line([(0.50, 0.34), (0.53, 0.18), (0.60, 0.09)], "dark", 0.01),
        _line([(0.50, 0.34), (0.50, 0.07)], "dark", 0.01),
    ]
    buds = [_ellipse(x, y, 0.024, 0.036, "pale") for x, y in ((0.40, 0.10), (0.50, 0.075), (0.60, 0.09))]
    if slender:
        right = [
            (0.50, 0.29),
            (0.555, 0.29),
            (0.555, 0.40),
            (0.60, 0.55),
            (0.61, 0.70),
            (0.57, 0.88),
            (0.50, 0.885),
        ]
        neck = 0.053
    else:
        right = [
            (0.50, 0.32),
            (0.58, 0.315),
            (0.565, 0.41),
            (0.73, 0.55),
            (0.74, 0.72),
            (0.61, 0.88),
            (0.50, 0.885),
        ]
        neck = 0.072
    top = right[1][1] + 0.012
    return [*stems, *buds, Part(_mirrored(right), rounds=2), _ellipse(0.50, top, neck, 0.018, "inside")]


def _blanket(fringed: bool) -> list[Part]:
    """Draw a blanket that hangs over a rail."""
    rail = [Part([(0.13, 0.185), (0.87, 0.185)], "wood", 0, 0.035)]
    rail += [_ellipse(x, 0.185, 0.03, 0.03, "wood") for x in (0.13, 0.87)]
    end = 0.78 if fringed else 0.84
    back = [(0.25, 0.17), (0.74, 0.17), (0.76, end + 0.03), (0.25, end + 0.045)]
    waves = [(0.235 + 0.53 * step / 12, end + (0.012 if step % 4 < 2 else -0.006)) for step in range(13)]
    front = [(0.235, 0.20), (0.265, 0.155), (0.735, 0.155), (0.765, 0.20), *reversed(waves)]
    parts = [*rail, Part(back, "inside", 0), *(_fringe(0.25, 0.75, end, 0.075, 18) if fringed else [])]
    parts.append(Part(front, rounds=1))
    if not fringed:
        parts.append(Part([*waves, *((x, y - 0.07) for x, y in reversed(waves))], "shade", 1))
    return parts + [_line([(x, 0.24), (x + 0.01, end - 0.10)]) for x in (0.37, 0.50, 0.63)]


_BUILDERS: dict[str, Callable[[bool], list[Part]]] = {
    "coat": _coat,
    "scarf": _scarf,
    "sweater": _sweater,
    "beanie": _beanie,
    "dress": _dress,
    "bag": _bag,
    "trousers": _trousers,
    "shirt": _shirt,
    "mug": _mug,
    "teapot": _teapot,
    "lamp": _lamp,
    "cushion": _cushion,
    "vase": _vase,
    "blanket": _blanket,
}
KINDS = tuple(_BUILDERS)
# The first shape of each kind is the one its builder draws when asked with True.
SHAPES: dict[str, tuple[str, str]] = {
    "coat": ("long", "short"),
    "scarf": ("fringed", "hemmed"),
    "sweater": ("crew neck", "turtleneck"),
    "beanie": ("pompom", "cuffed"),
    "dress": ("sleeveless", "sleeved"),
    "bag": ("tote", "round"),
    "trousers": ("straight", "flared"),
    "shirt": ("short sleeves", "long sleeves"),
    "mug": ("straight", "rounded"),
    "teapot": ("round", "tall"),
    "lamp": ("cone", "drum"),
    "cushion": ("square", "round"),
    "vase": ("slender", "bulbous"),
    "blanket": ("fringed", "hemmed"),
}
