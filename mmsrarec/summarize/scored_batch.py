"""A batch of completions as TRL gives it: read as keywords, scored once, and remembered for what is common.

Stands between TRL, which asks for each reward apart, and :class:`~mmsrarec.summarize.rewards.KeywordScorer`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mmsrarec.kernels import GroupReward
from mmsrarec.summarize.keywords import ParsedAnswer, keyword_key, parse_answer
from mmsrarec.summarize.rewards import KeywordScorer

__all__ = ["RecentAnswers", "ScoredBatch", "answer_parser"]


class RecentAnswers:
    """The keywords of the last answers, and what share of them holds a keyword.

    Parameters
    ----------
    most
        How many answers are remembered.

    Examples
    --------
    >>> recent = RecentAnswers(most=2)
    >>> recent.add([("drama", "war")])
    >>> recent.add([("dramas",), ("comedy",)])
    >>> recent.share("drama"), recent.share("war")
    (0.5, 0.0)
    """

    def __init__(self, most: int = 256) -> None:
        self._answers: deque[frozenset[str]] = deque(maxlen=most)
        self._holding: Counter[str] = Counter()

    def add(self, answers: Iterable[Sequence[str]]) -> None:
        """Remember the keywords of some answers and forget the oldest."""
        for keywords in answers:
            if len(self._answers) == self._answers.maxlen:
                self._holding.subtract(self._answers[0])
            self._answers.append(frozenset(map(keyword_key, keywords)))
            self._holding.update(self._answers[-1])

    def share(self, keyword: str) -> float:
        """Return the share of remembered answers that hold a keyword; 0 while there are none."""
        return self._holding[keyword_key(keyword)] / len(self._answers) if self._answers else 0.0

    @property
    def largest_share(self) -> float:
        """Share of remembered answers that hold the most common keyword: 1 is the same word everywhere."""
        return max(self._holding.values(), default=0) / max(len(self._answers), 1)


class ScoredBatch:
    """Scores a batch of completions once, though TRL asks for it once for each reward function.

    Parameters
    ----------
    scorer
        Computes all components in one call.
    parse
        Turns a completion's text and token ids into keywords.
    observe
        Called with the answers of each new batch, for the log.
    recent
        What makes a keyword common; the answers of each new batch are added to it after they are scored.
    """

    def __init__(
        self,
        scorer: KeywordScorer,
        parse: Callable[[str, Sequence[int]], ParsedAnswer],
        observe: Callable[[Sequence[ParsedAnswer]], None] | None = None,
        recent: RecentAnswers | None = None,
    ) -> None:
        self._scorer = scorer
        self._parse = parse
        self._observe = observe
        self._recent = recent or RecentAnswers()
        self._batch: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._reward: GroupReward | None = None

    def __call__(
        self,
        completions: Sequence[Any],
        texts: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        *,
        held_out: bool = False,
    ) -> GroupReward:
        """Return the components for a batch; the same batch again costs nothing.

        Answers about items that are `held_out` are neither observed nor remembered.
        """
        written = tuple(_written_text(completion) for completion in completions)
        batch = (written, tuple(texts))
        if self._reward is None or batch != self._batch:
            answers = [self._parse(text, ids) for text, ids in zip(written, completion_ids, strict=True)]
            self._reward = self._scorer.score(
                [answer.keywords for answer in answers], [self._length(answer) for answer in answers], texts
            )
            self._batch = batch
            if not held_out:
                self._recent.add(answer.keywords for answer in answers)
                if self._observe is not None:
                    self._observe(answers)
        return self._reward

    def _length(self, answer: ParsedAnswer) -> float:
        extra = self._scorer.settings.commonness
        return (
            answer.written + extra * sum(map(self._recent.share, answer.keywords))
            if extra
            else answer.written
        )


def _written_text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def answer_parser(
    limit: int, max_tokens: int, stop_ids: Sequence[int]
) -> Callable[[str, Sequence[int]], ParsedAnswer]:
    """Return the parser of completions, which reads less than the summarizer's own.

    What the rule of generation forbids is read as nothing: rewarded by its first words, a clause would pay that the
    summarizer can never write, and what it would write in its place are words run together. So is an answer that
    fills its token budget without a stop: otherwise answers that never end would pay, since a word more costs less
    than it tells.

    Parameters
    ----------
    limit
        Most keywords of an answer.
    max_tokens
        Token budget of generation.
    stop_ids
        Token ids that end an answer.
    """
    stops = set(stop_ids)

    def parse(text: str, ids: Sequence[int]) -> ParsedAnswer:
        read = parse_answer(text, limit=limit, as_written=True)
        if len(ids) >= max_tokens and not (ids and ids[-1] in stops):
            return ParsedAnswer((), read.written, repaired=True)
        return read

    return parse
