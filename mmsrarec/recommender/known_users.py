"""The users a recommender has seen: their ids, their histories, and what of it is knowledge about others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file, save_file

from mmsrarec.data import BadRows, Dataset, Histories
from mmsrarec.data.growing import join_users
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.storage import atomic_path

__all__ = ["KnownUsers"]

_SHOWN = 3
_DATA, _TRAINING = "data", "training.safetensors"


class KnownUsers:
    """All that known users took, and which of it others may be told of.

    What training users took in the training set is the knowledge base: item-kNN, transitions, paths, popularity and
    similar users are made of it and of nothing else. What validation users took is their own history and no more. What
    comes by :meth:`updated` belongs to the knowledge base, unless a validation user took it.

    Parameters
    ----------
    data
        The items, and the events of all known users.
    training
        bool (users,), whose events are in the knowledge base. A user's position among these is its id there.
    training_events
        bool (events,), aligned with ``data.interactions``, the events that are.
    """

    def __init__(
        self, data: Dataset, training: npt.NDArray[np.bool_], training_events: npt.NDArray[np.bool_]
    ) -> None:
        self.data = data
        self.training = training
        self.training_events = training_events
        self.knowledge_base_id = np.where(training, np.cumsum(training) - 1, -1).astype(np.int32)

    @classmethod
    def from_datasets(cls, train: Dataset, validation: Dataset) -> KnownUsers:
        """Join the users of both sets.

        After a split by time a user can be in both; what it took in validation is then no knowledge.
        """
        joined, training_events = join_users(train, validation)
        return cls(
            replace(joined, bad_rows=BadRows()), np.arange(joined.n_users) < train.n_users, training_events
        )

    def __len__(self) -> int:
        return len(self.training)

    @property
    def ids(self) -> pl.Series:
        """External user ids, without repetition."""
        return self.data.user_ids

    @property
    def histories(self) -> Histories:
        """Dense item ids of each user, oldest first."""
        return self.data.histories()

    def training_histories(self) -> Histories:
        """Return what is in the knowledge base of each user there, by the ids it has there."""
        everything = self.histories
        owner = np.repeat(self.knowledge_base_id, everything.lengths)[self.training_events]
        counts = np.bincount(owner, minlength=int(self.training.sum()))
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Histories(
            indptr, everything.items[self.training_events], everything.timestamps[self.training_events]
        )

    def find(self, users: Sequence[Any]) -> npt.NDArray[np.int32]:
        """Return the position of each user id.

        Raises
        ------
        InputError
            If an id is unknown; the message says how people the model has not seen are served.
        """
        found = self.data.find_users(users)
        unknown = [users[int(place)] for place in np.flatnonzero(found < 0)]
        if unknown:
            shown = ", ".join(repr(user) for user in unknown[:_SHOWN])
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            raise InputError(
                f"users holds ids that were not in the training data: {shown}{more}. "
                f"Ids are of type {self.ids.dtype}; for new people give histories= instead."
            )
        return found

    def updated(
        self, interactions: Any, columns: Mapping[str, str] | None = None, *, strict: bool = False
    ) -> tuple[KnownUsers, BadRows]:
        """Take in new events, as :meth:`mmsrarec.Dataset.with_interactions` does.

        Returns
        -------
        updated : KnownUsers
            Positions and knowledge-base ids of all users are as before; new users come behind them.
        bad_rows : BadRows
            What could not be used.
        """
        marked = self.data.interactions.with_columns(training=self.training_events)
        grown = replace(self.data, interactions=marked).with_interactions(
            interactions, columns=columns, strict=strict
        )
        training = np.concatenate([self.training, np.ones(grown.n_users - len(self), bool)])
        events = grown.interactions
        flags = events["training"].fill_null(pl.Series(training[events["user"].to_numpy()]))
        data = replace(grown, interactions=events.drop("training"), bad_rows=BadRows())
        return KnownUsers(data, training, flags.to_numpy()), grown.bad_rows

    def with_catalogue(self, data: Dataset) -> KnownUsers:
        """Return the same users over a catalogue whose items are other ones or more."""
        return KnownUsers(replace(data, bad_rows=BadRows()), self.training, self.training_events)

    def save(self, folder: Path) -> None:
        """Write items, users and events, and which of them are knowledge, into a folder."""
        self.data.save(folder / _DATA)
        marks = {"users": self.training, "events": self.training_events}
        with atomic_path(folder / _TRAINING) as temporary:
            save_file(marks, temporary)

    @classmethod
    def load(cls, folder: Path, images: str | Path | None = None) -> KnownUsers:
        """Read what :meth:`save` wrote.

        Raises
        ------
        StoredFileError
            If the files are damaged or do not belong together.
        """
        data = Dataset.load(folder / _DATA, images=images)
        marks = load_file(folder / _TRAINING)
        if len(marks["users"]) != data.n_users or len(marks["events"]) != data.n_interactions:
            raise StoredFileError(f"{folder} holds files that belong to different models; it is damaged.")
        return cls(data, marks["users"], marks["events"])
