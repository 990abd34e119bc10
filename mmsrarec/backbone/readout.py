"""Readout: what is added to log p(yes) − log p(no), linear in the last hidden state.

Beside the adapters: where examples are few, some hundred numbers are learned more safely than millions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError

from mmsrarec.errors import StoredFileError
from mmsrarec.storage import atomic_path

__all__ = ["Readout"]


@dataclass(frozen=True, eq=False)
class Readout:
    """A change of the row of the output matrix that every spelling of yes has in common.

    ``p(yes) / (p(yes) + p(no))`` stays what it is; the logit of every spelling of yes gains
    ``hidden @ direction + shift``.

    Parameters
    ----------
    direction
        float32 (hidden,).
    shift
        What is added everywhere.

    Examples
    --------
    >>> from mmsrarec.backbone import Backbone, Prompt
    >>> from mmsrarec.testing import tiny_llama
    >>> backbone, prompts = Backbone.load(tiny_llama()), [Prompt(("Will she like it?",))]
    >>> surer = Readout(np.zeros(backbone.hf.config.hidden_size, np.float32), 1.0)
    >>> plain = backbone.first_token_probability(prompts)
    >>> bool(backbone.first_token_probability(prompts, readout=surer) > plain)
    True
    """

    direction: np.ndarray
    shift: float

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Return what is added for last hidden states (B, hidden), float32 (B,)."""
        direction = torch.from_numpy(self.direction).to(states.device)
        return states.float() @ direction + self.shift

    def save(self, path: str | Path) -> None:
        """Write one safetensors file."""
        content = {"direction": self.direction, "shift": np.array([self.shift], np.float32)}
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(safetensors.numpy.save(content))

    @classmethod
    def load(cls, path: str | Path) -> Readout:
        """Read what :meth:`save` wrote.

        Raises
        ------
        StoredFileError
            If the file is missing or damaged.
        """
        try:
            content = safetensors.numpy.load(Path(path).read_bytes())
            return cls(content["direction"], float(content["shift"][0]))
        except (OSError, SafetensorError, KeyError, IndexError) as error:
            raise StoredFileError(f"{path} is missing or no saved readout: {error}.") from error
