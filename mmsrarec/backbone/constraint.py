"""What an answer may look like, token by token: the border between a rule for answers and generation.

Stands under ``generation``. A rule says which tokens may come next; generation asks it for each answer and never
writes another token. The rule itself belongs to the room that knows what its answers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import LogitsProcessor

__all__ = ["AnswerRule", "AnswerState", "RuleProcessor", "allow_only"]


class AnswerState(Protocol):
    """One answer in the making."""

    @property
    def allowed(self) -> torch.Tensor:
        """Tokens that may come next, bool of shape (vocabulary,), at least one of them ``True``."""

    @property
    def finished(self) -> bool:
        """Whether the answer is over, though no stop token was written."""

    def push(self, token: int) -> None:
        """Take note of the token that was written."""


class AnswerRule(Protocol):
    """Makes the states of answers; one rule may serve any number of answers."""

    def start(self) -> AnswerState:
        """Return the state of an answer of which nothing is written."""


def allow_only(logits: torch.Tensor, states: Sequence[AnswerState]) -> torch.Tensor:
    """Return logits (B, vocabulary) with ``-inf`` for what each answer's state does not allow.

    An output matrix may have more rows than the vocabulary has tokens; those are never allowed.
    """
    allowed = torch.stack([state.allowed for state in states]).to(logits.device)  # (B, vocabulary)
    surplus = logits.shape[1] - allowed.shape[1]
    return logits.masked_fill(~torch.nn.functional.pad(allowed, (0, surplus)), float("-inf"))


class RuleProcessor(LogitsProcessor):
    """The same inside transformers' own ``generate``.

    Parameters
    ----------
    rule
        The rule.
    stop_ids
        Tokens that end an answer; the first of them is all that may follow a finished one.
    """

    def __init__(self, rule: AnswerRule, stop_ids: Sequence[int]) -> None:
        self._rule = rule
        self._stop_ids = list(stop_ids)
        self._states: list[AnswerState] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> Any:
        """Restrict the scores (B, vocabulary) of the next token; `input_ids` grow by one each time."""
        if not self._states:
            self._states = [self._rule.start() for _ in range(len(input_ids))]
        else:
            for state, token in zip(self._states, input_ids[:, -1].tolist(), strict=True):
                if not state.finished and token not in self._stop_ids:
                    state.push(token)
        restricted = allow_only(scores, self._states)
        over = [row for row, state in enumerate(self._states) if state.finished]
        restricted[over] = float("-inf")
        restricted[over, self._stop_ids[0]] = 0.0
        return restricted
