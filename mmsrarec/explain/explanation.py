"""The plain data of an explanation: what the model saw, what it said, and what the blend made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsrarec.explain.matching import Evidence, collect_evidence
from mmsrarec.explain.wording import join_words, plain

if TYPE_CHECKING:
    from mmsrarec.data import Picture

__all__ = ["Explanation", "KeywordItem", "Neighbour", "SharedItem"]


@dataclass(frozen=True)
class KeywordItem:
    """An item as an explanation shows it.

    Attributes
    ----------
    item_id
        External id.
    title
        Title; may be empty.
    keywords
        Keywords the item was summarized to.
    matched
        Those of `keywords` that match the candidate's (for the candidate itself: that match the evidence).
    picture
        Its picture, opened only when HTML is made; ``None`` if it has none.

    Examples
    --------
    >>> KeywordItem(7, "").name
    'item 7'
    """

    item_id: Any
    title: str
    keywords: tuple[str, ...] = ()
    matched: frozenset[str] = frozenset()
    picture: Picture | None = None

    @property
    def name(self) -> str:
        """The title, or the id where there is no title; on one line and harmless to a terminal."""
        return plain(self.title) or f"item {plain(self.item_id)}"


@dataclass(frozen=True)
class Neighbour:
    """A similar user's next item.

    Attributes
    ----------
    similarity
        Cosine of the two users' representations, -1 to 1.
    item
        What the similar user took next.
    """

    similarity: float
    item: KeywordItem


@dataclass(frozen=True)
class SharedItem:
    """An item of the history that others took, who took the candidate as well.

    Attributes
    ----------
    users
        How many users took both.
    item
        The item of the history.
    """

    users: int
    item: KeywordItem


@dataclass(frozen=True)
class Explanation:
    """Why one item stands where it stands for one user.

    ``str()`` gives text for a terminal (at most 100 columns), notebooks show it as HTML, and
    :meth:`to_html` writes one self-contained page.

    Attributes
    ----------
    user_id
        External id; ``None`` for a person known by a history alone.
    history
        The items of the history the model was shown, oldest first.
    neighbours
        Similar users' next items, the most similar first.
    candidate
        The item that is explained.
    probability
        p(yes) / (p(yes) + p(no)) of the language model; ``None`` where it was not asked.
    score
        Final score of the blend, as `predict` and `recommend` give it.
    rank
        Place among the recommendations, from 1; ``None`` if unknown.
    features
        Signed contribution of each feature to the score, in log-odds against an average candidate.
    matches
        Keywords of the candidate that match the evidence, the best supported first.
    notes
        Remarks in whole sentences, for example that the item is new.
    bridge_users
        Users who took the candidate and something of the history.
    shared_items
        What of the history connects them best with the candidate, the strongest first.

    Examples
    --------
    >>> hat = KeywordItem("i1", "Hat", ("wool",), frozenset({"wool"}))
    >>> scarf = KeywordItem("i2", "Scarf", ("wool",), frozenset({"wool"}))
    >>> why = Explanation("u1", (hat,), (), scarf, 0.8, 0.7, 1, {}, ("wool",), ())
    >>> why.summary
    'It shares wool with 1 of 1 item in the history.'
    """

    user_id: Any
    history: tuple[KeywordItem, ...]
    neighbours: tuple[Neighbour, ...]
    candidate: KeywordItem
    probability: float | None
    score: float
    rank: int | None = None
    features: Mapping[str, float] = field(default_factory=dict)
    matches: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bridge_users: int = 0
    shared_items: tuple[SharedItem, ...] = ()

    @property
    def user_name(self) -> str:
        """``"user 17"``, or ``"this person"`` where the person has no id."""
        return "this person" if self.user_id is None else f"user {plain(self.user_id, limit=60)}"

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Where each keyword of `matches` occurs."""
        return collect_evidence(self)

    @property
    def summary(self) -> str:
        """One sentence on what speaks for the candidate."""
        if not self.history and not self.neighbours:
            return "There is no history yet, so no keyword can match."
        evidence = self.evidence
        in_history = len({position for row in evidence for position in row.history})
        in_neighbours = len({position for row in evidence for position in row.neighbours})
        parts = []
        if in_history:
            parts.append(f"{in_history} of {_count(len(self.history), 'item')} in the history")
        if in_neighbours:
            parts.append(f"{in_neighbours} of {_count(len(self.neighbours), 'next item')} of similar users")
        if not parts:
            return "None of its keywords occurs in the history or among the similar users' next items."
        shared = join_words([plain(keyword, limit=60) for keyword in self.matches])
        return f"It shares {shared} with {' and '.join(parts)}."

    def __str__(self) -> str:
        from mmsrarec.explain.terminal import render_text

        return render_text(self)

    def _repr_html_(self) -> str:
        from mmsrarec.explain.page import render_fragment

        return render_fragment(self)

    def to_html(self, path: str | Path | None = None) -> str:
        """Make one self-contained HTML page.

        Parameters
        ----------
        path
            Where to write it too, atomically; its folder is made if it is missing.

        Returns
        -------
        str
            The page.

        Raises
        ------
        StoredFileError
            If `path` cannot be written.

        Examples
        --------
        >>> why = Explanation("u1", (), (), KeywordItem("i2", "<b>Scarf</b>"), 0.8, 0.7)
        >>> "&lt;b&gt;Scarf" in why.to_html()
        True
        """
        from mmsrarec.explain.page import render_page
        from mmsrarec.storage import atomic_path

        page = render_page([self])
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(page, "utf-8")
        return page


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
