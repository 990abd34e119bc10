"""The dataset: built, looked up, split; the same ids out as in."""

import polars as pl
import pytest

from mmsrarec.data import Dataset
from mmsrarec.errors import InputError


@pytest.fixture
def interactions() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": ["b", "a", "a", "b", "c"],
            "item_id": [30, 10, 20, 10, 20],
            "timestamp": [5, 2, 1, 4, 9],
        }
    )


@pytest.fixture
def items() -> pl.DataFrame:
    return pl.DataFrame({"item_id": [20, 10, 30, 40], "title": ["Mug", "Hat", None, "Rug"]})


def test_ids_are_dense_inside_and_come_back_unchanged(interactions, items):
    data = Dataset.from_frames(interactions, items)
    assert data.item_ids.to_list() == [20, 10, 30, 40]
    assert data.user_ids.to_list() == ["a", "b", "c"]
    assert data.item_ids.dtype == pl.Int64
    assert [data.item_ids.gather(h).to_list() for h in data.histories()] == [[20, 10], [10, 30], [20]]
    assert data.interactions.schema["user"] == data.interactions.schema["item"] == pl.Int32


def test_unknown_ids_are_minus_one_or_named(interactions, items):
    data = Dataset.from_frames(interactions, items)
    assert data.find_items([30, 99]).tolist() == [2, -1]
    with pytest.raises(InputError, match="items has 1 unknown ids, first 99"):
        data.item_index([30, 99])
    with pytest.raises(InputError, match="users must be a list of ids, got 'a'"):
        data.user_index("a")
