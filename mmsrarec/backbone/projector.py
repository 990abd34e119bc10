"""The projector between image tower and language model as a stored artefact: what alignment changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError

from mmsrarec.backbone.projection import projector_of
from mmsrarec.errors import StoredFileError
from mmsrarec.storage import read_artefact, write_artefact

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["load_projector", "save_projector"]

_KIND = "projector"
_WEIGHTS = "projector.safetensors"


def save_projector(backbone: Backbone, folder: str | Path) -> None:
    """Write the projector's weights as a folder that is whole or absent.

    Raises
    ------
    InputError
        If the model has no projector of its own.
    """
    weights = {name: tensor.contiguous() for name, tensor in projector_of(backbone).state_dict().items()}
    write_artefact(
        folder,
        _KIND,
        backbone.fingerprint,
        lambda path: safetensors.torch.save_file(weights, path / _WEIGHTS),
    )


def load_projector(backbone: Backbone, folder: str | Path) -> None:
    """Read weights that :func:`save_projector` wrote into the model.

    Raises
    ------
    InputError
        If the model has no projector of its own.
    StoredFileError
        If the folder is damaged, foreign, or belongs to a model of another shape.
    """
    read_artefact(folder, _KIND)
    try:
        weights = safetensors.torch.load_file(Path(folder) / _WEIGHTS)
        with torch.no_grad():
            projector_of(backbone).load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        raise StoredFileError(f"{folder} does not fit backbone {backbone.name!r}: {error}") from error
