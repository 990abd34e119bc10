"""``EvaluationCases``: for each test user a history, the item that really came next, and negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from mmsrarec.data import Dataset, Histories, sample_negatives
from mmsrarec.errors import InputError

__all__ = ["SAMPLINGS", "EvaluationCases"]

SAMPLINGS: tuple[Literal["uniform"], Literal["popularity"]] = ("uniform", "popularity")


@dataclass(frozen=True, eq=False)
class EvaluationCases:
    """What models are asked, the same for all of them.

    Attributes
    ----------
    users
        int32 (cases,), dense ids in the data the cases were made from.
    histories
        One a case, oldest first; may be empty. Asked when the positive came.
    positives
        int32 (cases,).
    seen
        int32 arrays, one a case: all that the user touched before the positive, however short the history is that
        models are given. Left out of the full catalogue.
    n_items
        Size of the catalogue.
    negatives
        Sampling → int32 (cases, n), items the user never touched. ``"uniform"`` favours models that recommend what
        is popular; ``"popularity"`` takes that advantage away.
    """

    users: npt.NDArray[np.int32]
    histories: Histories
    positives: npt.NDArray[np.int32]
    seen: Sequence[npt.NDArray[np.int32]]
    n_items: int
    negatives: Mapping[str, npt.NDArray[np.int32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def from_dataset(
        cls,
        test: Dataset | Histories,
        *,
        popularity: npt.ArrayLike,
        history: int | None = None,
        negatives: int = 20,
        seed: int = 0,
    ) -> EvaluationCases:
        """Take the last event of each user with two events or more as the positive.

        This is the paper's protocol for test users who are not in the training data, and, on a whole dataset whose
        training part is ``hold_out_last()[0]``, the protocol with the last event held out.

        Parameters
        ----------
        test
            All events of the test users.
        popularity
            int (n_items,), training events of each item; weights of the popularity sampling.
        history
            Events of a history that models are given, the most recent ones; ``None`` gives all.
        negatives
            Negatives a user and sampling.
        seed
            Seed of the negatives.

        Returns
        -------
        EvaluationCases
            With both samplings.

        Raises
        ------
        InputError
            If no user has two events, or a user has too few untouched items.

        Examples
        --------
        >>> test = Histories.from_lists([[0, 1, 2], [3], [4, 0]])
        >>> cases = EvaluationCases.from_dataset(test, popularity=[3, 1, 1, 1, 1, 1], negatives=2)
        >>> cases.users.tolist(), cases.positives.tolist()
        ([0, 2], [2, 0])
        """
        if history is not None and (isinstance(history, bool) or history < 1):
            raise InputError(f"history must be 1 or more, or None for all, got {history!r}.")
        histories = test.histories() if isinstance(test, Dataset) else test
        counts = np.asarray(popularity)
        users = np.flatnonzero(histories.lengths >= 2)
        if not len(users):
            raise InputError("test holds no user with two events, so there is nothing to predict.")
        touched = histories.select(users)
        before = touched.without_last()
        return cls(
            users.astype(np.int32),
            before if history is None else before.recent(history),
            touched.last_items,
            list(before),
            len(counts),
            {
                by: sample_negatives(
                    touched, n=negatives, n_items=len(counts), seed=seed, by=by, popularity=counts
                )
                for by in SAMPLINGS
            },
        )

    def select(self, rows: npt.NDArray[np.generic] | slice) -> EvaluationCases:
        """Give some cases, in the order asked for.

        Parameters
        ----------
        rows
            Positions, shape (n,), a mask, shape (cases,), or a slice.
        """
        chosen = np.arange(len(self))[rows]
        return EvaluationCases(
            self.users[chosen],
            self.histories.select(chosen),
            self.positives[chosen],
            [self.seen[row] for row in chosen],
            self.n_items,
            {by: drawn[chosen] for by, drawn in self.negatives.items()},
        )
