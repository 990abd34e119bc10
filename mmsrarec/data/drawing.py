"""Paints the generated shop's product pictures: colour, pattern, soft light, a shadow on a pale ground.

Masks are drawn four times too large and reduced, patterns are computed with soft edges, so lines are smooth.
The same arguments give the same pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from mmsrarec.data.silhouettes import Part, parts_of

__all__ = ["COLOURS", "PATTERNS", "SIZE", "draw_product"]

SIZE = 224
_SCALE = 4
# Light and shadow of a part reach this many pixels beyond its outline.
_MARGIN = 12
Pixels = npt.NDArray[np.float32]
Window = tuple[slice, slice]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (203, 48, 52),
    "orange": (236, 126, 40),
    "yellow": (242, 198, 64),
    "green": (58, 140, 84),
    "blue": (48, 98, 182),
    "purple": (122, 76, 160),
    "pink": (238, 140, 172),
    "black": (58, 58, 66),
}
PATTERNS = ("plain", "striped", "dotted", "checked", "zigzag")
_GROUNDS = ((244, 239, 230), (233, 238, 240), (241, 233, 231), (234, 239, 230), (238, 235, 243))
_PALE = (250, 245, 234)
_WOOD = (186, 142, 96)
_DARK = (66, 54, 50)


def draw_product(
    kind: str, shape: str, colour: str, pattern: str, generator: np.random.Generator
) -> Image.Image:
    """Paint one product.

    Parameters
    ----------
    kind, shape
        As in ``silhouettes.KINDS`` and ``silhouettes.SHAPES``.
    colour, pattern
        One of ``COLOURS`` and of ``PATTERNS``.
    generator
        Draws what varies within one look: the tone, the ground, angle and size of the pattern.

    Returns
    -------
    PIL.Image.Image
        RGB, ``SIZE`` × ``SIZE``.

    Examples
    --------
    >>> draw_product("mug", "straight", "red", "dotted", np.random.default_rng(0)).size
    (224, 224)
    """
    base = np.asarray(COLOURS[colour], np.float32) + generator.uniform(-9, 9, 3).astype(np.float32)
    fabric = _fabric(base, pattern, generator)
    canvas = _ground(generator)
    layers = [(part, *_mask(part)) for part in parts_of(kind, shape)]
    covered = np.zeros((SIZE, SIZE), np.float32)
    for _, window, mask in layers:
        np.maximum(covered[window], mask, out=covered[window])
    canvas = _cast_shadow(canvas, covered)
    for part, window, mask in layers:
        paint = fabric[window] if part.fill == "fabric" else _solid(part, base)
        strength = 0.35 if 0 < part.width < 0.015 else 1.0
        canvas[window] = _paint(canvas[window], mask, paint, strength)
    return Image.fromarray(np.clip(canvas + 0.5, 0, 255).astype(np.uint8), "RGB")


def _solid(part: Part, base: Pixels) -> Pixels:
    tones = {"pale": _PALE, "wood": _WOOD, "dark": _DARK}
    if part.fill in tones:
        return np.asarray(tones[part.fill], np.float32)
    return base * np.float32(0.80 if part.fill == "shade" else 0.52)


def _ground(generator: np.random.Generator) -> Pixels:
    tone = np.asarray(_GROUNDS[generator.integers(len(_GROUNDS))], np.float32)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    # A lit wall above a slightly darker table, darker towards the corners.
    light = 1.03 - 0.10 * ((x - 0.45) ** 2 + (y - 0.40) ** 2) - 0.045 / (1 + np.exp((0.80 - y) * 60))
    return tone * light[..., None]


def _mask(part: Part) -> tuple[Window, Pixels]:
    """Return the window of the canvas that a part lies in, and its coverage there, 0 to 1."""
    points = np.asarray(_rounded(part.outline, part.rounds, closed=not part.width)) * SIZE
    margin = _MARGIN + part.width * SIZE / 2
    left, top = np.maximum(np.floor(points.min(axis=0) - margin), 0).astype(int)
    right, bottom = np.minimum(np.ceil(points.max(axis=0) + margin), SIZE).astype(int)
    corners = [(x, y) for x, y in ((points - (left, top)) * _SCALE).tolist()]
    image = Image.new("L", ((right - left) * _SCALE, (bottom - top) * _SCALE))
    draw = ImageDraw.Draw(image)
    if part.width:
        width = max(round(part.width * SIZE * _SCALE), 1)
        draw.line(corners, fill=255, width=width, joint="curve")
        for x, y in (corners[0], corners[-1]):
            draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
    else:
        draw.polygon(corners, fill=255)
    window = (slice(top, bottom), slice(left, right))
    return window, np.asarray(image.reduce(_SCALE), np.float32) / np.float32(255)


def _rounded(outline: list[tuple[float, float]], rounds: int, *, closed: bool) -> list[tuple[float, float]]:
    """Cut corners `rounds` times (Chaikin 1974): the polygon nears a smooth curve."""
    points = outline
    for _ in range(rounds):
        following = points[1:] + (points[:1] if closed else [])
        cut = []
        for (x, y), (next_x, next_y) in zip(points, following, strict=False):
            cut.append((0.75 * x + 0.25 * next_x, 0.75 * y + 0.25 * next_y))
            cut.append((0.25 * x + 0.75 * next_x, 0.25 * y + 0.75 * next_y))
        points = cut if closed else [points[0], *cut, points[-1]]
    return points


def _blurred(mask: Pixels, radius: float) -> Pixels:
    image = Image.fromarray((mask * 255).astype(np.uint8), "L")
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255)


def _cast_shadow(canvas: Pixels, mask: Pixels) -> Pixels:
    wide = np.roll(_blurred(mask, 9), (8, 6), axis=(0, 1))
    near = np.roll(_blurred(mask, 3), (3, 2), axis=(0, 1))
    return canvas * (1 - 0.26 * wide - 0.14 * near)[..., None]


def _paint(canvas: Pixels, mask: Pixels, paint: Pixels, strength: float) -> Pixels:
    """Lay paint on, lit from the upper left as if the part were padded."""
    height = 0.55 * _blurred(mask, 7) + 0.45 * _blurred(mask, 2.2)
    slope_y, slope_x = np.gradient(height)
    light = 1 + strength * np.clip(2.6 * (0.75 * slope_x + slope_y), -0.34, 0.26)
    edge = 1 - 0.16 * strength * (mask - _blurred(mask, 1.6)).clip(0, 1)
    shaded = paint * (light * edge)[..., None]
    shine = np.clip(light - 1, 0, None)[..., None] * 46
    return canvas + mask[..., None] * (shaded + shine - canvas)


def _fabric(base: Pixels, pattern: str, generator: np.random.Generator) -> Pixels:
    """Return the colour of the cloth everywhere, shape (SIZE, SIZE, 3)."""
    brightness = float(base @ np.asarray([0.299, 0.587, 0.114], np.float32))
    second = np.asarray(_PALE, np.float32) if brightness < 150 else base * np.float32(0.48)
    cover = _pattern_cover(pattern, generator)[..., None]
    return base + cover * (second - base)


def _pattern_cover(pattern: str, generator: np.random.Generator) -> Pixels:
    """Return how much of the second colour lies where, 0 to 1."""
    angle = generator.uniform(-0.12, 0.12)
    period = generator.uniform(0.085, 0.11) * SIZE
    shift = generator.uniform(0, period, 2)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    along = x * np.cos(angle) + y * np.sin(angle) + shift[0]
    across = y * np.cos(angle) - x * np.sin(angle) + shift[1]
    if pattern == "striped":
        cover = _band(across, period, 0.42)
    elif pattern == "checked":
        wide = period * 1.35
        cover = 0.42 * _band(across, wide, 0.5) + 0.42 * _band(along, wide, 0.5)
    elif pattern == "zigzag":
        wave = np.abs((along / (period * 1.15)) % 2 - 1) * period * 0.85
        cover = _band(across + wave, period * 1.15, 0.36)
    elif pattern == "dotted":
        row = np.floor(across / period)
        in_row = (along + (row % 2) * period / 2) % period - period / 2
        distance = np.hypot(in_row, across % period - period / 2)
        cover = np.clip(period * 0.27 - distance + 0.5, 0, 1)
    else:
        cover = np.zeros_like(x)
    return cover.astype(np.float32)


def _band(position: npt.NDArray[np.floating], period: float, share: float) -> npt.NDArray[np.floating]:
    """Repeat a soft-edged band that takes `share` of each period."""
    distance = np.abs(position % period - period / 2)
    return np.clip(period * share / 2 - distance + 0.5, 0, 1)
