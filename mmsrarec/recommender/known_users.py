"""The users a recommender has seen: their ids, their histories, and who of them is in the knowledge base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mmsrarec.data import Dataset, Histories
from mmsrarec.errors import InputError
from mmsrarec.storage import atomic_path

__all__ = ["KnownUsers"]

_SHOWN = 3


class KnownUsers:
    """Histories by user id.

    Parameters
    ----------
    ids
        External user ids, without repetition.
    histories
        Dense item ids of each user, oldest first.
    training_events
        int (users,), how many of a training user's first events are of the training set; −1 for other users. A
        training user's position among the training users is its id in the knowledge base.
    """

    def __init__(self, ids: pl.Series, histories: Sequence[np.ndarray], training_events: np.ndarray) -> None:
        self.ids = ids
        self.histories = histories
        self.training_events = np.asarray(training_events, np.int32)
        self.training = self.training_events >= 0
        self.knowledge_base_id = np.where(self.training, np.cumsum(self.training) - 1, -1).astype(np.int32)
        self._position = {user: position for position, user in enumerate(ids.to_list())}

    @classmethod
    def from_datasets(cls, train: Dataset, validation: Dataset) -> KnownUsers:
        """Join the users of both sets.

        A validation user is known, but nobody's neighbour. After a split by time a user can be in both: the
        events of validation then follow those of training.
        """
        train_histories, later = train.histories(), validation.histories()
        histories = [train_histories[user] for user in range(train.n_users)]
        new = []
        for user, found in enumerate(train.find_users(validation.user_ids)):
            if found >= 0:
                histories[found] = np.concatenate([histories[found], later[user]])
            else:
                new.append(user)
        histories += [later[user] for user in new]
        ids = pl.concat([train.user_ids, validation.user_ids[new].cast(train.user_ids.dtype)])
        return cls(ids, histories, np.concatenate([train_histories.lengths, np.full(len(new), -1)]))

    def __len__(self) -> int:
        return len(self.histories)

    def training_histories(self) -> Histories:
        """Return what the training users took in the training set, by knowledge-base id."""
        return Histories.from_lists(
            [
                self.histories[user][: self.training_events[user]]
                for user in np.flatnonzero(self.training).tolist()
            ]
        )

    def find(self, users: Sequence[Any]) -> np.ndarray:
        """Return the position of each user id.

        Raises
        ------
        InputError
            If an id is unknown; the message says how people the model has not seen are served.
        """
        unknown = [user for user in users if user not in self._position]
        if unknown:
            shown = ", ".join(repr(user) for user in unknown[:_SHOWN])
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            raise InputError(
                f"users holds ids that were not in the training data: {shown}{more}. "
                f"Ids are of type {self.ids.dtype}; for new people give histories= instead."
            )
        return np.array([self._position[user] for user in users], dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write one row a user as Parquet."""
        frame = pl.DataFrame(
            {
                "user_id": self.ids,
                "history": pl.Series(
                    [history.tolist() for history in self.histories], dtype=pl.List(pl.Int32)
                ),
                "training_events": self.training_events,
            }
        )
        with atomic_path(path) as temporary:
            frame.write_parquet(temporary)

    @classmethod
    def load(cls, path: Path) -> KnownUsers:
        """Read what :meth:`save` wrote."""
        frame = pl.read_parquet(path)
        histories = [np.asarray(history, np.int32) for history in frame["history"].to_list()]
        return cls(frame["user_id"], histories, frame["training_events"].to_numpy())
