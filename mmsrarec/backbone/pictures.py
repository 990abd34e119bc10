"""Pictures as the model takes them: token expansions, pixels and tower features, each made once.

Stands beside ``encoding``. All three are kept by the picture's content key; pixels and features are bounded
in bytes, and the least recently used go first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from mmsrarec.backbone.families import Family
from mmsrarec.backbone.prompt import PictureLike
from mmsrarec.errors import InputError

__all__ = ["Expansion", "PictureReader", "RecentlyUsed", "collate_pixels"]

Value = TypeVar("Value")
PIXEL_BYTES = 256 << 20
FEATURE_BYTES = 512 << 20
FEATURE_BATCH = 16
_PIXEL_NAMES = ("pixel_values", "pixel_attention_mask", "image_grid_thw", "image_sizes")


class RecentlyUsed(Generic[Value]):
    """A dictionary bounded in bytes that forgets what was not used for longest.

    Examples
    --------
    >>> kept = RecentlyUsed(10, len)
    >>> for word in ("four", "five5", "six"):
    ...     kept.put(word, word)
    >>> kept.get("four"), kept.get("six")
    (None, 'six')
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._used = 0

    def get(self, key: Hashable) -> Value | None:
        """Return what is kept under `key`, or ``None``."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: Hashable, value: Value) -> None:
        """Keep `value`; older ones are forgotten until all fit."""
        self.drop(key)
        self._values[key] = value
        self._used += self._size(value)
        while self._used > self._limit and len(self._values) > 1:
            self._used -= self._size(self._values.popitem(last=False)[1])

    def drop(self, key: Hashable) -> None:
        """Forget `key`, if it is kept."""
        if key in self._values:
            self._used -= self._size(self._values.pop(key))

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._used = 0

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, eq=False)
class Expansion:
    """The tokens that stand for one picture.

    Parameters
    ----------
    input_ids
        Token ids, shape (n,), int64.
    grid
        Patches along time, height and width, for families that count positions by them.
    """

    input_ids: torch.Tensor
    grid: tuple[int, int, int] | None


class PictureReader:
    """Runs the model's processor on single pictures and remembers the result.

    Parameters
    ----------
    processor
        The model's processor.
    placeholder
        What the chat template writes for a picture.
    fixed_size
        All pictures stand for the same tokens, so that one need not be read to be encoded.
    """

    def __init__(self, processor: Any, placeholder: str, *, fixed_size: bool = False) -> None:
        self._processor = processor
        self._placeholder = placeholder
        self._fixed_size = fixed_size
        self._expansions: RecentlyUsed[Expansion] = RecentlyUsed(
            PIXEL_BYTES, lambda kept: kept.input_ids.nbytes
        )
        self._pixels: RecentlyUsed[dict[str, torch.Tensor]] = RecentlyUsed(
            PIXEL_BYTES, lambda kept: sum(value.nbytes for value in kept.values())
        )

    def expansion(self, picture: PictureLike) -> Expansion:
        """Return the tokens that stand for `picture`."""
        key = self._expansion_key(picture)
        known = self._expansions.get(key)
        if known is None:
            self._read(picture)
            known = self._expansions.get(key)
        assert known is not None
        return known

    def _expansion_key(self, picture: PictureLike) -> str:
        return "" if self._fixed_size else picture.key

    def pixels(self, picture: PictureLike) -> dict[str, torch.Tensor]:
        """Return the processor's image outputs for `picture`, as it makes them for one picture alone."""
        known = self._pixels.get(picture.key)
        return self._read(picture) if known is None else known

    def _read(self, picture: PictureLike) -> dict[str, torch.Tensor]:
        image = picture.load()
        try:
            read = self._processor(
                text=[self._placeholder], images=[[image]], add_special_tokens=False, return_tensors="pt"
            )
        except (ValueError, ZeroDivisionError) as error:
            raise InputError(
                f"picture {picture.key[:12]} of {image.width}x{image.height} pixels cannot be used by this "
                f"backbone: {error}."
            ) from error
        pixels = {name: read[name] for name in _PIXEL_NAMES if name in read}
        grid = tuple(pixels["image_grid_thw"][0].tolist()) if "image_grid_thw" in pixels else None
        self._expansions.put(self._expansion_key(picture), Expansion(read["input_ids"][0], grid))
        self._pixels.put(picture.key, pixels)
        return pixels


def collate_pixels(
    rows: Sequence[Sequence[dict[str, torch.Tensor]]], family: Family
) -> dict[str, torch.Tensor]:
    """Put the pixels of a batch together as the family's forward pass wants them.

    Parameters
    ----------
    rows
        For each sequence of the batch its pictures, as :meth:`PictureReader.pixels` returns them.
    family
        Family of the model.

    Returns
    -------
    dict
        Model inputs; empty if the batch has no picture. For tiled families (batch, most tiles, 3, H, W), padded
        with zeros; for others all pictures one behind the other.
    """
    flat = [pixels for row in rows for pixels in row]
    if not flat:
        return {}
    if not family.tiled:
        return {name: torch.cat([pixels[name] for pixels in flat]) for name in flat[0]}
    tiles = max(sum(pixels["pixel_values"].shape[1] for pixels in row) for row in rows)
    height, width = (max(pixels["pixel_values"].shape[axis] for pixels in flat) for axis in (-2, -1))
    first = flat[0]["pixel_values"]
    values = torch.zeros(len(rows), tiles, first.shape[2], height, width, dtype=first.dtype)
    mask = torch.zeros(len(rows), tiles, height, width, dtype=torch.int64)
    for row, pictures in enumerate(rows):
        tile = 0
        for pixels in pictures:
            _, count, _, rows_used, columns_used = pixels["pixel_values"].shape
            place = (row, slice(tile, tile + count), ..., slice(rows_used), slice(columns_used))
            values[place] = pixels["pixel_values"][0]
            mask[place] = pixels["pixel_attention_mask"][0].to(mask.dtype)
            tile += count
    return {"pixel_values": values, "pixel_attention_mask": mask}
