"""The generated shop: the same bytes from the same seed, looks in the pictures only, words in the text only."""

import gc
import hashlib
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mmsrarec.data import Dataset, catalogue_facts, catalogue_tastes, make_catalogue
from mmsrarec.data.drawing import COLOURS, PATTERNS
from mmsrarec.data.silhouettes import KINDS, SHAPES
from mmsrarec.data.wording import KIND_WORDS
from mmsrarec.errors import InputError, StoredFileError


def digests(folder) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def events_with_facts(data: Dataset, users: int, items: int, seed: int) -> pl.DataFrame:
    events = data.interactions.with_columns(
        user_id=data.user_ids.gather(data.interactions["user"]),
        item_id=data.item_ids.gather(data.interactions["item"]),
    )
    tastes = catalogue_tastes(users, seed)
    return events.join(catalogue_facts(items, seed), on="item_id", maintain_order="left").join(
        tastes, on="user_id", suffix="_taste", maintain_order="left"
    )


def test_same_seed_same_bytes(tmp_path):
    for name in ("a", "b", "c"):
        make_catalogue(20, 15, 1 if name == "c" else 0, folder=tmp_path / name)
    first, second, third = (digests(tmp_path / name) for name in ("a", "b", "c"))
    assert first == second
    assert set(first) == {"items.csv", "interactions.csv", *(f"images/i{n}.png" for n in range(1, 21))}
    assert not set(first.values()) & set(third.values())


def test_a_larger_shop_begins_with_the_smaller(tmp_path):
    small = make_catalogue(10, 5, 4, folder=tmp_path / "small")
    large = make_catalogue(20, 5, 4, folder=tmp_path / "large")
    assert [small.item_content(n).key for n in range(10)] == [large.item_content(n).key for n in range(10)]
    assert catalogue_facts(20, 4)[:10].equals(catalogue_facts(10, 4))


def test_written_tables_give_the_same_dataset(tmp_path):
    data = make_catalogue(12, 10, 0, folder=tmp_path)
    again = Dataset.from_csv(
        tmp_path / "interactions.csv", tmp_path / "items.csv", images=tmp_path / "images", strict=True
    )
    assert again.fingerprint == data.fingerprint
    assert not data.bad_rows


def test_a_temporary_folder_lives_as_long_as_its_dataset():
    data = make_catalogue(3, 2, 0)
    root = data.images.root
    train = data.split()[0]
    del data
    gc.collect()
    assert train.item_content(0).picture.load().size == (224, 224)
    del train
    gc.collect()
    assert not root.parent.exists()


def test_without_pictures_all_else_is_the_same():
    bare = make_catalogue(14, 10, 0, pictures=False)
    full = make_catalogue(14, 10, 0)
    assert bare.images is None
    assert bare.item_text(3) == full.item_text(3)
    assert bare.interactions.equals(full.interactions)


def test_looks_are_never_told_in_the_text():
    data = make_catalogue(400, 1, 0, pictures=False)
    facts = catalogue_facts(400, 0)
    looks = {
        *COLOURS,
        *PATTERNS,
        *(word for pair in SHAPES.values() for shape in pair for word in shape.split()),
    }
    looks |= {
        "stripe",
        "dots",
        "check",
        "zig",
        "navy",
        "white",
        "grey",
        "colour",
        "pattern",
        "sleeve",
        "neck",
    }
    said = set().union(*(re.findall(r"[a-z]+", data.item_text(item).lower()) for item in range(400)))
    assert not said & looks - {"neck"}
    for item, fact in enumerate(facts.iter_rows(named=True)):
        text = data.item_text(item).lower()
        for told in ("kind", "material", "season", "occasion", "brand", "category", "department"):
            assert fact[told].lower() in text


def test_every_look_comes_up_evenly():
    facts = catalogue_facts(280, 0)
    assert set(facts["kind"]) == set(KINDS) == set(KIND_WORDS)
    for column, choices in (("kind", KINDS), ("colour", COLOURS), ("pattern", PATTERNS)):
        counts = facts[column].value_counts()["count"]
        assert len(counts) == len(choices)
        assert counts.max() - counts.min() <= 1
    assert all(facts.filter(pl.col("kind") == kind)["shape"].n_unique() == 2 for kind in KINDS)


def test_the_colour_of_a_product_can_be_seen(catalogue):
    """Name each product's colour by the nearest palette colour of its pixels' hue alone."""
    right = 0
    for item, colour in enumerate(catalogue_facts(40, 0)["colour"]):
        pixels = (
            np.asarray(catalogue.item_content(item).picture.load().convert("HSV")).reshape(-1, 3).astype(int)
        )
        vivid = pixels[pixels[:, 1] > 105]
        dark = (pixels[:, 2] < 90).mean() > 0.06 and len(vivid) < 0.05 * len(pixels)
        right += colour == ("black" if dark else nearest_hue(vivid))
    assert right >= 36


def nearest_hue(vivid) -> str:
    hues = {name: colour_hue(rgb) for name, rgb in COLOURS.items() if name != "black"}
    votes = {
        name: int((np.abs((vivid[:, 0] - hue + 128) % 256 - 128) < 9).sum()) for name, hue in hues.items()
    }
    return max(votes, key=votes.get)


def colour_hue(rgb) -> int:
    return Image.new("RGB", (1, 1), rgb).convert("HSV").getpixel((0, 0))[0]


def test_tastes_show_in_the_events():
    data = make_catalogue(120, 400, 7, pictures=False)
    events = events_with_facts(data, 400, 120, 7)
    place = events.select(pl.int_range(pl.len()).over("user") * 2 < pl.len().over("user"))["literal"]
    early, late = events.filter(place), events.filter(~place)
    assert (early["colour"] == early["colour_taste"]).mean() > 3 / len(COLOURS)
    changed = late.filter(pl.col("colour_taste") != pl.col("later_colour"))
    assert (changed["colour"] == changed["later_colour"]).mean() > 2.5 / len(COLOURS)
    assert (changed["colour"] == changed["colour_taste"]).mean() < 1.5 / len(COLOURS)
    assert (events["pattern"] == events["pattern_taste"]).mean() > 1.6 / len(PATTERNS)
    assert (events["season"] == events["season_taste"]).mean() > 1.4 / 4
    assert (events["department"] == events["department_taste"]).mean() > 1.4 / 4


def test_some_kinds_follow_others():
    data = make_catalogue(120, 400, 7, pictures=False)
    kinds = catalogue_facts(120, 7)["kind"].to_list()
    pairs = [(kinds[a], kinds[b]) for history in data.histories() for a, b in pairwise(history)]
    followed = [KIND_WORDS[first].follows for first, _ in pairs]
    hits = np.mean([after == follows for (_, after), follows in zip(pairs, followed, strict=True) if follows])
    chance = np.mean(
        [after == follows for (_, after), follows in zip(pairs, followed[::-1], strict=True) if follows]
    )
    assert hits > 3 * chance


def test_text_alone_and_picture_alone_each_tell_a_taste():
    """Rank each user's last item against the others by likeness to the rest of the history, by one side only."""
    shop = make_catalogue(60, 400, 0)
    facts = catalogue_facts(60, 0)
    rest, held = shop.hold_out_last()
    looks = np.stack([look_of(shop, item) for item in range(60)])
    words = np.stack(
        [(facts[c].to_numpy()[:, None] == facts[c].to_numpy()) for c in ("season", "department")]
    ).mean(0)
    for likeness in (looks @ looks.T, words):
        ranks = []
        for history, target in zip(rest.histories(), held, strict=True):
            scores = likeness[history].mean(0)
            others = np.setdiff1d(np.arange(60), np.append(history, target))
            ranks.append(
                (scores[target[0]] > scores[others]).mean()
                + 0.5 * (scores[target[0]] == scores[others]).mean()
            )
        assert np.mean(ranks) > 0.56


def look_of(data: Dataset, item: int) -> np.ndarray:
    """Histogram of hue over the vivid pixels: a picture's colour and nothing else."""
    pixels = np.asarray(data.item_content(item).picture.load().convert("HSV")).reshape(-1, 3)
    histogram = np.bincount(pixels[pixels[:, 1] > 105][:, 0] // 16, minlength=16).astype(float)
    return histogram / (np.linalg.norm(histogram) + 1e-9)


@pytest.mark.parametrize(
    "arguments", [{"items": 1}, {"users": 0}, {"seed": -1}, {"items": 2.5}, {"items": True}]
)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(InputError, match=f"{next(iter(arguments))} must be a whole number"):
        make_catalogue(**arguments)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc, a folder nobody can write to")
def test_a_folder_that_cannot_be_written_is_named():
    with pytest.raises(StoredFileError, match="could not be written"):
        make_catalogue(2, 1, folder="/proc/shop")
