"""How items without training events are embedded: those of the catalogue, and those that come after the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmsrarec.errors import InputError
from mmsrarec.retrieve.sequence_model.networks import ItemEmbedding

__all__ = ["UnseenItems", "checked_content"]

_RAREST_SHARE = 0.1
_PREFIX = "unseen/"


@dataclass(frozen=True)
class UnseenItems:
    """``e = id + W · (content − mean)``: for the id, the mean of the items seen.

    Without content, items that nobody took cannot be told apart, and the mean of the rarest tenth alone keeps them low
    together. With it, the mean of all is the better guess: what fits is taken as often as other items are.

    Attributes
    ----------
    id
        float32 (dimension,).
    projection
        float32 (dimension, width of the content), or ``None`` if the model was fitted without content.
    mean
        float32 (width of the content,), or ``None``.
    """

    id: Tensor
    projection: Tensor | None = None
    mean: Tensor | None = None

    @classmethod
    def of(cls, embedding: ItemEmbedding, counts: npt.NDArray[np.int64]) -> UnseenItems:
        """Read them from a trained embedding and the events of each item."""
        meant = counts > 0
        if embedding.content is None:
            meant &= counts <= np.quantile(counts[meant], _RAREST_SHARE)
        by_id = embedding.weight.detach()[torch.from_numpy(meant)].mean(dim=0)
        if embedding.content is None:
            return cls(by_id.cpu())
        projection = embedding.projection.weight.detach() / embedding.content_scale
        return cls(by_id.cpu(), projection.cpu(), embedding.content_mean.cpu())

    def rows(self, count: int, content: npt.ArrayLike | None) -> Tensor:
        """Embed items.

        Parameters
        ----------
        count
            Number of items.
        content
            float (count, width), or ``None`` if the model was fitted without.

        Returns
        -------
        torch.Tensor
            float32 (count, dimension).

        Raises
        ------
        InputError
            If content is missing, not wanted, or of another shape.
        """
        if self.projection is None or self.mean is None:
            if content is not None:
                raise InputError("content was given, but the model was fitted without it; leave it out.")
            return self.id.repeat(count, 1)
        if content is None:
            raise InputError(
                "content was not given, but the model was fitted with it; give that of the new items."
            )
        described = torch.from_numpy(checked_content(content, count, len(self.mean)))
        return self.id + (described - self.mean) @ self.projection.T

    def tensors(self) -> dict[str, Tensor]:
        """Return what :meth:`from_tensors` reads."""
        named = {"id": self.id, "projection": self.projection, "mean": self.mean}
        return {_PREFIX + name: value.contiguous() for name, value in named.items() if value is not None}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> UnseenItems:
        """Take what :meth:`tensors` gave out of `tensors`."""
        names = [name for name in tensors if name.startswith(_PREFIX)]
        return cls(**{name.removeprefix(_PREFIX): tensors.pop(name) for name in names})


def checked_content(
    content: npt.ArrayLike, n_items: int, width: int | None = None
) -> npt.NDArray[np.float32]:
    """Return content as float32 (n_items, width).

    Raises
    ------
    InputError
        If it has another shape or holds NaN or infinity.
    """
    described = np.asarray(content, np.float32)
    if (
        described.ndim != 2
        or len(described) != n_items
        or described.shape[1] != (width or described.shape[1])
    ):
        raise InputError(
            f"content must have the shape ({n_items}, {width or 'any width'}), got {described.shape}."
        )
    if not np.isfinite(described).all():
        row = int(np.argmin(np.isfinite(described).all(axis=1)))
        raise InputError(f"content must be finite, got NaN or infinity for item {row}.")
    return described
