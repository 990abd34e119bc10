"""Saved datasets: equal when opened, refused when damaged."""

import shutil

import polars as pl
import pytest

from mmsrarec.data import Dataset
from mmsrarec.errors import StoredFileError
from mmsrarec.storage import write_artefact


def test_what_is_saved_is_opened(catalogue, tmp_path):
    catalogue.save(tmp_path / "data")
    again = Dataset.load(tmp_path / "data")
    assert again.fingerprint == catalogue.fingerprint
    assert again.item_content(2).key == catalogue.item_content(2).key
    assert again.user_ids.dtype == catalogue.user_ids.dtype
    empty = catalogue.k_core(1000)
    empty.save(tmp_path / "empty")
    assert Dataset.load(tmp_path / "empty").fingerprint == empty.fingerprint


def test_pictures_may_have_moved(catalogue, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(catalogue.images.root, moved)
    catalogue.save(tmp_path / "data")
    again = Dataset.load(tmp_path / "data", images=moved)
    assert again.item_content(0).picture.path.parent == moved
    assert again.item_content(0).key == catalogue.item_content(0).key


def test_damaged_and_foreign_folders_are_refused(catalogue, tmp_path):
    catalogue.save(tmp_path / "data")
    target = tmp_path / "data" / "items.parquet"
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(StoredFileError, match=r"items\.parquet has \d+ bytes"):
        Dataset.load(tmp_path / "data")
    with pytest.raises(StoredFileError, match="is not a folder"):
        Dataset.load(tmp_path / "none")

    def write(folder):
        pl.DataFrame({"user": [5], "item": [0]}).write_parquet(folder / "interactions.parquet")
        catalogue.items.write_parquet(folder / "items.parquet")
        pl.DataFrame({"user_id": [1]}).write_parquet(folder / "users.parquet")

    write_artefact(tmp_path / "other", "dataset", "f", write)
    with pytest.raises(StoredFileError, match=r"tables of another form|unreadable tables"):
        Dataset.load(tmp_path / "other")
