"""Chooses the cases that training is stopped on: given users, or events held out of the training users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmsrarec.data import Histories

__all__ = ["Cases", "given_cases", "hold_out_cases"]

# NDCG@10 of one case deviates by about 0.2, so of 500 cases by about 0.01: fewer would stop training by chance.
_FEWEST_CASES = 500
_HELD_OUT_SHARE = 0.1
_FEWEST_HELD_OUT = 1000


@dataclass(frozen=True)
class Cases:
    """Predict `positives` from `histories`, over all items.

    Attributes
    ----------
    histories
        One a case, none empty, asked when the positive came.
    positives
        int32 (cases,).
    """

    histories: Histories
    positives: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.positives)


def given_cases(validation: Histories) -> Cases:
    """Make a case of the last event of each user, or of several last ones where users are few.

    Examples
    --------
    >>> cases = given_cases(Histories.from_lists([[4, 5, 6], [7]]))
    >>> [history.tolist() for history in cases.histories], cases.positives.tolist()
    ([[4], [4, 5]], [5, 6])
    """
    users = np.flatnonzero(validation.lengths >= 2)
    most = -(-_FEWEST_CASES // max(len(users), 1))
    lengths = validation.lengths[users]
    count = np.minimum(lengths - 1, most)
    owner = np.repeat(users, count)
    first = np.repeat(lengths - count - (np.cumsum(count) - count), count)
    cuts = first + np.arange(len(owner))
    return Cases(validation.before(owner, cuts), validation.items_at(owner, cuts))


def hold_out_cases(histories: Histories, seed: int) -> tuple[Histories, Cases]:
    """Hold out the last event of some training users.

    Parameters
    ----------
    histories
        All training events.
    seed
        Chooses a tenth of the users with three events or more, and at least 1,000 of them where there
        are so many.

    Returns
    -------
    rest : Histories
        All other events, the same users.
    cases : Cases
        The events held out.
    """
    usable = np.flatnonzero(histories.lengths >= 3)
    count = min(len(usable), max(_FEWEST_HELD_OUT, int(len(usable) * _HELD_OUT_SHARE)))
    chosen = np.sort(np.random.default_rng(seed).permutation(usable)[:count])
    last = histories.indptr[1:][chosen] - 1
    kept = np.ones(len(histories.items), bool)
    kept[last] = False
    lengths = histories.lengths.copy()
    lengths[chosen] -= 1
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rest = Histories(indptr, histories.items[kept], histories.timestamps[kept])
    return rest, Cases(rest.select(chosen).asked(histories.timestamps[last]), histories.items[last])
