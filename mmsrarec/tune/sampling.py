"""Draws training examples from the histories of training users.

A positive is an item that really came next; a negative is an item the user never touched. The context of an example
is built from what came before the positive and from other users only, so it never holds the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.progress import track
from mmsrarec.retrieve import ContextBuilder, PathEvidence, UserContext
from mmsrarec.tune.negatives import DEFAULT_NEGATIVES, HardCandidates, draw_negatives
from mmsrarec.tune.prompts import WORDINGS
from mmsrarec.tune.tasks import Example, choose_next, compare, match_keywords, next_keywords, yes_no

__all__ = ["DEFAULT_MIXTURE", "PAPER_MIXTURE", "last_choices", "sample_examples"]

DEFAULT_MIXTURE = {"compare": 0.6, "choose_next": 0.15, "next_keywords": 0.1, "match_keywords": 0.15}
"""Share of each kind of task. Ranking compares by the yes/no question, so most examples do."""

PAPER_MIXTURE = {"yes_no": 0.6, "choose_next": 0.15, "next_keywords": 0.1, "match_keywords": 0.15}
"""The same with one yes/no question at a time, as the paper tunes."""

_KINDS = PAPER_MIXTURE.keys() | DEFAULT_MIXTURE.keys()
# Wrong answers of each kind; a yes/no question has one or none.
_WRONG = {"compare": 5, "choose_next": 3, "match_keywords": 3, "next_keywords": 0}
# Ranking asks the first wording, so half of the examples are told in it.
_WORDING_SHARES = np.array([0.5, *[0.5 / (WORDINGS - 1)] * (WORDINGS - 1)])


def sample_examples(
    histories: Histories,
    builder: ContextBuilder,
    *,
    count: int,
    mixture: Mapping[str, float] = DEFAULT_MIXTURE,
    negatives: Mapping[str, float] = DEFAULT_NEGATIVES,
    hard_candidates: HardCandidates | None = None,
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
    negatives
        Share of examples whose negatives are drawn evenly (``"uniform"``), by training events (``"popularity"``), or
        from what a recommender suggests (``"hard"``).
    hard_candidates
        Suggests; ``None`` draws evenly where ``"hard"`` is asked for.
    seed
        Same seed, same examples.

    Returns
    -------
    list of Example
        In random order.

    Raises
    ------
    InputError
        If a kind is unknown, a share is negative, no user has two events, or a user has too few untouched items.
    """
    _check_shares("mixture", mixture, _KINDS)
    _check_shares("negatives", negatives, DEFAULT_NEGATIVES)
    rng = np.random.default_rng(seed)
    if not count:
        return []
    chosen = rng.choice(_with_a_next_item(histories), count)
    cuts = np.array([rng.integers(1, len(histories[int(user)])) for user in chosen], dtype=np.int64)
    moments = _Moments(histories, builder, chosen, cuts)
    kinds = rng.choice(list(mixture), count, p=_normalized(mixture))
    wordings = 1 + rng.choice(WORDINGS, count, p=_WORDING_SHARES)
    asks = kinds == "yes_no"
    # The first, third, … yes/no example is a positive.
    is_next = asks & (np.cumsum(asks) % 2 == 1)
    wanted = np.array([_WRONG.get(kind, 1 - right) for kind, right in zip(kinds, is_next, strict=True)])
    wrong = moments.negatives(wanted, negatives, hard_candidates, rng)
    asked = [
        [item, *drawn] if kind == "compare" else (drawn or [item])[: int(kind == "yes_no")]
        for kind, item, drawn in zip(kinds, moments.following, wrong, strict=True)
    ]
    paths = moments.evidence(asked)
    writer = _Writer(builder, rng)
    return [
        writer.write(
            str(kinds[row]),
            int(wordings[row]),
            moments.contexts[row],
            moments.following[row],
            wrong[row],
            paths[row],
        )
        for row in track(list(range(count)), "writing training examples")
    ]


def last_choices(
    histories: Histories,
    builder: ContextBuilder,
    *,
    count: int,
    negatives: Mapping[str, float] = DEFAULT_NEGATIVES,
    hard_candidates: HardCandidates | None = None,
    seed: int = 0,
) -> list[Example]:
    """Compare what training users took last with what they did not take, asked just as ranking asks.

    Parameters
    ----------
    histories, builder, negatives, hard_candidates, seed
        As in :func:`sample_examples`.
    count
        Number of users, each taken once; fewer where there are not as many with two events.

    Returns
    -------
    list of Example
        Of kind ``"compare"`` in ranking's wording, each of another user, in random order.

    Raises
    ------
    InputError
        If no user has two events, or a user has too few untouched items.
    """
    _check_shares("negatives", negatives, DEFAULT_NEGATIVES)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(_with_a_next_item(histories))[:count]
    cuts = np.array([len(histories[int(user)]) - 1 for user in chosen], dtype=np.int64)
    moments = _Moments(histories, builder, chosen, cuts)
    wrong = moments.negatives(np.full(len(chosen), _WRONG["compare"]), negatives, hard_candidates, rng)
    asked = [[item, *drawn] for item, drawn in zip(moments.following, wrong, strict=True)]
    told = zip(moments.contexts, asked, moments.evidence(asked), strict=True)
    return [compare(context, builder.view, items, paths) for context, items, paths in told]


def _with_a_next_item(histories: Histories) -> np.ndarray:
    users = np.flatnonzero(histories.lengths >= 2)
    if not len(users):
        raise InputError(
            "no user has two events, so there is no next item to learn from; give longer histories."
        )
    return users


class _Moments:
    """Training users at a moment of their histories: what came before, and what was next."""

    def __init__(
        self, histories: Histories, builder: ContextBuilder, users: np.ndarray, cuts: np.ndarray
    ) -> None:
        self._histories = histories
        self._builder = builder
        self._users = users.astype(np.int32)
        self.before = histories.before(users, cuts)
        self.following = histories.items_at(users, cuts).tolist()
        self.contexts = builder.build(self.before, exclude_users=self._users)

    def negatives(
        self,
        counts: np.ndarray,
        shares: Mapping[str, float],
        hard_candidates: HardCandidates | None,
        rng: np.random.Generator,
    ) -> list[list[int]]:
        """Draw wrong answers."""

        def suggest(rows: np.ndarray) -> Sequence[np.ndarray]:
            assert hard_candidates is not None
            return hard_candidates(
                self.before.select(rows), [self.contexts[row] for row in rows], self._users[rows]
            )

        return draw_negatives(
            self._histories,
            self._users,
            counts,
            n_items=len(self._builder.view),
            shares=shares,
            suggest=suggest if hard_candidates else None,
            rng=rng,
        )

    def evidence(self, candidates: Sequence[Sequence[int]]) -> list[list[PathEvidence]]:
        """Find what connects each history with each of its candidates."""
        items = [np.array(row, np.int64) for row in candidates]
        return self._builder.evidence(self.before, items, exclude_users=self._users)


def _check_shares(name: str, shares: Mapping[str, float], known: Collection[str]) -> None:
    if set(shares) - set(known) or min(shares.values(), default=0) < 0 or sum(shares.values()) <= 0:
        raise InputError(f"{name} must give shares of 0 or more to {sorted(known)}, got {dict(shares)}.")


def _normalized(shares: Mapping[str, float]) -> np.ndarray:
    return np.array(list(shares.values()), float) / sum(shares.values())


class _Writer:
    """Turns a context, the known continuation and wrong answers into one example."""

    def __init__(self, builder: ContextBuilder, rng: np.random.Generator) -> None:
        self._view = builder.view
        self._rng = rng

    def write(
        self,
        kind: str,
        wording: int,
        context: UserContext,
        next_item: int,
        wrong: list[int],
        paths: list[PathEvidence],
    ) -> Example:
        if kind == "next_keywords":
            return next_keywords(context, self._view, next_item, wording=wording)
        if kind == "compare":
            return compare(context, self._view, [next_item, *wrong], paths, wording=wording)
        if kind == "yes_no":
            candidate = wrong[0] if wrong else next_item
            return yes_no(context, self._view, candidate, not wrong, paths[0], wording=wording)
        options = [next_item, *wrong]
        order = self._rng.permutation(len(options))
        shown = [options[position] for position in order]
        answer = int(np.flatnonzero(order == 0)[0])
        if kind == "choose_next":
            return choose_next(context, self._view, shown, answer, wording=wording)
        return match_keywords(self._view, shown, answer, wording=wording)
