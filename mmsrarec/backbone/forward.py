"""One pass through the model: embeddings with picture features in place, positions, and last hidden states.

Stands under ``first_token`` and ``likelihood``. The output matrix is never applied here; callers take the
hidden states that they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mmsrarec.backbone.encoding import collate
from mmsrarec.backbone.families import rope_positions
from mmsrarec.backbone.pictures import FEATURE_BATCH, collate_pixels
from mmsrarec.backbone.prompt import Encoded, PictureLike

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = [
    "Piece",
    "embed",
    "hidden_of_whole",
    "joined_inputs",
    "picture_features",
    "pieces_inputs",
    "positions",
    "whole_inputs",
]


@dataclass(frozen=True, eq=False)
class Piece:
    """A half-open range of one encoded sequence that cuts no picture.

    Parameters
    ----------
    encoded
        The whole sequence.
    start, end
        First position, and the one behind the last.
    """

    encoded: Encoded
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def input_ids(self) -> torch.Tensor:
        """Token ids of the range, shape (end - start,)."""
        return self.encoded.input_ids[self.start : self.end]

    @property
    def pictures(self) -> list[PictureLike]:
        """The pictures that lie in the range, in order."""
        return [
            picture
            for picture, (start, _) in zip(self.encoded.images, self.encoded.image_spans, strict=True)
            if self.start <= start < self.end
        ]


def picture_features(backbone: Backbone, pictures: Sequence[PictureLike]) -> list[torch.Tensor]:
    """Run pictures through the vision tower and its projector, each once.

    Parameters
    ----------
    backbone
        A model of a known family.
    pictures
        Any number of pictures, repeats allowed.

    Returns
    -------
    list of torch.Tensor
        For each picture its features, shape (tokens, hidden), on the model's device. Without gradient, unless
        a part of the tower is being trained; then nothing is kept.
    """
    if torch.is_grad_enabled() and any(weight.requires_grad for weight in backbone.vision_weights()):
        return [made for picture in pictures for made in _run_tower(backbone, [picture])]
    with torch.no_grad():
        return _remembered_features(backbone, pictures)


def _remembered_features(backbone: Backbone, pictures: Sequence[PictureLike]) -> list[torch.Tensor]:
    marker = backbone.vision_marker
    wanted = {picture.key: picture for picture in pictures}
    features = {key: backbone.features.get((key, marker)) for key in wanted}
    by_shape: dict[Any, list[str]] = {}
    for key in (key for key, known in features.items() if known is None):
        shape = tuple(backbone.reader.pixels(wanted[key])["pixel_values"].shape)
        by_shape.setdefault(shape, []).append(key)
    for keys in by_shape.values():
        # On a CPU one at a time: rounding must not depend on which pictures happen to be read together, or a
        # prediction would differ in its last bits between a process with a warm cache and a fresh one.
        size = 1 if backbone.device.type == "cpu" else FEATURE_BATCH
        for first in range(0, len(keys), size):
            chunk = keys[first : first + size]
            for key, made in zip(chunk, _run_tower(backbone, [wanted[key] for key in chunk]), strict=True):
                features[key] = made
                backbone.features.put((key, marker), made)
    return [features[picture.key] for picture in pictures]  # type: ignore[misc]


def _run_tower(backbone: Backbone, pictures: list[PictureLike]) -> list[torch.Tensor]:
    assert backbone.family is not None
    pixels = collate_pixels([[backbone.reader.pixels(picture)] for picture in pictures], backbone.family)
    inputs = {name: value.to(backbone.device) for name, value in pixels.items()}
    inputs["pixel_values"] = inputs["pixel_values"].to(backbone.dtype)
    made = backbone.inner.get_image_features(**inputs)
    features = getattr(made, "pooler_output", made)
    return [one.reshape(-1, one.shape[-1]).clone() for one in features]


def embed(backbone: Backbone, input_ids: torch.Tensor, pictures: Sequence[PictureLike]) -> torch.Tensor:
    """Look up token embeddings and put picture features over their placeholders.

    Parameters
    ----------
    backbone
        A model of a known family.
    input_ids
        Shape (B, T), int64, on the model's device.
    pictures
        The pictures of all rows, row after row.

    Returns
    -------
    torch.Tensor
        Shape (B, T, hidden).
    """
    embeddings = backbone.inner.get_input_embeddings()(input_ids)  # (B, T, hidden)
    if not pictures:
        return embeddings
    features = torch.cat(picture_features(backbone, pictures)).to(embeddings)  # (picture tokens, hidden)
    places = input_ids.eq(backbone.picture_id).unsqueeze(-1).expand_as(embeddings)
    return embeddings.masked_scatter(places, features)


def positions(backbone: Backbone, piece: Piece) -> torch.Tensor:
    """Positions of a piece within its whole sequence, shape (n,), or (3, n) for three-axis rotary embedding."""
    encoded = piece.encoded
    if backbone.family is None or not backbone.family.rope_3d:
        return torch.arange(piece.start, piece.end)
    grids = [backbone.reader.expansion(picture).grid or (1, 1, 1) for picture in encoded.images]
    merge = backbone.hf.config.vision_config.spatial_merge_size
    return rope_positions(len(encoded), list(encoded.image_spans), grids, merge)[:, piece.start : piece.end]


def pieces_inputs(backbone: Backbone, pieces: Sequence[Piece]) -> dict[str, torch.Tensor]:
    """Pad pieces on the right to inputs of the inner model.

    Parameters
    ----------
    backbone
        A model of a known family, or a text-only one.
    pieces
        At least one.

    Returns
    -------
    dict
        ``inputs_embeds`` (B, T, hidden), for a text-only model ``input_ids`` (B, T) instead, ``attention_mask`` (B, T)
        and ``position_ids`` (B, T) or (3, B, T), all on the model's device.
    """
    lengths = torch.tensor([len(piece) for piece in pieces])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    return joined_inputs(backbone, [[piece] for piece in pieces], mask)


def joined_inputs(
    backbone: Backbone, rows: Sequence[Sequence[Piece]], mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Put the pieces of each row behind one another and pad them on the right, as inputs of the inner model.

    Parameters
    ----------
    backbone
        As in :func:`pieces_inputs`.
    rows
        At least one.
    mask
        Attention mask of the rows; its last size is the length of the longest.

    Returns
    -------
    dict
        As :func:`pieces_inputs`, with this mask.
    """
    longest = mask.shape[-1]
    ids = torch.full((len(rows), longest), backbone.pad_token_id)
    places = []
    for number, row in enumerate(rows):
        tokens = torch.cat([piece.input_ids for piece in row])
        ids[number, : len(tokens)] = tokens
        counted = torch.cat([positions(backbone, piece) for piece in row], dim=-1)  # (n,) or (3, n)
        places.append(torch.nn.functional.pad(counted, (0, longest - len(tokens))))
    inputs = {
        "attention_mask": mask.to(backbone.device),
        "position_ids": torch.stack(places, dim=-2).to(backbone.device),
    }
    if backbone.family is None:
        return inputs | {"input_ids": ids.to(backbone.device)}
    pictures = [picture for row in rows for piece in row for picture in piece.pictures]
    return inputs | {"inputs_embeds": embed(backbone, ids.to(backbone.device), pictures)}


def whole_inputs(backbone: Backbone, encoded: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Pad whole sequences on the right to inputs of the inner model, or of the model itself.

    Returns
    -------
    dict
        As :func:`pieces_inputs`; for a family this room does not know, what its own processor makes.
    """
    if backbone.family is not None:
        return pieces_inputs(backbone, [Piece(one, 0, len(one)) for one in encoded])
    inputs = collate(backbone, encoded)
    inputs.pop("labels", None)
    inputs = {name: value.to(backbone.device) for name, value in inputs.items()}
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(backbone.dtype)
    return inputs


def hidden_of_whole(backbone: Backbone, encoded: Sequence[Encoded]) -> torch.Tensor:
    """Run whole sequences as one batch padded on the right.

    Returns
    -------
    torch.Tensor
        Hidden states under the output matrix, shape (B, T, hidden).
    """
    return backbone.inner(**whole_inputs(backbone, encoded), use_cache=False).last_hidden_state
