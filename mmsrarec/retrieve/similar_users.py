"""``SimilarUsers``: training users whose history looked like the asker's, and what they took next.

The collaborative half of stage 2. The knowledge base holds positions of training users: the representation of
a prefix of their history, and the item that followed it. Nothing of validation or test users is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from mmsrarec.data import Histories
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.progress import track
from mmsrarec.retrieve.sequence_model import SequenceModel
from mmsrarec.storage import fingerprint, read_artefact, write_artefact

__all__ = ["Neighbours", "SimilarUsers"]

KIND = "similar_users"

_ENTRIES = "entries.safetensors"
_USERS_AT_ONCE = 4096
_ENTRIES_AT_ONCE = 65_536
_QUERIES_AT_ONCE = 1024
_FETCHED_A_NEIGHBOUR = 8
_FETCH_GROWTH = 4
# Rounding takes the last bits, which differ with the batch a history was encoded in, out of the order.
_DECIMALS = 6


@dataclass(frozen=True)
class Neighbours:
    """What :meth:`SimilarUsers.search` found, the most similar first.

    Attributes
    ----------
    users
        int32 (n, k), knowledge-base ids; −1 where fewer than `k` were found, always at the end of a row.
    next_items
        int32 (n, k), the item that followed; −1 there.
    similarity
        float32 (n, k), cosine, −1 to 1; 0 there.
    """

    users: npt.NDArray[np.int32]
    next_items: npt.NDArray[np.int32]
    similarity: npt.NDArray[np.float32]

    def part(self, rows: slice) -> Neighbours:
        """Give those of some of the askers."""
        return Neighbours(self.users[rows], self.next_items[rows], self.similarity[rows])


class SimilarUsers:
    """Exact search over the positions of training users, by the cosine of their representations.

    Parameters
    ----------
    positions
        Most recent positions of each training user that are kept, 1 or more.

    Attributes
    ----------
    vectors_
        float32 (entries, dimension), unit length, in the order of users and their positions.
    users_, next_items_
        int32 (entries,), whose position it is and what was taken there.

    Raises
    ------
    InputError
        If `positions` is below 1.

    Examples
    --------
    >>> histories = Histories.from_lists([[0, 1, 2], [0, 1, 3], [4, 5, 4], [4, 5, 3]] * 8)
    >>> model = SequenceModel(dimension=16, epochs=10).fit(histories, 6)
    >>> found = SimilarUsers().fit(model, histories).search([[4, 5]], k=2)
    >>> found.users.tolist(), found.next_items.tolist()
    ([[3, 7]], [[3, 3]])
    """

    def __init__(self, positions: int = 20) -> None:
        if isinstance(positions, bool) or not isinstance(positions, int) or positions < 1:
            raise InputError(f"positions must be a whole number of 1 or more, got {positions!r}.")
        self.positions = positions

    def fit(self, model: SequenceModel, histories: Histories) -> SimilarUsers:
        """Build the knowledge base.

        Parameters
        ----------
        model
            Fitted; kept, to represent the askers.
        histories
            Training users. A user with fewer than two events adds nothing.

        Returns
        -------
        SimilarUsers
            Itself.
        """
        self._represent(model, histories, np.arange(len(histories)))
        return self

    def updated(
        self, model: SequenceModel, histories: Histories, changed: npt.NDArray[np.integer]
    ) -> SimilarUsers:
        """Return the knowledge base of what users have taken since; only what changed is represented anew.

        Parameters
        ----------
        model
            The same, or one that has grown from it.
        histories
            Training users, those from before at their places, new ones behind them.
        changed
            Ids of users, new ones among them, whose history or the items in it are not what they were.

        Returns
        -------
        SimilarUsers
            As :meth:`fit` would make it, up to rounding; this one stays as it is.
        """
        new = SimilarUsers(self.positions)
        if len(changed):
            new._represent(model, histories, np.unique(changed), self)
        else:
            new._take(model, self.vectors_, self.users_, self.next_items_)
        return new

    def _represent(
        self,
        model: SequenceModel,
        histories: Histories,
        changed: npt.NDArray[np.integer],
        before: SimilarUsers | None = None,
    ) -> None:
        """Fill the knowledge base: what changed by the model, the rest from what was there before."""
        kept = np.minimum(np.maximum(histories.lengths - 1, 0), self.positions)
        users = np.repeat(np.arange(len(histories), dtype=np.int32), kept)
        next_items = np.empty(len(users), np.int32)
        # One array from the start: of a large knowledge base there is no room for a second one.
        vectors = np.empty((len(users), model.dimension), np.float32)
        if before is not None:
            old, new = (
                np.flatnonzero(~np.isin(before.users_, changed)),
                np.flatnonzero(~np.isin(users, changed)),
            )
            next_items[new] = before.next_items_[old]
            for first in range(0, len(old), _ENTRIES_AT_ONCE):
                part = slice(first, first + _ENTRIES_AT_ONCE)
                vectors[new[part]] = before.vectors_[old[part]]
        first_entry = np.concatenate([[0], np.cumsum(kept)])
        for first in track(range(0, len(changed), _USERS_AT_ONCE), "representing training users"):
            chosen = changed[first : first + _USERS_AT_ONCE]
            found, following = _entries(model, histories.select(chosen), self.positions)
            starts = first_entry[:-1][chosen]
            places = np.repeat(starts - np.concatenate([[0], np.cumsum(kept[chosen])[:-1]]), kept[chosen])
            places += np.arange(len(places))
            vectors[places], next_items[places] = found, following
        self._take(model, vectors, users, next_items)

    def search(
        self, histories: Sequence[npt.ArrayLike], k: int, exclude_users: npt.ArrayLike | None = None
    ) -> Neighbours:
        """Find the `k` training users nearest to each history, each by its best position.

        Positions whose next item is already in the asker's history are passed over. Equal similarities (to six
        decimals) come in the order of user and position.

        Parameters
        ----------
        histories
            Dense item ids of each asker, oldest first; a :class:`~mmsrarec.data.Histories` also tells when. An empty
            history has no neighbours.
        k
            Neighbours wanted, 1 or more.
        exclude_users
            int (n,), knowledge-base id of each asker, who is never its own neighbour; −1 for none.

        Returns
        -------
        Neighbours
            Users of a row are distinct.

        Raises
        ------
        InputError
            If `k` is below 1, lengths differ, or an item is not in the catalogue.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"k must be a whole number of 1 or more, got {k!r}.")
        asked = Histories.of(histories)
        excluded = np.full(len(asked), -1) if exclude_users is None else np.asarray(exclude_users)
        if excluded.shape != (len(asked),):
            raise InputError(
                f"exclude_users must have one id for each of the {len(asked)} histories, "
                f"got shape {excluded.shape}."
            )
        found = Neighbours(
            np.full((len(asked), k), -1, np.int32),
            np.full((len(asked), k), -1, np.int32),
            np.zeros((len(asked), k), np.float32),
        )
        with_events = np.flatnonzero(asked.lengths)
        for first in range(0, len(with_events), _QUERIES_AT_ONCE):
            self._fill(found, asked, excluded, with_events[first : first + _QUERIES_AT_ONCE])
        return found

    def _fill(
        self,
        found: Neighbours,
        asked: Histories,
        excluded: npt.NDArray[np.integer],
        rows: npt.NDArray[np.intp],
    ) -> None:
        """Write the neighbours of some rows, fetching more entries for those that need more."""
        queries = _unit(self.model_.user_embeddings(asked.select(rows)))
        size, k = len(self.users_), found.users.shape[1]
        fetch = min(size, _FETCHED_A_NEIGHBOUR * (k + 1))
        pending = np.arange(len(rows) if size else 0)
        while len(pending):
            similarity, entries = faiss.knn(
                queries[pending], self.vectors_, fetch, faiss.METRIC_INNER_PRODUCT
            )
            similarity = np.round(similarity, _DECIMALS)
            unfinished = []
            for number, ordered, values in zip(pending, entries, similarity, strict=True):
                row = rows[number]
                # Entries as similar as the last one fetched may have equals that were not.
                complete = fetch == size
                usable = ordered if complete else ordered[values > values[-1]]
                kept = values[: len(usable)]
                allowed = self._allowed(usable, asked[row], int(excluded[row]))
                chosen, kept = self._nearest(usable[allowed], kept[allowed], k)
                if len(chosen) < k and not complete:
                    unfinished.append(number)
                    continue
                found.users[row, : len(chosen)] = self.users_[chosen]
                found.next_items[row, : len(chosen)] = self.next_items_[chosen]
                found.similarity[row, : len(chosen)] = kept
            pending = np.asarray(unfinished, np.intp)
            fetch = min(size, fetch * _FETCH_GROWTH)

    def _allowed(
        self, entries: npt.NDArray[np.int64], history: npt.NDArray[np.int32], excluded: int
    ) -> npt.NDArray[np.bool_]:
        return ~np.isin(self.next_items_[entries], history) & (self.users_[entries] != excluded)

    def _nearest(
        self, entries: npt.NDArray[np.int64], similarity: npt.NDArray[np.float32], k: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Keep the best entry of each user, the best `k` users; entries are in the order of users."""
        order = np.lexsort((entries, -similarity))
        _, first = np.unique(self.users_[entries[order]], return_index=True)
        best = order[np.sort(first)[:k]]
        return entries[best], similarity[best]

    def save(self, folder: str | Path) -> None:
        """Write the knowledge base as an artefact; its sequence model is saved by itself.

        Raises
        ------
        StoredFileError
            If the folder holds something else or cannot be written to.
        """
        tensors = {"vectors": self.vectors_, "users": self.users_, "next_items": self.next_items_}

        def write(path: Path) -> None:
            save_file({name: torch.from_numpy(array) for name, array in tensors.items()}, path / _ENTRIES)

        made_from = fingerprint(self.model_.fingerprint_, self.positions, self.users_, self.next_items_)
        details = {"model": self.model_.fingerprint_, "positions": self.positions}
        write_artefact(folder, KIND, made_from, write, details)

    @classmethod
    def load(cls, folder: str | Path, model: SequenceModel) -> SimilarUsers:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        folder
            The artefact.
        model
            The sequence model it was fitted with.

        Raises
        ------
        StoredFileError
            If the folder is damaged or foreign, or `model` is another one.
        """
        folder = Path(folder)
        details = read_artefact(folder, KIND)["details"]
        if model.fingerprint_ != details["model"]:
            raise StoredFileError(f"{folder} was made with another sequence model; load the two together.")
        tensors = load_file(folder / _ENTRIES)
        similar = cls(positions=details["positions"])
        similar._take(model, *(tensors[name].numpy() for name in ("vectors", "users", "next_items")))
        return similar

    def _take(
        self,
        model: SequenceModel,
        vectors: npt.NDArray[np.float32],
        users: npt.NDArray[np.int32],
        next_items: npt.NDArray[np.int32],
    ) -> None:
        self.model_ = model
        self.vectors_ = vectors
        self.users_ = users
        self.next_items_ = next_items


def _entries(
    model: SequenceModel, histories: Histories, positions: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Return unit vectors and next items of the kept positions of some users."""
    before_end = np.repeat(histories.indptr[1:], histories.lengths) - np.arange(len(histories.items))
    # The last event of a user has no next one.
    kept = np.flatnonzero((before_end > 1) & (before_end <= positions + 1))
    return _unit(model.position_embeddings(histories)[kept]), histories.items[kept + 1]


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(length, np.finfo(np.float32).tiny), np.float32)
