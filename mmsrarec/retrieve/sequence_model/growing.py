"""What can be done to a fitted model without training: items that came later, other texts, other counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from mmsrarec.errors import InputError
from mmsrarec.retrieve.sequence_model.checkpoint import Progress
from mmsrarec.retrieve.sequence_model.networks import Network
from mmsrarec.retrieve.sequence_model.time_gaps import EDGES
from mmsrarec.retrieve.sequence_model.unseen import UnseenItems

__all__ = ["Growing", "check_items"]


class Growing(ABC):
    """The methods by which a :class:`~mmsrarec.retrieve.SequenceModel` follows its catalogue.

    Each gives the model a new network and leaves the old one as it was, so a shallow copy can grow by itself.
    """

    n_items_: int
    counts_: npt.NDArray[np.int64]
    epochs_: int
    best_epoch_: int
    validation_ndcg_: tuple[float, ...]
    _unseen: UnseenItems

    @property
    @abstractmethod
    def _network(self) -> Network:
        """The fitted network."""

    @abstractmethod
    def _build(
        self,
        n_items: int,
        content: npt.NDArray[np.float32] | None = None,
        *,
        edges: torch.Tensor | None = None,
    ) -> Network:
        """Return a network of the model's shape with fresh weights."""

    @abstractmethod
    def _take(
        self, network: Network, counts: npt.NDArray[np.int64], progress: Progress, unseen: UnseenItems
    ) -> None:
        """Take a network, and what is known of its training, as the fitted one."""

    def grow(self, n_items: int, *, content: npt.ArrayLike | None = None) -> Self:
        """Take in items that came after the fit; they score as items never seen in training do.

        Parameters
        ----------
        n_items
            New size of the catalogue, not below the present one.
        content
            float (new items, width), of the new items, as the model was fitted with; ``None`` if it was fitted
            without.

        Returns
        -------
        SequenceModel
            Itself.

        Raises
        ------
        InputError
            If `n_items` is below the present size, or content is missing, not wanted, or of another shape.
        """
        weights = self._network.state_dict()
        new = n_items - self.n_items_
        if new < 0:
            raise InputError(f"n_items must be {self.n_items_} or more, got {n_items}.")
        old = weights["item_embedding.weight"]
        weights["item_embedding.weight"] = torch.cat([old, self._unseen.rows(new, content).to(old.device)])
        self._replace(weights, np.concatenate([self.counts_, np.zeros(new, np.int64)]))
        return self

    def redescribe(self, items: npt.ArrayLike, before: npt.ArrayLike, after: npt.ArrayLike) -> Self:
        """Let the embeddings of items follow a change of what the items are; what was learned by id stays.

        Parameters
        ----------
        items
            int (n,), distinct dense ids.
        before, after
            float (n, width), their content as the model knows it, and as it is now.

        Returns
        -------
        SequenceModel
            Itself.

        Raises
        ------
        InputError
            If an id is not in the catalogue, content has another shape, or the model was fitted without.
        """
        changed = np.asarray(items, np.int64)
        check_items("items", changed, self.n_items_)
        moved = self._unseen.rows(len(changed), after) - self._unseen.rows(len(changed), before)
        weights = self._network.state_dict()
        table = weights["item_embedding.weight"]
        weights["item_embedding.weight"] = table.index_add(
            0, torch.from_numpy(changed).to(table.device), moved.to(table.device)
        )
        self._replace(weights, self.counts_)
        return self

    def recount(self, counts: npt.NDArray[np.int64]) -> Self:
        """Take new numbers of training events, int64 (n_items,): people without a history are told by them.

        Returns
        -------
        SequenceModel
            Itself; nothing learned changes.
        """
        if counts.shape != (self.n_items_,):
            raise InputError(f"counts must have the shape ({self.n_items_},), got {counts.shape}.")
        self._take(self._network, counts, self._progress(), self._unseen)
        return self

    def _replace(self, weights: dict[str, torch.Tensor], counts: npt.NDArray[np.int64]) -> None:
        network = self._build(len(counts), edges=weights.get(EDGES))
        network.load_state_dict(weights)
        self._take(network, counts, self._progress(), self._unseen)

    def _progress(self) -> Progress:
        return Progress(self.epochs_, self.best_epoch_, self.validation_ndcg_)


def check_items(name: str, items: npt.NDArray[np.integer], n_items: int) -> None:
    """Raise :class:`InputError` unless all ids are in the catalogue."""
    outside = items[(items < 0) | (items >= n_items)]
    if len(outside):
        raise InputError(
            f"{name} must hold item ids from 0 to {n_items - 1}, got {outside[0]}; "
            "grow the model for items that came after the fit."
        )
