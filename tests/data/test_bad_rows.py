"""Bad input: each bad row is counted once under its reason, the rest is used, strict=True raises."""

import math
import time
import warnings
from contextlib import suppress

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsrarec.data import BadRows, BadRowsWarning, Dataset
from mmsrarec.errors import InputError

ITEMS = pl.DataFrame({"item_id": ["x", "y"]})
GOOD = ("u", "x", 100)


def events_of(*rows) -> pd.DataFrame:
    frame = pd.DataFrame({name: pd.Series([row[at] for row in rows], dtype=object)
                          for at, name in enumerate(("user_id", "item_id", "timestamp"))})  # fmt: skip
    if len(rows[0]) > 3:
        frame["rating"] = pd.Series([row[3] for row in rows], dtype=object)
    return frame


def quietly(*args, **kwargs) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BadRowsWarning)
        return Dataset.from_frames(*args, **kwargs)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("u", "zzz", 5), "unknown item"),
        ((None, "y", 5), "missing user_id"),
        (("", "y", 5), "missing user_id"),
        ((math.nan, "y", 5), "missing user_id"),
        (("u", pd.NA, 5), "missing item_id"),
        ((7, "y", 5), "mixed id types"),
        (("u", 7, 5), "mixed id types"),
        (("u", b"y", 5), "mixed id types"),
        (("u", True, 5), "mixed id types"),
        (("u", "y", None), "missing timestamp"),
        (("u", "y", math.nan), "missing timestamp"),
        (("u", "y", " NaN "), "missing timestamp"),
        (("u", "y", pd.NaT), "missing timestamp"),
        (("u", "y", "yesterday"), "unparseable timestamp"),
        (("u", "y", math.inf), "unparseable timestamp"),
        (("u", "y", [1]), "unparseable timestamp"),
        (("u", "y", -1), "negative timestamp"),
        (("u", "y", time.time() + 10 * 86_400), "future timestamp"),
        (("u", "y", "1e300"), "future timestamp"),
        (("u", "x", 200), "duplicate event"),
    ],
)
def test_each_bad_event_has_its_reason(row, reason):
    with pytest.warns(BadRowsWarning, match=reason):
        data = Dataset.from_frames(events_of(GOOD, ("v", "y", 101), row), ITEMS)
    assert data.bad_rows.counts == {reason: 1}
    assert data.n_interactions == 2
    assert data.interactions["timestamp"].to_list() == [100, 101]
    (found,) = data.bad_rows.reasons
    assert found.examples[0].startswith("row 3: user_id=")
    with pytest.raises(InputError, match=f"1 bad rows and strict=True allows none(.|\n)*{reason}"):
        Dataset.from_frames(events_of(GOOD, ("v", "y", 101), row), ITEMS, strict=True)


@pytest.mark.parametrize("rating", ["five", math.inf, "1e400"])
def test_ratings_may_be_missing_but_not_nonsense(rating):
    data = quietly(events_of((*GOOD, 4), ("u", "y", 5, None), ("v", "y", 5, rating)), ITEMS)
    assert data.bad_rows.counts == {"unparseable rating": 1}
    assert data.interactions["rating"].to_list() == [None, 4.0]
    assert data.interactions["rating"].dtype == pl.Float32


def test_the_first_of_repeated_events_is_kept_by_time():
    data = quietly(events_of(("u", "x", 9), ("u", "x", 3), ("u", "x", 3)), ITEMS)
    assert data.interactions["timestamp"].to_list() == [3]
    assert data.bad_rows.counts == {"duplicate event": 2}


@pytest.mark.parametrize("scale", [1, 1e3, 1e6, 1e9], ids=["s", "ms", "us", "ns"])
def test_the_future_is_told_in_any_unit(scale):
    now = time.time()
    times = [int((now - 1000) * scale), int((now - 500) * scale), int((now + 3 * 86_400) * scale)]
    data = quietly(events_of(*((f"u{n}", "x", moment) for n, moment in enumerate(times))), ITEMS)
    assert data.bad_rows.counts == {"future timestamp": 1}


@pytest.mark.parametrize(
    "text",
    ["2024-01-02", "2024-01-02 00:00", "2024-01-02T00:00:00", "2024-01-02 00:00:00.000", "2024-01-02T00:00:00Z",
     "2024-01-02T02:00:00+02:00"],
)  # fmt: skip
def test_dates_in_text(text):
    data = quietly(events_of(("u", "x", text), ("v", "x", "no date")), ITEMS)
    assert data.interactions["timestamp"].to_list() == [1_704_153_600]
    assert data.bad_rows.counts == {"unparseable timestamp": 1}


def test_items_without_or_with_repeated_ids():
    items = pd.DataFrame(
        {"item_id": pd.Series(["x", None, "x", 3, "y"], dtype=object), "title": list("abcde")}
    )
    data = quietly(events_of(GOOD), items)
    assert data.items["title"].to_list() == ["a", "e"]
    assert data.bad_rows.counts == {"missing item_id": 1, "mixed id types": 1, "duplicate item_id": 1}
    assert {reason.table for reason in data.bad_rows.reasons} == {"items"}


def test_items_keep_their_place_when_their_picture_is_bad(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    Image.new("RGB", (5, 5)).save(root / "good.png")
    (root / "bad.png").write_bytes(b"no picture")
    names = ["good.png", "bad.png", "none.png", "../good.png", "https://example.org/a.png", None]
    items = pl.DataFrame({"item_id": list("xyzabc"), "image": names})
    data = quietly(events_of(GOOD), items, images=root)
    assert data.bad_rows.counts == {
        "image unreadable": 1,
        "image missing": 1,
        "image outside the folder": 1,
        "image is a URL": 1,
    }
    assert {reason.effect for reason in data.bad_rows.reasons} == {"kept without image"}
    assert data.items["image"].to_list() == ["good.png", None, None, None, None, None]
    with pytest.raises(InputError, match="image missing"):
        Dataset.from_frames(events_of(GOOD), items, images=root, strict=True)


def test_bad_lines_of_text_files(tmp_path):
    (tmp_path / "e.csv").write_bytes(
        b"\xef\xbb\xbfuser_id,item_id,timestamp\r\n1,1,5\r\n1,2,6,7,8\r\n\r\n2\r\nx,1,9\r\n3,9,9\r\n3,abc,9\r\n"
        b'4,"2",10\r\n'
    )
    (tmp_path / "i.csv").write_bytes(b'item_id,title\n1,"a ""b""\nc\xff"\n2,\n')
    with pytest.warns(BadRowsWarning):
        data = Dataset.from_csv(tmp_path / "e.csv", tmp_path / "i.csv")
    assert data.bad_rows.counts == {"malformed line": 1, "missing item_id": 1, "unknown item": 2}
    assert data.items["title"].to_list() == ['a "b"\nc\ufffd', ""]
    assert data.user_ids.to_list() == ["1", "4", "x"]
    assert data.item_ids.to_list() == [1, 2]


def test_huge_and_strange_texts_survive(tmp_path):
    texts = [
        "d" * 1_000_000,
        "nul\0inside",
        "lone \ud83d surrogate",
        "😀 \u202e rtl \u0000",
        "<script>|</script>",
    ]
    items = pd.DataFrame({"item_id": list("xyabc"), "description": pd.Series(texts, dtype=object)})
    data = quietly(events_of(GOOD), items)
    read = data.items["description"].to_list()
    assert read == [texts[0], texts[1], "lone \ufffd surrogate", texts[3], texts[4]]
    assert len({data.item_content(item).key for item in range(5)}) == 5
    frame = data.items.select(pl.Series("item_id", list("xyabc")), "description")
    frame.write_csv(tmp_path / "i.csv")
    pl.DataFrame({"user_id": ["u"], "item_id": ["x"], "timestamp": [100]}).write_csv(tmp_path / "e.csv")
    again = Dataset.from_csv(tmp_path / "e.csv", tmp_path / "i.csv")
    assert again.items["description"].to_list() == read
    # The slow reader, taken for one malformed line, gives the same.
    with open(tmp_path / "i.csv", "a") as handle:
        handle.write("z,a,b,c\n")
    with pytest.warns(BadRowsWarning, match="malformed line"):
        slow = Dataset.from_csv(tmp_path / "e.csv", tmp_path / "i.csv")
    assert slow.items["description"].to_list() == read


def test_long_values_and_control_characters_are_cut_and_escaped_in_warnings():
    with pytest.warns(BadRowsWarning) as caught:
        Dataset.from_frames(events_of(GOOD, ("\x1b[31m" + "u" * 1_000_000, "zz", 5)), ITEMS)
    message = str(caught[0].message)
    assert len(message) < 600
    assert "\x1b" not in message
    assert message.isascii()


def test_long_and_empty_histories():
    rows = 10_000
    items = pl.DataFrame({"item_id": np.arange(rows)})
    events = pl.DataFrame(
        {"user_id": [1] * rows + [2], "item_id": [*range(rows), -5], "timestamp": range(rows + 1)}
    )
    data = quietly(events, items)
    assert data.n_users == 1
    assert np.array_equal(data.histories()[0], np.arange(rows))
    rest, held = data.hold_out_last()
    assert len(rest.histories()[0]) == rows - 1
    assert held[0].tolist() == [rows - 1]


def test_nothing_usable_is_an_empty_dataset():
    data = quietly(events_of((None, "x", 1), ("u", "zz", 1)), ITEMS)
    assert (data.n_users, data.n_items, data.n_interactions, data.bad_rows.total) == (0, 2, 0, 2)
    assert len(data.histories()) == 0
    assert [part.n_users for part in data.split()] == [0, 0, 0]
    assert data.k_core(2).n_items == 0
    assert len(data.hold_out_last()[1]) == 0
    assert data.fingerprint == quietly(events_of((None, "x", 1)), ITEMS).fingerprint


def test_the_table_of_reasons_can_be_read():
    bad = quietly(
        events_of(GOOD, ("u", "zz", 1), ("u", "yy", 1), ("u", "ww", 1), ("u", "vv", 1)), ITEMS
    ).bad_rows
    lines = str(bad).splitlines()
    assert lines[0].split() == ["table", "reason", "rows", "effect", "first", "examples"]
    assert lines[1].startswith("interactions  unknown item     4  dropped  row 2: user_id='u', item_id='zz'")
    assert lines[1].count("row ") == 3
    assert str(BadRows()) == "no bad rows"
    assert not BadRows()


any_value = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3),
    st.dates(), st.lists(st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.tuples(any_value, any_value, any_value, any_value), min_size=1, max_size=12))
def test_no_value_of_any_kind_breaks_a_reader(rows):
    # A column that is as a whole of an impossible type is refused; rows beside good ones are counted.
    with suppress(InputError):
        quietly(events_of(*rows))
    mixed = [*rows, (GOOD[0], GOOD[1], GOOD[2], 1.0), ("v", 5, "2024-01-01", "3")]
    data = quietly(events_of(*mixed))
    assert data.n_interactions + data.bad_rows.total == len(mixed)
    assert (data.interactions["timestamp"] >= 0).all()
    mixed += [("x", "title", "a|b", "x.png")]
    items = pd.DataFrame({name: pd.Series([row[at] for row in mixed], dtype=object)
                          for at, name in enumerate(("item_id", "title", "categories", "image"))})  # fmt: skip
    with suppress(InputError):
        assert quietly(events_of(GOOD), items).n_items <= len(mixed)


@settings(max_examples=100)
@given(content=st.binary(max_size=200), body=st.text(max_size=100))
def test_no_bytes_break_the_text_reader(tmp_path_factory, content, body):
    path = tmp_path_factory.mktemp("fuzz") / "e.csv"
    header = b"user_id,item_id,timestamp\n"
    for tail in (content, body.encode("utf-8", "surrogatepass")):
        path.write_bytes(header + b"1,2,3\n" + tail)
        with warnings.catch_warnings(), suppress(InputError):
            warnings.simplefilter("ignore", BadRowsWarning)
            assert Dataset.from_csv(path).n_interactions <= 1 + len(tail)
