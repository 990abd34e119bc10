"""UserContext: what is known of one user, in words, within a token budget.

The last room of ``retrieve``: history items and similar users' next items (MMSRARec, stage 2) become one
small object that the prompts of ``tune`` and ``rank`` are written from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmsrarec.errors import InputError
from mmsrarec.retrieve.item_view import ItemView
from mmsrarec.retrieve.path_evidence import PathEvidence, PathFinder
from mmsrarec.retrieve.similar_users import Neighbours, SimilarUsers

__all__ = ["ContextBuilder", "NextItem", "UserContext"]


@dataclass(frozen=True)
class NextItem:
    """What one similar user took next.

    Attributes
    ----------
    user
        Dense id of the similar user in the knowledge base.
    item
        Dense id of the item that user took next.
    similarity
        Cosine between the two users' representations.
    """

    user: int
    item: int
    similarity: float


@dataclass(frozen=True)
class UserContext:
    """What is known of one user.

    Attributes
    ----------
    history
        Dense ids of the most recent items, oldest first.
    neighbours
        Similar users' next items, most similar first.
    dropped
        Pieces of evidence that the token budget left out.
    """

    history: tuple[int, ...]
    neighbours: tuple[NextItem, ...]
    dropped: int = 0

    def history_text(self, view: ItemView) -> str:
        """Return one line of keywords an item, oldest first."""
        return _lines([view.words(item) for item in self.history])

    def neighbours_text(self, view: ItemView) -> str:
        """Return one line of keywords a similar user's next item, most similar first."""
        return _lines([view.words(neighbour.item) for neighbour in self.neighbours])


def _lines(words: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in words if line) or "- nothing known"


class ContextBuilder:
    """Builds the context of users from their histories.

    Parameters
    ----------
    view
        Words of the catalogue's items.
    similar_users
        Fitted retrieval over training users.
    history
        Most recent items to keep, 1 or more (the paper: 5).
    neighbours
        Similar users to ask, 0 or more (the paper: 3).
    token_budget
        Tokens that history and neighbours may take together. The weakest evidence goes first: the least
        similar neighbour, and once none is left, the oldest item of the history. The latest item stays.
    count_tokens
        Tokens of a text under the backbone's tokenizer.
    paths
        Finds what connects a history with a candidate; ``None`` tells of no paths.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    def __init__(
        self,
        view: ItemView,
        similar_users: SimilarUsers,
        *,
        history: int = 5,
        neighbours: int = 3,
        token_budget: int = 256,
        count_tokens: Callable[[str], int],
        paths: PathFinder | None = None,
    ) -> None:
        if history < 1:
            raise InputError(f"history must be 1 or more, got {history}.")
        if neighbours < 0:
            raise InputError(f"similar_users must be 0 or more, got {neighbours}.")
        if token_budget < 1:
            raise InputError(f"token_budget must be 1 or more, got {token_budget}.")
        self.view = view
        self.similar_users = similar_users
        self.history = history
        self.neighbours = neighbours
        self.token_budget = token_budget
        self.paths = paths
        self._count_tokens = count_tokens

    def build(
        self,
        histories: Sequence[np.ndarray],
        *,
        exclude_users: np.ndarray | None = None,
        found: Neighbours | None = None,
    ) -> list[UserContext]:
        """Build one context a history.

        Parameters
        ----------
        histories
            Dense item ids of each user, oldest first; empty histories are allowed.
        exclude_users
            Dense knowledge-base id of each user, −1 for none: a user is never its own neighbour.
        found
            What similar users were found for them, as many as are to be told of or more, if that was asked already.

        Returns
        -------
        list of UserContext
            Aligned with `histories`.
        """
        contexts = [
            UserContext(tuple(int(item) for item in history[-self.history :]), ()) for history in histories
        ]
        if self.neighbours and contexts:
            if found is None:
                found = self.similar_users.search(histories, self.neighbours, exclude_users=exclude_users)
            first = slice(None), slice(self.neighbours)
            contexts = [
                replace(
                    context,
                    neighbours=tuple(
                        NextItem(int(user), int(item), float(similarity))
                        for user, item, similarity in zip(users, items, similarities, strict=True)
                        if user >= 0
                    ),
                )
                for context, users, items, similarities in zip(
                    contexts,
                    found.users[first],
                    found.next_items[first],
                    found.similarity[first],
                    strict=True,
                )
            ]
        return [self._fit_budget(context) for context in contexts]

    def evidence(
        self,
        histories: Sequence[np.ndarray],
        candidates: Sequence[np.ndarray],
        *,
        exclude_users: np.ndarray | None = None,
    ) -> list[list[PathEvidence]]:
        """Find what connects each history with each of its candidates.

        Parameters
        ----------
        histories
            As in :meth:`build`.
        candidates
            Dense item ids, one array a history.
        exclude_users
            As in :meth:`build`: a user is never evidence for its own choice.

        Returns
        -------
        list of list of PathEvidence
            Aligned with `candidates`.
        """
        if self.paths is None:
            return [[PathEvidence()] * len(items) for items in candidates]
        excluded = np.full(len(histories), -1) if exclude_users is None else exclude_users
        return [
            self.paths.find(history, items, exclude_user=int(user))
            for history, items, user in zip(histories, candidates, excluded, strict=True)
        ]

    def _fit_budget(self, context: UserContext) -> UserContext:
        while self._tokens(context) > self.token_budget:
            if context.neighbours:
                context = replace(context, neighbours=context.neighbours[:-1], dropped=context.dropped + 1)
            elif len(context.history) > 1:
                context = replace(context, history=context.history[1:], dropped=context.dropped + 1)
            else:
                break
        return context

    def _tokens(self, context: UserContext) -> int:
        return self._count_tokens(context.history_text(self.view)) + self._count_tokens(
            context.neighbours_text(self.view)
        )
