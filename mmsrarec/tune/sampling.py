"""Draws training examples from the histories of training users.

A positive is an item that really came next; a negative is a random item the user never touched. The context of
an example is built from what came before the positive and from other users only, so it never holds the answer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.progress import track
from mmsrarec.retrieve import ContextBuilder, UserContext
from mmsrarec.tune.tasks import Example, choose_next, match_keywords, next_keywords, yes_no

__all__ = ["DEFAULT_MIXTURE", "sample_examples"]

DEFAULT_MIXTURE = {"yes_no": 0.6, "choose_next": 0.15, "next_keywords": 0.1, "match_keywords": 0.15}
"""Share of each kind of task. Ranking asks the yes/no question, so most examples do."""

_OPTIONS = 4


def sample_examples(
    histories: Histories,
    builder: ContextBuilder,
    *,
    count: int,
    mixture: Mapping[str, float] = DEFAULT_MIXTURE,
    seed: int = 0,
) -> list[Example]:
    """Draw seeded training examples.

    Parameters
    ----------
    histories
        Histories of the training users, the knowledge base of the builder's similar users.
    builder
        Builds the context of each example.
    count
        Number of examples, 0 or more. Half of the yes/no examples are positives.
    mixture
        Share of each kind of task; normalized to sum to 1.
    seed
        Same seed, same examples.

    Returns
    -------
    list of Example
        In random order.

    Raises
    ------
    InputError
        If a kind is unknown, a share is negative, or no user has two events.
    """
    unknown = set(mixture) - set(DEFAULT_MIXTURE)
    if unknown or min(mixture.values(), default=0) < 0 or sum(mixture.values()) <= 0:
        raise InputError(
            f"mixture must give shares of 0 or more to {sorted(DEFAULT_MIXTURE)}, got {dict(mixture)}."
        )
    rng = np.random.default_rng(seed)
    lengths = np.diff(histories.indptr)
    users = np.flatnonzero(lengths >= 2)
    if not len(users) and count:
        raise InputError(
            "no user has two events, so there is no next item to learn from; give longer histories."
        )
    chosen = rng.choice(users, count) if count else users[:0]
    cuts = np.array([rng.integers(1, lengths[user]) for user in chosen], dtype=np.int64)
    prefixes = [histories[int(user)][:cut] for user, cut in zip(chosen, cuts, strict=True)]
    contexts = builder.build(prefixes, exclude_users=chosen.astype(np.int32))
    kinds = rng.choice(
        list(mixture), count, p=np.array(list(mixture.values()), float) / sum(mixture.values())
    )
    drawer = _Drawer(builder, rng)
    return [
        drawer.draw(str(kind), context, histories[int(user)], int(cut))
        for kind, context, user, cut in track(
            list(zip(kinds, contexts, chosen, cuts, strict=True)), "writing training examples"
        )
    ]


class _Drawer:
    """Turns a context and the known continuation into one example."""

    def __init__(self, builder: ContextBuilder, rng: np.random.Generator) -> None:
        self._view = builder.view
        self._rng = rng
        self._yes_no = 0

    def draw(self, kind: str, context: UserContext, history: np.ndarray, cut: int) -> Example:
        next_item = int(history[cut])
        if kind == "next_keywords":
            return next_keywords(context, self._view, next_item)
        if kind == "yes_no":
            self._yes_no += 1
            is_next = self._yes_no % 2 == 1
            candidate = next_item if is_next else self._unseen(history, 1)[0]
            return yes_no(context, self._view, candidate, is_next)
        options = [next_item, *self._unseen(history, _OPTIONS - 1)]
        order = self._rng.permutation(len(options))
        shown = [options[position] for position in order]
        answer = int(np.flatnonzero(order == 0)[0])
        if kind == "choose_next":
            return choose_next(context, self._view, shown, answer)
        return match_keywords(self._view, shown, answer)

    def _unseen(self, history: np.ndarray, count: int) -> list[int]:
        seen = set(history.tolist())
        if len(self._view) - len(seen) < count:
            raise InputError(
                f"the catalogue has {len(self._view)} items and a user touched {len(seen)} of them; "
                f"{count} unseen ones are needed as negatives. Give a larger catalogue."
            )
        drawn: list[int] = []
        while len(drawn) < count:
            item = int(self._rng.integers(len(self._view)))
            if item not in seen:
                seen.add(item)
                drawn.append(item)
        return drawn
