"""What goes into the backbone: one user turn of text and pictures, and the same as token ids.

Stands first in the room's flow: rooms to the right build a :class:`Prompt`, ``encoding`` turns it into an
:class:`Encoded`, and everything after that works on token ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from PIL import Image

from mmsrarec.errors import InputError

__all__ = ["Encoded", "PictureLike", "Prompt"]


@runtime_checkable
class PictureLike(Protocol):
    """What the backbone asks of a picture; :class:`mmsrarec.data.Picture` is one."""

    @property
    def key(self) -> str:
        """Identity of the content: equal bytes, equal key."""

    def load(self) -> Image.Image:
        """Return the picture in RGB."""


@dataclass(frozen=True)
class Prompt:
    """One user turn, and what the system says before it.

    Parameters
    ----------
    content
        Text and pictures in the order in which the model shall see them. Neighbouring strings are joined
        as they are.
    system
        Text of the system turn; ``None`` leaves it to the chat template.

    Raises
    ------
    InputError
        If `content` is empty, is a bare string, or holds anything but strings and pictures.

    Examples
    --------
    >>> Prompt(("Will she like it? ", "Answer yes or no.")).text
    'Will she like it? Answer yes or no.'
    """

    content: tuple[str | PictureLike, ...]
    system: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.content, str) or not isinstance(self.content, tuple | list):
            raise InputError(
                f"content must be a tuple of strings and pictures, got {type(self.content).__name__}; "
                "write Prompt((text,))."
            )
        if not self.content:
            raise InputError("content must hold at least one string or picture, got none.")
        for part in self.content:
            if not isinstance(part, str | PictureLike):
                raise InputError(
                    f"content must hold strings and pictures (with .key and .load()), got {type(part).__name__}."
                )
        object.__setattr__(self, "content", tuple(self.content))

    @property
    def pictures(self) -> tuple[PictureLike, ...]:
        """The pictures, in order."""
        return tuple(part for part in self.content if not isinstance(part, str))

    @property
    def text(self) -> str:
        """All text, joined, pictures left out."""
        return "".join(part for part in self.content if isinstance(part, str))


@dataclass(frozen=True, eq=False)
class Encoded:
    """A prompt, and perhaps its answer, as token ids.

    Parameters
    ----------
    input_ids
        Token ids, shape (T,), int64, on the CPU; picture placeholders already repeated as often as the
        model has features for the picture.
    answer_start
        Position of the first answer token; T if there is no answer.
    images
        The pictures, in order.
    image_spans
        For each picture the half-open range of positions that its expansion fills. Empty where the
        processor of an unknown family did the encoding.
    extra
        Further model inputs of an unknown family, made by its own processor, with a batch axis of one.
    """

    input_ids: torch.Tensor
    answer_start: int
    images: tuple[PictureLike, ...] = ()
    image_spans: tuple[tuple[int, int], ...] = ()
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])
