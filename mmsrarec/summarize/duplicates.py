"""Keywords of one item that say the same in other words, found by the sentence encoder.

Stands between the merged lists and the keyword table. Spelling is folded by ``keywords``; this finds what that cannot:
"colour" and "color", "sci fi" and "scifi", "tv series" and "television series".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from mmsrarec.backbone import SentenceEncoder

__all__ = ["NearDuplicates"]

_DIGITS = re.compile(r"\d+")


class NearDuplicates:
    """Drops of near-duplicate keywords all but the first.

    Two keywords are near-duplicates if the cosine of their embeddings is at least `least`. At the default,
    all-MiniLM-L6-v2 joins "colour" and "color" (0.97), "grey" and "gray" (0.97), "sci fi" and "scifi" (0.94), and keeps
    "wife" and "husband" (0.87) apart. Numbers that differ keep two keywords apart whatever the cosine,
    and a keyword with a letter outside of ASCII is kept always: an encoder of English says little about it.

    Parameters
    ----------
    encoder
        The sentence encoder; ``None`` keeps everything.
    least
        Least cosine.

    Examples
    --------
    >>> NearDuplicates(SentenceEncoder.load())(["colour", "mug", "color", "小説"])
    ('colour', 'mug', '小説')
    """

    def __init__(self, encoder: SentenceEncoder | None, *, least: float = 0.93) -> None:
        self._encoder = encoder
        self._least = least
        self._vectors: dict[str, np.ndarray] = {}

    def learn(self, lists: Iterable[Sequence[str]]) -> None:
        """Embed the keywords of many lists at once, each once; the same numbers as one by one, in less time."""
        new = dict.fromkeys(word for words in lists for word in words if word not in self._vectors)
        if self._encoder is not None and new:
            self._vectors.update(zip(new, self._encoder.encode(list(new)), strict=True))

    def __call__(self, keywords: Sequence[str]) -> tuple[str, ...]:
        """Return the keywords without near-duplicates, in order."""
        if self._encoder is None:
            return tuple(keywords)
        self.learn([keywords])
        kept: list[str] = []
        for keyword in keywords:
            if not any(self._says_the_same(keyword, other) for other in kept):
                kept.append(keyword)
        return tuple(kept)

    def _says_the_same(self, first: str, second: str) -> bool:
        if not (first.isascii() and second.isascii()):
            return False
        if _DIGITS.findall(first) != _DIGITS.findall(second):
            return False
        return float(self._vectors[first] @ self._vectors[second]) >= self._least
