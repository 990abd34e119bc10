"""Chooses the cases that training is stopped on: given users, or events held out of the training users."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        Not empty, each a history of dense item ids.
    positives
        int32 (cases,).
    """

    histories: list[npt.NDArray[np.int32]] = field(default_factory=list)
    positives: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

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
    whole = [validation[int(user)] for user in users]
    cuts = [(items, cut) for items in whole for cut in range(max(1, len(items) - most), len(items))]
    return Cases(
        [items[:cut] for items, cut in cuts], np.asarray([items[cut] for items, cut in cuts], np.int32)
    )


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
    return rest, Cases([rest[int(user)] for user in chosen], histories.items[last])
