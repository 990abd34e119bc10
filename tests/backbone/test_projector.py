"""The projector as an artefact: to the bit, only into a model it fits, never from a damaged folder."""

from pathlib import Path

import pytest
import torch

from mmsrarec.backbone import Backbone, load_projector, save_projector
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.testing import tiny_llava


def test_round_trip_to_the_bit(tmp_path: Path) -> None:
    changed, plain = Backbone.load(tiny_llava(0)), Backbone.load(tiny_llava(0))
    with torch.no_grad():
        changed.inner.multi_modal_projector.linear_1.weight.add_(0.5)
    assert changed.fingerprint != plain.fingerprint
    save_projector(changed, tmp_path / "projector")
    load_projector(plain, tmp_path / "projector")
    assert changed.fingerprint == plain.fingerprint


def test_damaged_folder_is_named(tmp_path: Path) -> None:
    backbone = Backbone.load(tiny_llava(0))
    save_projector(backbone, tmp_path / "projector")
    weights = tmp_path / "projector" / "projector.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(StoredFileError, match=r"projector\.safetensors has"):
        load_projector(backbone, tmp_path / "projector")
    with pytest.raises(StoredFileError, match="is not a folder"):
        load_projector(backbone, tmp_path / "none")


def test_model_of_another_shape_is_refused(tmp_path: Path, tiny_llava: Backbone) -> None:
    from mmsrarec.storage import write_artefact

    def write(folder: Path) -> None:
        from safetensors.torch import save_file

        save_file({"linear_1.weight": torch.zeros(2, 2)}, folder / "projector.safetensors")

    write_artefact(tmp_path / "projector", "projector", "f0", write)
    with pytest.raises(StoredFileError, match="does not fit backbone"):
        load_projector(tiny_llava, tmp_path / "projector")


def test_model_without_a_projector_is_refused(tmp_path: Path, tiny_llama: Backbone) -> None:
    with pytest.raises(InputError, match="only LLaVA-like models"):
        save_projector(tiny_llama, tmp_path / "projector")
