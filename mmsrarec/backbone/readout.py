"""Readout: what is added to log p(yes) − log p(no), or said in its place, linear in a hidden state.

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
    """A linear function of a hidden state, ``hidden @ direction + shift``.

    At the top it is a change of the row of the output matrix that every spelling of yes has in common:
    ``p(yes) / (p(yes) + p(no))`` stays what it is, and the logit of every spelling of yes gains the function's value.
    Below the top, where no words are said, the value is log p - log(1 - p) itself, and no layer above is run.

    Parameters
    ----------
    direction
        float32 (hidden,).
    shift
        What is added everywhere.
    layer
        Whose state is read in place of the words, counted from 1; ``None`` is the state under the output matrix, beside
        the words.

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
    layer: int | None = None

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Return the value for hidden states (B, hidden), float32 (B,)."""
        direction = torch.from_numpy(self.direction).to(states.device)
        return states.float() @ direction + self.shift

    def save(self, path: str | Path) -> None:
        """Write one safetensors file."""
        content = {"direction": self.direction, "shift": np.array([self.shift], np.float32)}
        if self.layer is not None:
            content["layer"] = np.array([self.layer], np.int32)
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
            layer = int(content["layer"][0]) if "layer" in content else None
            return cls(content["direction"], float(content["shift"][0]), layer)
        except (OSError, SafetensorError, KeyError, IndexError) as error:
            raise StoredFileError(f"{path} is missing or no saved readout: {error}.") from error
