"""The dataset: built from frames and files, looked up, grown; the same ids out as in."""

import datetime as dt
import gzip
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsrarec.data import BadRowsWarning, Dataset
from mmsrarec.errors import InputError

EVENTS = {"user_id": ["b", "a", "a", "b", "c"], "item_id": [30, 10, 20, 10, 20], "timestamp": [5, 2, 1, 4, 9]}
ITEMS = {"item_id": [20, 10, 30, 40], "title": ["Mug", "Hat", None, "Rug"]}


@pytest.fixture
def data() -> Dataset:
    return Dataset.from_frames(pl.DataFrame(EVENTS), pl.DataFrame(ITEMS))


def sequences(data: Dataset) -> dict:
    ids = [data.item_ids.gather(history).to_list() for history in data.histories()]
    return dict(zip(data.user_ids.to_list(), ids, strict=True))


def test_ids_are_dense_inside_and_come_back_unchanged(data):
    assert data.item_ids.to_list() == [20, 10, 30, 40]
    assert data.user_ids.to_list() == ["a", "b", "c"]
    assert data.item_ids.dtype == pl.Int64
    assert sequences(data) == {"a": [20, 10], "b": [10, 30], "c": [20]}
    assert data.interactions.schema["user"] == data.interactions.schema["item"] == pl.Int32


@pytest.mark.parametrize(
    "make",
    [
        pl.DataFrame,
        pl.LazyFrame,
        pd.DataFrame,
        pa.table,
        lambda columns: pd.DataFrame(columns).astype(object),
    ],
    ids=["polars", "lazy", "pandas", "pyarrow", "pandas-object"],
)
def test_any_kind_of_frame_gives_the_same_dataset(data, make):
    other = Dataset.from_frames(make(EVENTS), make(ITEMS))
    assert other.fingerprint == data.fingerprint
    assert other.item_text(2) == ""


@pytest.mark.parametrize("dtype", [pl.Int16, pl.UInt32, pl.Int64, pl.String])
def test_id_types_are_kept(dtype):
    events = pl.DataFrame(EVENTS).cast({"item_id": dtype})
    assert Dataset.from_frames(events).item_ids.dtype == dtype


def test_pandas_integers_that_became_floats_are_integers_again():
    events = pd.DataFrame({"user_id": [1, 2, None], "item_id": [7, 8, 9], "timestamp": [1, 2, 3]})
    with pytest.warns(BadRowsWarning, match="missing user_id"):
        data = Dataset.from_frames(events)
    assert data.user_ids.to_list() == [1, 2]
    assert data.user_ids.dtype == pl.Int64


def test_other_names_by_mapping():
    events = pd.DataFrame({"uid": ["a"], "asin": ["x"], "ts": [3]})
    items = pl.DataFrame({"item_id": ["x"], "name": ["Mug"]})
    columns = {"user_id": "uid", "item_id": "asin", "timestamp": "ts", "title": "name"}
    assert Dataset.from_frames(events, items, columns=columns).item_text(0) == "Mug."
    with pytest.raises(InputError, match="interactions has no column 'item_id'"):
        Dataset.from_frames(events, items, columns={"user_id": "uid", "timestamp": "ts"})
    with pytest.raises(InputError, match="columns has the key 'uid'"):
        Dataset.from_frames(events, items, columns={**columns, "uid": "user_id"})
    with pytest.raises(InputError, match="'image' to 'picture', which no table has"):
        Dataset.from_frames(events, items, columns={**columns, "image": "picture"})


def test_arguments_of_the_wrong_kind_are_named(tmp_path):
    with pytest.raises(InputError, match="interactions must be a pandas, Polars or PyArrow frame, got dict"):
        Dataset.from_frames(EVENTS)
    with pytest.raises(InputError, match="interactions must be an existing file"):
        Dataset.from_csv(tmp_path / "none.csv")
    with pytest.raises(InputError, match="interactions must be the path of a file, got DataFrame"):
        Dataset.from_csv(pl.DataFrame(EVENTS))
    with pytest.raises(InputError, match="images must be an existing folder"):
        Dataset.from_frames(pl.DataFrame(EVENTS), images=tmp_path / "none")
    with pytest.raises(InputError, match="item_id must hold integers or strings, got Boolean"):
        Dataset.from_frames(pl.DataFrame({**EVENTS, "item_id": [True] * 5}))
    with pytest.raises(InputError, match="item_id is String here and Int64 in the table that lists them"):
        Dataset.from_frames(pl.DataFrame(EVENTS).cast({"item_id": pl.String}), pl.DataFrame(ITEMS))


def test_unknown_ids_are_minus_one_or_named(data):
    assert data.find_items([30, 99]).tolist() == [2, -1]
    assert data.find_items(np.array([30, 20])).tolist() == [2, 0]
    assert data.find_users(pl.Series(["c", "zz", None])).tolist() == [2, -1, -1]
    assert data.item_index([]).dtype == np.int32
    with pytest.raises(InputError, match="items has 1 unknown ids, first 99"):
        data.item_index([30, 99])
    with pytest.raises(InputError, match="users must be a list of ids, got 'a'"):
        data.user_index("a")
    with pytest.raises(InputError, match="flat list"):
        data.find_items([[30]])


def test_csv_tsv_gzip_and_parquet_agree(tmp_path, data):
    events, items = pl.DataFrame(EVENTS), pl.DataFrame(ITEMS)
    events.write_csv(tmp_path / "e.csv")
    items.write_csv(tmp_path / "i.tsv", separator="\t")
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress((tmp_path / "e.csv").read_bytes()))
    events.write_parquet(tmp_path / "e.parquet")
    items.write_parquet(tmp_path / "i.parquet")
    read = [
        Dataset.from_csv(tmp_path / "e.csv", tmp_path / "i.tsv"),
        Dataset.from_csv(tmp_path / "e.csv.gz", tmp_path / "i.tsv"),
        Dataset.from_parquet(tmp_path / "e.parquet", tmp_path / "i.parquet"),
    ]
    assert {each.fingerprint for each in read} == {data.fingerprint}


def test_text_files_with_leading_zeros_keep_them(tmp_path):
    (tmp_path / "e.csv").write_text("user_id,item_id,timestamp\n007,1,5\n8,2,6\n")
    data = Dataset.from_csv(tmp_path / "e.csv")
    assert data.user_ids.to_list() == ["007", "8"]
    assert data.item_ids.to_list() == [1, 2]


@pytest.mark.parametrize("content", [b"", b"user_id\n", b"\x00\xff\xfe", b"\x1f\x8b\x08\x00broken"])
def test_files_that_are_no_table_are_named(tmp_path, content):
    (tmp_path / "e.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"e\.csv|has no column"):
        Dataset.from_csv(tmp_path / "e.csv")


def test_truncated_files_are_named(tmp_path):
    text = "user_id,item_id,timestamp\n" + "".join(f"{n},{n},{n}\n" for n in range(5000))
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress(text.encode())[:-30])
    with pytest.raises(InputError, match=r"e\.csv\.gz could not be read"):
        Dataset.from_csv(tmp_path / "e.csv.gz")
    pl.DataFrame(EVENTS).write_parquet(tmp_path / "e.parquet")
    (tmp_path / "e.parquet").write_bytes((tmp_path / "e.parquet").read_bytes()[:-30])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        Dataset.from_parquet(tmp_path / "e.parquet")


def test_categories_as_lists_or_text():
    events = pl.DataFrame({"user_id": [1], "item_id": [1], "timestamp": [1]})
    split = Dataset.from_frames(events, pl.DataFrame({"item_id": [1, 2], "categories": [" a |b||a", None]}))
    listed = Dataset.from_frames(events, pl.DataFrame({"item_id": [1, 2], "categories": [["a", "b "], []]}))
    arrays = pd.DataFrame({"item_id": [1, 2], "categories": [np.array(["a", "b"]), None]})
    mixed = pd.DataFrame({"item_id": [1, 2], "categories": [["a", 3], "x|y"]})
    assert split.items["categories"].to_list() == listed.items["categories"].to_list() == [["a", "b"], []]
    assert Dataset.from_frames(events, arrays).items["categories"].to_list() == [["a", "b"], []]
    assert Dataset.from_frames(events, mixed).items["categories"].to_list() == [["a", "3"], ["x", "y"]]


def test_pictures_are_found_by_name_or_by_id(tmp_path, catalogue):
    source = catalogue.images.root / "i1.png"
    (tmp_path / "7.png").write_bytes(source.read_bytes())
    events = pl.DataFrame({"user_id": [1], "item_id": [7], "timestamp": [1]})
    by_id = Dataset.from_frames(events, pl.DataFrame({"item_id": [7, 8]}), images=tmp_path)
    assert by_id.items["image"].to_list() == ["7.png", None]
    assert by_id.item_content(0).key == Dataset.from_frames(events, images=tmp_path).item_content(0).key
    assert by_id.item_content(1).picture is None


def test_with_items_appends_and_changes_no_dense_id(data):
    more = pd.DataFrame({"item_id": [50, 20], "title": ["Pot", "other"]})
    with pytest.warns(BadRowsWarning, match="duplicate item_id"):
        larger = data.with_items(more)
    assert larger.item_ids.to_list() == [20, 10, 30, 40, 50]
    assert larger.item_text(4) == "Pot."
    assert larger.item_text(0) == "Mug."
    assert larger.bad_rows.counts == {"duplicate item_id": 1}
    assert larger.interactions.equals(data.interactions)
    assert data.n_items == 4
    with pytest.raises(InputError, match="strict=True"):
        data.with_items(more, strict=True)


def test_with_interactions_appends_users_and_keeps_old_events(data):
    more = pl.DataFrame(
        {"user_id": ["aa", "a", "a", "a"], "item_id": [40, 40, 10, 77], "timestamp": [7, 0, 50, 51]}
    )
    with pytest.warns(BadRowsWarning) as caught:
        larger = data.with_interactions(more)
    assert len(caught) == 1
    assert larger.user_ids.to_list() == ["a", "b", "c", "aa"]
    assert sequences(larger) == {"a": [40, 20, 10], "b": [10, 30], "c": [20], "aa": [40]}
    assert larger.bad_rows.counts == {"unknown item": 1, "duplicate event": 1}


def test_growing_from_nothing():
    events = pl.DataFrame({"user_id": [], "item_id": [], "timestamp": []})
    empty = Dataset.from_frames(events, pl.DataFrame(ITEMS))
    assert (empty.n_users, empty.n_items, len(empty.histories())) == (0, 4, 0)
    assert sequences(empty.with_interactions(pl.DataFrame(EVENTS)))["a"] == [20, 10]
    nothing = Dataset.from_frames(events)
    assert nothing.n_items == 0
    assert nothing.with_items(pl.DataFrame(ITEMS)).n_items == 4


def test_fingerprint_follows_content(data, tmp_path, catalogue):
    assert Dataset.from_frames(pl.DataFrame(EVENTS), pl.DataFrame(ITEMS)).fingerprint == data.fingerprint
    changed = [
        Dataset.from_frames(pl.DataFrame({**EVENTS, "timestamp": [5, 2, 1, 4, 8]}), pl.DataFrame(ITEMS)),
        Dataset.from_frames(
            pl.DataFrame(EVENTS), pl.DataFrame({**ITEMS, "title": ["Cup", "Hat", None, "Rug"]})
        ),
        Dataset.from_frames(pl.DataFrame({**EVENTS, "rating": [1.0] * 5}), pl.DataFrame(ITEMS)),
        data.with_items(pl.DataFrame({"item_id": [99]})),
    ]
    assert len({each.fingerprint for each in [data, *changed]}) == 5


def test_item_content_and_text(catalogue):
    content = catalogue.item_content(np.int32(0))
    assert content.text == catalogue.item_text(0)
    assert content.text.endswith(f"Categories: {', '.join(content.categories)}.")
    assert content.picture.load().size == (224, 224)


def test_items_outside_the_catalogue_have_no_text(data):
    for item in (-1, 4):
        with pytest.raises(InputError, match=f"item must be a dense id from 0 to 3, got {item}"):
            data.item_text(item)
        with pytest.raises(InputError, match="item must be a dense id"):
            data.item_content(item)


def test_compressed_files_with_a_malformed_line(tmp_path):
    text = b"user_id,item_id,timestamp\n1,2,3\n1,2,3,4\n"
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress(text))
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(text)
    (tmp_path / "e.csv.zst").write_bytes(sink.getvalue())
    for name in ("e.csv.gz", "e.csv.zst"):
        with pytest.warns(BadRowsWarning, match="malformed line"):
            assert Dataset.from_csv(tmp_path / name).n_interactions == 1


def test_the_room_needs_no_torch():
    code = "import sys, mmsrarec.data; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_warnings_name_the_callers_line_and_come_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Dataset.from_frames(pl.DataFrame({**EVENTS, "timestamp": [-1, None, 1, 4, 9]}), pl.DataFrame(ITEMS))
    assert [each.filename for each in caught] == [__file__]
    assert issubclass(caught[0].category, BadRowsWarning)


def test_dates_become_seconds():
    moments = [dt.datetime(2024, 1, 1, 0, 0, n, tzinfo=dt.UTC) for n in range(5)]
    data = Dataset.from_frames(pl.DataFrame({**EVENTS, "timestamp": moments}))
    assert data.interactions["timestamp"].dtype == pl.Int64
    assert data.interactions["timestamp"].min() == 1_704_067_200


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.text(max_size=4), st.integers(-(2**63), 2**63 - 1), st.integers(0, 50)), max_size=30
    )
)
def test_any_ids_survive_the_round_trip(rows):
    rows = [
        (user.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), *rest) for user, *rest in rows
    ]
    frame = pl.DataFrame(
        rows, schema={"user_id": pl.String, "item_id": pl.Int64, "timestamp": pl.Int64}, orient="row"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BadRowsWarning)
        data = Dataset.from_frames(frame)
    expected: dict = {}
    for user, item, time in sorted(rows, key=lambda row: row[2]):
        if user:
            expected.setdefault(user, {}).setdefault(item, time)
    assert sequences(data) == {user: list(items) for user, items in expected.items()}
    assert data.n_interactions + data.bad_rows.total == len(rows)


def test_merged_items_take_the_place_of_known_ones_and_keep_every_dense_id(data, tmp_path):
    from mmsrarec.data.growing import merge_items

    known, new = data.item_ids[1], max(data.item_ids) + 1
    pl.DataFrame({"item_id": [new, known, new], "title": ["New", "Other", "Twice"]}).write_csv(
        tmp_path / "items.csv"
    )
    with pytest.warns(BadRowsWarning, match="duplicate item_id"):
        merged, given = merge_items(data, tmp_path / "items.csv", None, None, False)
    assert given.tolist() == [1, data.n_items]
    assert merged.item_ids.to_list() == [*data.item_ids, new]
    titles = [*data.items["title"], "New"]
    titles[1] = "Other"
    assert merged.items["title"].to_list() == titles
    assert merged.interactions.equals(data.interactions)
    with pytest.raises(InputError, match="strict=True allows none"):
        merge_items(data, pl.DataFrame({"item_id": [new, new]}), None, None, True)


def test_users_of_two_data_sets_are_joined_in_order_of_time(data):
    from mmsrarec.data.growing import join_users

    train, validation, test = data.split(by="time", ratios=(1, 1, 1))
    joined, of_first = join_users(train, validation)
    joined, earlier = join_users(joined, test)
    assert of_first.sum() == train.n_interactions
    assert earlier.sum() == train.n_interactions + validation.n_interactions
    for user, name in enumerate(joined.user_ids):
        expected = data.histories()[int(data.find_users([name])[0])]
        assert joined.histories()[user].tolist() == expected.tolist()
    again, of_first = join_users(data, data)
    assert again.interactions.equals(data.interactions)
    assert of_first.all()
