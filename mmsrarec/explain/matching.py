"""Which keywords of the history and of the similar users match those of the candidate.

The recommender calls :func:`mark_matches` once; the text and HTML forms read the :class:`Evidence` of its
result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsrarec.explain.explanation import Explanation, KeywordItem, Neighbour

__all__ = ["Evidence", "collect_evidence", "keywords_match", "mark_matches"]


def keywords_match(one: str, other: str) -> bool:
    """Say whether two keywords name the same thing: equal words, or all words of one within the other.

    Examples
    --------
    >>> keywords_match("Wool", "wool"), keywords_match("merino wool", "wool"), keywords_match("blue", "wool")
    (True, True, False)
    """
    words, other_words = set(one.casefold().split()), set(other.casefold().split())
    return bool(words and other_words) and (words <= other_words or other_words <= words)


def _matching(item: KeywordItem, keywords: Sequence[str]) -> frozenset[str]:
    return frozenset(own for own in item.keywords if any(keywords_match(own, other) for other in keywords))


def mark_matches(
    candidate: KeywordItem, history: Sequence[KeywordItem], neighbours: Sequence[Neighbour]
) -> tuple[KeywordItem, tuple[KeywordItem, ...], tuple[Neighbour, ...], tuple[str, ...]]:
    """Fill in the `matched` keywords of a candidate and of its evidence.

    Parameters
    ----------
    candidate, history, neighbours
        The parts of an explanation, whatever their `matched` holds.

    Returns
    -------
    candidate, history, neighbours, matches
        The same parts with `matched` set, and the candidate's matching keywords, the best supported first
        (ties in the candidate's order).

    Examples
    --------
    >>> from mmsrarec.explain import KeywordItem
    >>> hat = KeywordItem("i1", "Hat", ("wool", "red"))
    >>> scarf = KeywordItem("i2", "Scarf", ("merino wool", "blue"))
    >>> candidate, history, _, matches = mark_matches(scarf, [hat], [])
    >>> matches, sorted(history[0].matched)
    (('merino wool',), ['wool'])
    """
    marked_history = tuple(replace(item, matched=_matching(item, candidate.keywords)) for item in history)
    marked_neighbours = tuple(
        replace(
            neighbour,
            item=replace(neighbour.item, matched=_matching(neighbour.item, candidate.keywords)),
        )
        for neighbour in neighbours
    )
    items = [*marked_history, *(neighbour.item for neighbour in marked_neighbours)]
    support = {
        keyword: sum(any(keywords_match(keyword, own) for own in item.matched) for item in items)
        for keyword in candidate.keywords
    }
    matches = tuple(sorted((k for k in support if support[k]), key=lambda k: -support[k]))
    return replace(candidate, matched=frozenset(matches)), marked_history, marked_neighbours, matches


@dataclass(frozen=True)
class Evidence:
    """Where one matching keyword of the candidate occurs.

    Attributes
    ----------
    keyword
        As the candidate carries it.
    history
        Positions in the history, from 0.
    neighbours
        Positions among the similar users' next items, from 0.
    """

    keyword: str
    history: tuple[int, ...]
    neighbours: tuple[int, ...]


def collect_evidence(explanation: Explanation) -> tuple[Evidence, ...]:
    """Trace every matching keyword of an explanation back to the items that carry it."""

    def positions(keyword: str, items: Sequence[KeywordItem]) -> tuple[int, ...]:
        return tuple(
            position
            for position, item in enumerate(items)
            if any(keywords_match(keyword, own) for own in item.matched)
        )

    next_items = [neighbour.item for neighbour in explanation.neighbours]
    return tuple(
        Evidence(keyword, positions(keyword, explanation.history), positions(keyword, next_items))
        for keyword in explanation.matches
    )
