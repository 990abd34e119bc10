"""What the backbone knows of each model family: how pictures enter, and how positions are counted.

Read by ``encoding``, ``pictures`` and ``forward``. A family that is not listed here still loads, scores and
generates: its own processor makes its inputs and its own forward pass reads them; only the shared prefix
and the cache of picture features are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mmsrarec.errors import InputError

__all__ = ["Family", "family_of", "rope_positions"]


@dataclass(frozen=True)
class Family:
    """Facts about one model family.

    Parameters
    ----------
    name
        Short name.
    vision_parts
        Names of the modules in the inner model that turn pixels into features; an adapter on one of them
        makes the features its own.
    tiled
        A picture becomes one or more tiles, pixel values have shape (batch, tiles, 3, H, W).
    rope_3d
        Positions are counted along time, height and width (multimodal rotary embedding).
    fixed_size
        Every picture is brought to one size and stands for the same tokens.
    """

    name: str
    vision_parts: tuple[str, ...] = ()
    tiled: bool = False
    rope_3d: bool = False
    fixed_size: bool = False


_LLAVA = Family("llava", ("vision_tower", "multi_modal_projector"), fixed_size=True)
_QWEN = Family("qwen", ("visual",), rope_3d=True)
_IDEFICS = Family("idefics", ("vision_model", "connector"), tiled=True)
_FAMILIES = {
    "llava": _LLAVA,
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
}


def family_of(config: Any) -> Family | None:
    """Return the family of a model's configuration, ``None`` for one that is not known.

    Examples
    --------
    >>> from transformers import LlavaConfig
    >>> family_of(LlavaConfig()).name
    'llava'
    """
    tower = getattr(getattr(config, "vision_config", None), "model_type", "")
    # Pixtral is a LLaVA by name whose pictures keep their shape, with row breaks between their tokens.
    return None if tower == "pixtral" else _FAMILIES.get(getattr(config, "model_type", ""))


def rope_positions(
    length: int, spans: list[tuple[int, int]], grids: list[tuple[int, int, int]], merge: int
) -> torch.Tensor:
    """Count the three-axis positions of Qwen2-VL's rotary embedding for a whole sequence.

    Text moves all three axes on by one a token. A picture's tokens lie on a grid (time, height, width) from
    where the text stopped, and the text goes on behind the grid's larger side.

    Parameters
    ----------
    length
        Number of tokens T.
    spans
        Half-open range of each picture's tokens, in order.
    grids
        Patches of each picture along time, height and width, before merging.
    merge
        Patches merged to one token along height and width.

    Returns
    -------
    torch.Tensor
        Positions, shape (3, T), int64.

    Raises
    ------
    InputError
        If a span is not as long as its grid.

    Examples
    --------
    >>> rope_positions(7, [(1, 5)], [(1, 4, 4)], 2).tolist()
    [[0, 1, 1, 1, 1, 3, 4], [0, 1, 1, 2, 2, 3, 4], [0, 1, 2, 1, 2, 3, 4]]
    """
    pieces = []
    position = token = 0
    for (start, end), (time, height, width) in zip(spans, grids, strict=True):
        rows, columns = height // merge, width // merge
        if end - start != time * rows * columns:
            raise InputError(
                f"a picture fills {end - start} tokens, its grid {time * rows * columns}; the processor does not "
                "belong to this model."
            )
        text = torch.arange(position, position + start - token).expand(3, -1)
        position += start - token
        grid = torch.meshgrid(torch.arange(time), torch.arange(rows), torch.arange(columns), indexing="ij")
        pieces += [text, torch.stack(grid).reshape(3, -1) + position]
        position += max(rows, columns)
        token = end
    pieces.append(torch.arange(position, position + length - token).expand(3, -1))
    return torch.cat(pieces, dim=1)
