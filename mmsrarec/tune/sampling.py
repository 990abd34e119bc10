"""Draws training examples from the histories of training users.

A positive is an item that really came next; a negative is an item the user never touched. The context of an example
is built from what came before the positive and from other users only, so it never holds the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.progress import track
from mmsrarec.retrieve import ContextBuilder, PathEvidence, UserContext
from mmsrarec.tune.negatives import DEFAULT_NEGATIVES, HardCandidates, draw_negatives
from mmsrarec.tune.prompts import WORDINGS
from mmsrarec.tune.tasks import Example, choose_next, match_keywords, next_keywords, yes_no

__all__ = ["DEFAULT_MIXTURE", "sample_examples"]

DEFAULT_MIXTURE = {"yes_no": 0.6, "choose_next": 0.15, "next_keywords": 0.1, "match_keywords": 0.15}
"""Share of each kind of task. Ranking asks the yes/no question, so most examples do."""

_OPTIONS = 4
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
    _check_shares("mixture", mixture, DEFAULT_MIXTURE)
    _check_shares("negatives", negatives, DEFAULT_NEGATIVES)
    rng = np.random.default_rng(seed)
    lengths = np.diff(histories.indptr)
    users = np.flatnonzero(lengths >= 2)
    if not count:
        return []
    if not len(users):
        raise InputError(
            "no user has two events, so there is no next item to learn from; give longer histories."
        )
    chosen = rng.choice(users, count)
    cuts = np.array([rng.integers(1, lengths[user]) for user in chosen], dtype=np.int64)
    prefixes = [histories[int(user)][:cut] for user, cut in zip(chosen, cuts, strict=True)]
    following = np.array([histories[int(user)][cut] for user, cut in zip(chosen, cuts, strict=True)])
    exclude = chosen.astype(np.int32)
    contexts = builder.build(prefixes, exclude_users=exclude)
    kinds = rng.choice(list(mixture), count, p=_normalized(mixture))
    wordings = 1 + rng.choice(WORDINGS, count, p=_WORDING_SHARES)
    asks = kinds == "yes_no"
    # The first, third, … yes/no example is a positive.
    is_next = asks & (np.cumsum(asks) % 2 == 1)
    wanted = np.where(asks, ~is_next * 1, np.where(kinds == "next_keywords", 0, _OPTIONS - 1))

    def suggest(rows: np.ndarray) -> Sequence[np.ndarray]:
        assert hard_candidates is not None
        return hard_candidates(
            [prefixes[row] for row in rows], [contexts[row] for row in rows], exclude[rows]
        )

    wrong = draw_negatives(
        histories,
        chosen,
        wanted,
        n_items=len(builder.view),
        shares=negatives,
        suggest=suggest if hard_candidates else None,
        rng=rng,
    )
    asked = [
        np.array([item if positive else drawn[0]] if ask else [], np.int64)
        for ask, positive, item, drawn in zip(asks, is_next, following, wrong, strict=True)
    ]
    paths = builder.evidence(prefixes, asked, exclude_users=exclude)
    writer = _Writer(builder, rng)
    return [
        writer.write(
            str(kinds[row]), int(wordings[row]), contexts[row], int(following[row]), wrong[row], paths[row]
        )
        for row in track(list(range(count)), "writing training examples")
    ]


def _check_shares(name: str, shares: Mapping[str, float], known: Mapping[str, float]) -> None:
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
