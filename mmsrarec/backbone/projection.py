"""The way of a picture into a LLaVA, cut before the projector: tower features, and embeddings that hold them.

Used by ``align``, which runs the frozen tower once a picture and the projector at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from mmsrarec.backbone.batching import advancing
from mmsrarec.backbone.pictures import RecentlyUsed, collate_pixels
from mmsrarec.backbone.prompt import PictureLike
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["Features", "image_features", "merge_image_features", "projector_of"]

TOWER_BATCH = 8
Features = RecentlyUsed[torch.Tensor]


def projector_of(backbone: Backbone) -> nn.Module:
    """Return the module between image tower and language model.

    Raises
    ------
    InputError
        If the backbone is not LLaVA-like.
    """
    projector = getattr(backbone.inner, "multi_modal_projector", None)
    if projector is None or backbone.family is None or backbone.family.name != "llava":
        raise InputError(
            f"backbone {backbone.name!r} of type {backbone.hf.config.model_type!r} cannot be aligned: only LLaVA-like "
            "models have a projector of their own; leave alignment out."
        )
    return projector


@torch.no_grad()
def image_features(
    backbone: Backbone,
    pictures: Sequence[PictureLike],
    *,
    cache: Features | None = None,
    progress: str | None = None,
) -> torch.Tensor:
    """Run pictures through the image tower, up to what the projector reads.

    Parameters
    ----------
    backbone
        A LLaVA-like model.
    pictures
        At least one; repeats are run once.
    cache
        Where features are looked up and kept by the picture's key.
    progress
        What to call the work on the progress bar; ``None`` shows none.

    Returns
    -------
    torch.Tensor
        Shape (pictures, tokens, tower width), on the model's device: (n, 16, 1280) for the embedded backbone.

    Raises
    ------
    InputError
        If the backbone is not LLaVA-like, or `pictures` is empty.
    """
    if not pictures:
        raise InputError("pictures must hold at least one picture, got none.")
    projector = projector_of(backbone)
    wanted = {picture.key: picture for picture in pictures}
    found = {key: None if cache is None else cache.get(key) for key in wanted}
    missing = [key for key, known in found.items() if known is None]
    with advancing(progress if missing else None, len(missing)) as advance:
        for first in range(0, len(missing), TOWER_BATCH):
            chunk = missing[first : first + TOWER_BATCH]
            read = _run_tower(backbone, projector, [wanted[key] for key in chunk])
            for key, features in zip(chunk, read, strict=True):
                found[key] = features
                if cache is not None:
                    cache.put(key, features)
            advance(len(chunk))
    return torch.stack([found[picture.key] for picture in pictures])  # type: ignore[misc]


def merge_image_features(backbone: Backbone, input_ids: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Look up token embeddings and put projected tower features over the picture placeholders.

    Parameters
    ----------
    backbone
        A LLaVA-like model.
    input_ids
        Shape (B, T), int64, on the model's device.
    features
        What :func:`image_features` gives for the pictures of all rows, row after row: (pictures, tokens, width).

    Returns
    -------
    torch.Tensor
        Shape (B, T, hidden): inputs that give what the model itself makes of ids and pixels. Gradients go to
        the projector.
    """
    projector = projector_of(backbone)
    embeddings = backbone.inner.get_input_embeddings()(input_ids)  # (B, T, hidden)
    dtype = next(projector.parameters()).dtype
    projected = projector(features.to(dtype)).to(embeddings.dtype)  # (pictures, tokens, hidden)
    image_token_id = backbone.image_token_id
    assert image_token_id is not None
    places = input_ids.eq(image_token_id).unsqueeze(-1).expand_as(embeddings)
    return embeddings.masked_scatter(places, projected)


def _run_tower(backbone: Backbone, projector: nn.Module, pictures: list[PictureLike]) -> torch.Tensor:
    """Return what the projector is given for these pictures, whatever the model selects from its tower."""
    assert backbone.family is not None
    pixels = collate_pixels([[backbone.reader.pixels(picture)] for picture in pictures], backbone.family)
    inputs = {name: value.to(backbone.device) for name, value in pixels.items()}
    inputs["pixel_values"] = inputs["pixel_values"].to(backbone.dtype)
    given: list[torch.Tensor] = []
    dtype = next(projector.parameters()).dtype

    def listen(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        given.append(arguments[0])
        # While it is trained the projector may be of a wider dtype than the tower.
        return (arguments[0].to(dtype), *arguments[1:])

    listener = projector.register_forward_pre_hook(listen)
    try:
        backbone.inner.get_image_features(**inputs)
    finally:
        listener.remove()
    return given[0]
