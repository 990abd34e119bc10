"""A saved recommender predicts the same to the bit in a fresh process, and refuses what is damaged."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmsrarec import Recommender
from mmsrarec.backbone import Readout
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.storage import MANIFEST, read_json, write_json
from mmsrarec.testing import tiny_llava

_PREDICT = """
import sys
import numpy as np
from mmsrarec import Recommender
recommender = Recommender.load(sys.argv[1], device="cpu")
users = recommender.parts_.users.ids[:4].to_list()
items = recommender.parts_.catalogue.item_ids[:4].to_list()
np.save(sys.argv[2], recommender.predict(users=users, items=items))
recommender.recommend(users[:2], k=4).write_parquet(sys.argv[3])
"""


def with_readout(fitted: Recommender, layer: int | None) -> Recommender:
    """The same recommender, whose p is read differently."""
    width = fitted.parts_.language_model.backbone.hf.config.get_text_config().hidden_size
    direction = np.random.default_rng(0).normal(size=width).astype(np.float32)
    other = Recommender(**fitted.get_params())
    model = replace(fitted.parts_.language_model, readout=Readout(direction, 1.0, layer))
    other._take(replace(fitted.parts_, language_model=model))
    return other


def test_fresh_process_predicts_the_same_to_the_bit(fitted: Recommender, tmp_path: Path) -> None:
    import polars as pl

    numbers, frame = tmp_path / "p.npy", tmp_path / "r.parquet"
    below = with_readout(fitted, 1)
    below.save(tmp_path / "model")
    subprocess.run(
        [sys.executable, "-c", _PREDICT, str(tmp_path / "model"), str(numbers), str(frame)], check=True
    )
    users = fitted.parts_.users.ids[:4].to_list()
    items = fitted.parts_.catalogue.item_ids[:4].to_list()
    assert np.array_equal(np.load(numbers), below.predict(users=users, items=items))
    assert pl.read_parquet(frame).equals(below.recommend(users[:2], k=4))


def test_no_pickle_is_written(saved: Path) -> None:
    kinds = {path.suffix for path in saved.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".parquet", ".safetensors", ".jinja", ".md"}


def test_loaded_pair_is_saved_with_its_weights(fitted: Recommender, tmp_path: Path) -> None:
    fitted_pair = Recommender(**fitted.get_params()).set_params(backbone=tiny_llava())
    fitted_pair._take(fitted.parts_)
    fitted_pair.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model", device="cpu")
    user, item = fitted.parts_.users.ids[0], fitted.parts_.catalogue.item_ids[3]
    assert again.predict(users=[user], items=[item]) == fitted.predict(users=[user], items=[item])


@pytest.mark.parametrize("layer", [None, 1])
def test_a_readout_is_asked_and_saved(fitted: Recommender, tmp_path: Path, layer: int | None) -> None:
    read = with_readout(fitted, layer)
    read.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model", device="cpu")
    asked = {
        "users": fitted.parts_.users.ids[:3].to_list(),
        "items": fitted.parts_.catalogue.item_ids[:3].to_list(),
    }
    found = again.predict(**asked)
    assert np.array_equal(found, read.predict(**asked))
    others = [fitted, with_readout(fitted, 1 if layer is None else None)]
    assert all(np.abs(found - other.predict(**asked)).min() > 1e-4 for other in others)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_are_named(saved: Path, tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    rng = np.random.default_rng(seed)
    victim = files[seed * len(files) // 6]
    content = bytearray(victim.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    victim.write_bytes(bytes(content))
    with pytest.raises(StoredFileError, match=victim.name):
        Recommender.load(folder, device="cpu")


def test_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(StoredFileError, match=r"holds no manifest\.json; it is not a saved recommender"):
        Recommender.load(tmp_path)
    with pytest.raises(StoredFileError, match="is not a folder"):
        Recommender.load(tmp_path / "none")


def test_newer_format_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | {"format_version": 2})
    with pytest.raises(StoredFileError, match="install a newer mmsrarec"):
        Recommender.load(folder)


def test_another_backbone_is_refused(saved: Path) -> None:
    import torch

    model, processor = tiny_llava()
    with torch.no_grad():
        model.get_output_embeddings().weight.add_(1e-3)
    with pytest.raises(StoredFileError, match="was fitted with another backbone"):
        Recommender.load(saved, backbone=(model, processor))


def test_pictures_that_moved_are_asked_for(saved: Path, tmp_path: Path, catalogue) -> None:
    with pytest.raises(InputError, match="give its place as images="):
        Recommender.load(saved, images=tmp_path / "gone")
    shutil.copytree(catalogue.images.root, tmp_path / "moved")
    moved = Recommender.load(saved, images=tmp_path / "moved", device="cpu")
    assert moved.parts_.catalogue.images.root == tmp_path / "moved"


def test_save_refuses_a_folder_of_someone_else(fitted: Recommender, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(StoredFileError, match="it is not overwritten"):
        fitted.save(tmp_path)
