"""Words of the generated shop: what a product's text says, which is never how it looks.

Colour, pattern and shape are in the picture alone; kind, material, season, occasion and brand in the text alone
(the kind shows in both).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["BRANDS", "KIND_WORDS", "SEASONS", "KindWords", "write_description", "write_title"]

SEASONS = ("spring", "summer", "autumn", "winter")
BRANDS = ("Norrvik", "Tessaly", "Oakmere", "Lumora", "Halden", "Wrenfield", "Solvane", "Marlowe & Finch")
_WEAR = ("office days", "weekend walks", "evenings out", "train journeys", "festive dinners", "school runs")
_LIVE = (
    "slow breakfasts",
    "a reading corner",
    "small flats",
    "family gatherings",
    "a guest room",
    "city balconies",
)
_KNIT = ("merino wool", "cashmere", "lambswool", "alpaca")
_WOVEN = ("cotton", "linen", "hemp", "cotton twill")
_CLAY = ("stoneware", "porcelain", "earthenware", "bone china")


@dataclass(frozen=True)
class KindWords:
    """How one kind of product is spoken of.

    Parameters
    ----------
    department, category
        Its two places in the shop.
    materials, occasions
        What it can be made of and be for.
    features
        Sentences that are true of it whatever it looks like.
    follows
        The kind that people often buy next, or ``""``.
    """

    department: str
    category: str
    materials: tuple[str, ...]
    occasions: tuple[str, ...]
    features: tuple[str, ...]
    follows: str = ""


KIND_WORDS: dict[str, KindWords] = {
    "coat": KindWords(
        "Clothing",
        "Coats",
        ("wool blend", "boiled wool", "cotton twill", "recycled felt"),
        _WEAR,
        (
            "Fully lined, with two deep pockets.",
            "Keeps the wind out and the warmth in.",
            "Made to be worn for years.",
        ),
        "scarf",
    ),
    "scarf": KindWords(
        "Accessories",
        "Scarves",
        _KNIT,
        _WEAR,
        ("Wraps twice around the neck.", "Gentle against the skin.", "Folds small enough for any pocket."),
        "beanie",
    ),
    "sweater": KindWords(
        "Clothing",
        "Knitwear",
        _KNIT,
        _WEAR,
        (
            "Knitted in one piece without side seams.",
            "Warm without weight.",
            "Holds its form after many washes.",
        ),
        "trousers",
    ),
    "beanie": KindWords(
        "Accessories",
        "Hats",
        _KNIT,
        _WEAR,
        ("Covers the ears on cold mornings.", "Stretches to fit.", "Knitted by a family workshop."),
    ),
    "dress": KindWords(
        "Clothing",
        "Dresses",
        ("linen", "cotton", "viscose crepe", "washed silk"),
        _WEAR,
        ("Moves with every step.", "Lined to the knee, with hidden pockets.", "Needs no iron."),
        "bag",
    ),
    "bag": KindWords(
        "Accessories",
        "Bags",
        ("vegetable-tanned leather", "waxed canvas", "recycled nylon", "woven jute"),
        _WEAR,
        ("Holds a laptop and a book.", "An inner pocket keeps keys at hand.", "Stands upright on its own."),
    ),
    "trousers": KindWords(
        "Clothing",
        "Trousers",
        _WOVEN,
        _WEAR,
        (
            "Sits at the waist, with a little stretch.",
            "Creases fall out overnight.",
            "Five pockets, one secret.",
        ),
        "shirt",
    ),
    "shirt": KindWords(
        "Clothing",
        "Shirts",
        _WOVEN,
        _WEAR,
        ("Breathes on hot afternoons.", "Sewn with double seams.", "Softer with every wash."),
    ),
    "mug": KindWords(
        "Kitchen",
        "Mugs",
        _CLAY,
        _LIVE,
        (
            "Holds three hundred millilitres.",
            "Safe in dishwasher and microwave.",
            "Keeps coffee hot for longer.",
        ),
        "teapot",
    ),
    "teapot": KindWords(
        "Kitchen",
        "Teapots",
        _CLAY,
        _LIVE,
        ("Pours without a drip.", "Serves four cups.", "A fine strainer is included."),
    ),
    "lamp": KindWords(
        "Home",
        "Lighting",
        ("cotton and ash wood", "linen and oak", "paper and beech", "felt and walnut"),
        _LIVE,
        ("Gives a warm, calm light.", "Dims by touch.", "Takes any standard bulb."),
        "vase",
    ),
    "cushion": KindWords(
        "Home",
        "Cushions",
        (*_WOVEN, "velvet"),
        _LIVE,
        (
            "Filled with feathers from responsible farms.",
            "The cover zips off for washing.",
            "Firm enough to lean on.",
        ),
    ),
    "vase": KindWords(
        "Home",
        "Vases",
        (*_CLAY, "mouth-blown glass"),
        _LIVE,
        ("Watertight, and heavy enough not to tip.", "Suits one stem or a whole bunch.", "Thrown by hand."),
    ),
    "blanket": KindWords(
        "Home",
        "Blankets",
        _KNIT,
        _LIVE,
        (
            "Large enough for two on the sofa.",
            "Woven in the north of Portugal.",
            "Rarely needs a wash.",
        ),
        "cushion",
    ),
}
_OPENINGS = (
    "A {kind} in {material}, made for {occasion}.",
    "This {material} {kind} is meant for {occasion}.",
    "{Material} gives this {kind} its feel; it is at its best for {occasion}.",
    "We designed this {kind} with {occasion} in mind and chose {material} for it.",
)
_SEASON_LINES = (
    "Part of our {season} collection.",
    "A piece for {season}.",
    "Best loved in {season}.",
    "Arrives in time for {season}.",
)


def write_title(kind: str, material: str, brand: str) -> str:
    """Return the name of a product.

    Examples
    --------
    >>> write_title("mug", "stoneware", "Halden")
    'Halden stoneware mug'
    """
    return f"{brand} {material} {kind}"


def write_description(
    kind: str, material: str, season: str, occasion: str, generator: np.random.Generator
) -> str:
    """Return two to four sentences about a product; `generator` chooses among wordings."""
    opening = _OPENINGS[generator.integers(len(_OPENINGS))]
    words = {"kind": kind, "material": material, "Material": material.capitalize(), "occasion": occasion}
    sentences = [opening.format(**words)]
    features = KIND_WORDS[kind].features
    chosen = generator.permutation(len(features))[: generator.integers(1, 3)]
    sentences += [features[index] for index in chosen]
    sentences.append(_SEASON_LINES[generator.integers(len(_SEASON_LINES))].format(season=season))
    return " ".join(sentences)
