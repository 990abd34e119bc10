"""What connects a history with one candidate, in words: evidence that belongs to the candidate and not to the user.

Stands between ``co_interaction``, which finds the paths, and the prompts, which tell them behind the candidate so that
everything before it stays the same for all candidates of a user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmsrarec.errors import InputError
from mmsrarec.retrieve.co_interaction import CoInteraction
from mmsrarec.retrieve.item_view import ItemView

__all__ = ["PathEvidence", "PathFinder"]

_PATHS_LOOKED_AT = 8


@dataclass(frozen=True)
class PathEvidence:
    """Users who took something of a history, and then the candidate.

    Attributes
    ----------
    bridge_users
        How many there are.
    shared_items
        Dense ids of what they took of the history, distinct, the strongest path first.
    """

    bridge_users: int = 0
    shared_items: tuple[int, ...] = ()

    def text(self, view: ItemView) -> str:
        """Return one line for the prompt, or nothing where there is no path.

        Parameters
        ----------
        view
            Words of the catalogue.

        Examples
        --------
        >>> from mmsrarec.data import ItemContent
        >>> mug = ItemContent(title="Mug", description="", categories=(), picture=None)
        >>> view = ItemView([mug], [()], lambda text, tokens: text)
        >>> PathEvidence(2, (0,)).text(view).strip()
        'Chosen by 2 people who also chose: Mug'
        """
        if not self.bridge_users or not self.shared_items:
            return ""
        people = "1 person" if self.bridge_users == 1 else f"{self.bridge_users} people"
        names = "; ".join(view.name(item) for item in self.shared_items)
        return f"Chosen by {people} who also chose: {names}\n"


class PathFinder:
    """Finds the evidence of each candidate of a user.

    Parameters
    ----------
    paths
        Co-interaction of training users.
    shared_items
        Items of the history to name for a candidate, at most; 0 finds nothing and asks nothing.

    Raises
    ------
    InputError
        If `shared_items` is negative.

    Examples
    --------
    User 0 took items 0 and 1, user 1 took 0, 1 and 2:

    >>> paths = CoInteraction.from_arrays([0, 2, 5], [0, 1, 0, 1, 2], n_items=3)
    >>> PathFinder(paths, shared_items=3).find(np.array([0, 1]), np.array([2]))
    [PathEvidence(bridge_users=1, shared_items=(0,))]
    """

    def __init__(self, paths: CoInteraction, *, shared_items: int = 3) -> None:
        if shared_items < 0:
            raise InputError(f"shared_items must be 0 or more, got {shared_items}.")
        self.paths = paths
        self.shared_items = shared_items

    def find(
        self, history: np.ndarray, candidates: Sequence[int] | np.ndarray, *, exclude_user: int = -1
    ) -> list[PathEvidence]:
        """Return the evidence of each candidate.

        Parameters
        ----------
        history
            Dense item ids of the user, all that are known, also those that the prompt leaves out.
        candidates
            Dense item ids.
        exclude_user
            The user's own id in the knowledge base, −1 for none: nobody is evidence for their own choice.

        Returns
        -------
        list of PathEvidence
            Aligned with `candidates`.
        """
        if not self.shared_items or not len(candidates):
            return [PathEvidence()] * len(candidates)
        counts, bridges = self.paths.evidence(
            history, np.asarray(candidates), max_paths=_PATHS_LOOKED_AT, exclude_user=exclude_user
        )
        through = [dict.fromkeys(row[row >= 0].tolist()) for row in bridges.items]
        return [
            PathEvidence(int(count), tuple(items)[: self.shared_items])
            for count, items in zip(counts, through, strict=True)
        ]
