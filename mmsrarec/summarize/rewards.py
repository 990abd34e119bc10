"""The three verifiable rewards of the summarizer, as plain functions in TRL's reward signature.

Stands between generated answers and GRPO. All three are components of one call of the kernel
:func:`mmsrarec.kernels.group_reward`:

- information ``R_info = cos(φ(W), φ(text))`` with φ the sentence encoder,
- reconstruction ``R_recon`` from the mean NLL of the item's text given its keywords, under the backbone with
  its adapter off; as ``-exp(NLL)`` (the paper's negative perplexity), ``-NLL`` or a clipped perplexity,
- length ``R_len = -|W|``, where a repeated keyword counts each time it is written, and, if asked for, a keyword that
  many recent answers hold counts for more than one.

Formulas: Wang et al., MMSRARec, arXiv 2512.20916, stage 1.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from mmsrarec.backbone import Backbone, SentenceEncoder, cut_text
from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError
from mmsrarec.kernels import GroupReward, group_reward
from mmsrarec.summarize.keywords import ParsedAnswer, keyword_key, parse_answer
from mmsrarec.summarize.prompts import reconstruction_prompt

__all__ = [
    "KeywordScorer",
    "RecentAnswers",
    "RewardSettings",
    "ScoredBatch",
    "answer_parser",
    "information_reward",
    "length_reward",
    "reconstruction_reward",
    "reward_functions",
    "rewarded_text",
]


def rewarded_text(content: ItemContent) -> str:
    """Return the text that keywords of an item are rewarded against.

    The title is left out where there is a description: it is the first thing of the text, so to copy it would pay
    more than to say what the item is (see docs/decisions/0004-summarizer.md for the numbers).

    Parameters
    ----------
    content
        The item.

    Returns
    -------
    str
        Description and categories; without a description all text there is, perhaps ``""``.

    Examples
    --------
    >>> rewarded_text(ItemContent("Porto", "A red mug.", ("Kitchen",)))
    'A red mug. Categories: Kitchen.'
    >>> rewarded_text(ItemContent("Porto mug", "", ("Kitchen",)))
    'Porto mug. Categories: Kitchen.'
    """
    if not content.description.strip():
        return content.text
    return replace(content, title="").text


Reconstruction = Literal["perplexity", "nll", "clipped"]


@dataclass(frozen=True)
class RewardSettings:
    """How the three rewards are weighed and shaped.

    Attributes
    ----------
    information, reconstruction, length
        The weights α, β, γ of ``R = α·R_info + β·R_recon + γ·R_len``, 0 or more.
    form
        ``"perplexity"`` is the paper's unbounded ``-PPL``; ``"nll"`` and ``"clipped"`` are bounded in practice.
    text_tokens
        How many tokens of an item's text are scored by the reconstruction reward.
    commonness
        How much more a keyword costs in the length reward that all recent answers hold: a keyword counts as
        ``1 + commonness * share``, with the share of recent answers that hold it. 0 is the paper's form.

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    information: float = 1.0
    reconstruction: float = 1.0
    length: float = 0.01
    form: Reconstruction = "nll"
    text_tokens: int = 48
    commonness: float = 0.0

    def __post_init__(self) -> None:
        for name in ("information", "reconstruction", "length", "commonness"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0:
                raise InputError(f"{name} must be 0 or more, got {value}.")
        if self.form not in ("perplexity", "nll", "clipped"):
            raise InputError(f"form must be 'perplexity', 'nll' or 'clipped', got {self.form!r}.")
        if self.text_tokens < 1:
            raise InputError(f"text_tokens must be 1 or more, got {self.text_tokens}.")

    @property
    def weights(self) -> tuple[float, float, float]:
        """α, β, γ."""
        return (self.information, self.reconstruction, self.length)


class KeywordScorer:
    """Scores keywords against the texts of their items; the same for training and evaluation.

    Parameters
    ----------
    backbone
        Its base model, without any adapter, is the reference of the reconstruction reward.
    encoder
        The sentence encoder φ.
    settings
        Weights and forms.
    """

    def __init__(self, backbone: Backbone, encoder: SentenceEncoder, settings: RewardSettings) -> None:
        self.backbone = backbone
        self.encoder = encoder
        self.settings = settings
        self._text_embeddings: dict[str, np.ndarray] = {}

    def score(
        self,
        keywords: Sequence[Sequence[str]],
        written: Sequence[float],
        texts: Sequence[str],
        *,
        group_size: int = 1,
    ) -> GroupReward:
        """Compute all components at once.

        Parameters
        ----------
        keywords
            Distinct keywords of each answer; an empty list has information 0.
        written
            |W| of each answer, repeats included, or what it counts as.
        texts
            The text of each answer's item.
        group_size
            How many consecutive answers belong to one prompt.

        Returns
        -------
        GroupReward
            Float tensors of shape (answers,), on the CPU.
        """
        joined = [", ".join(words) for words in keywords]
        keyword_embedding = self.encoder.encode(joined)  # (answers, dimension)
        keyword_embedding = keyword_embedding * np.array([[bool(words)] for words in keywords], np.float32)
        cut = [cut_text(text, self.backbone.tokenizer, self.settings.text_tokens) for text in texts]
        contexts = [reconstruction_prompt(words) for words in keywords]
        with _training_kept(self.backbone.model):
            nll = self.backbone.mean_nll(contexts, cut, adapter=None)
        return group_reward(
            torch.from_numpy(np.ascontiguousarray(keyword_embedding, np.float32)),
            torch.from_numpy(self._embed_texts(texts)),
            torch.from_numpy(np.ascontiguousarray(nll, np.float32)),
            torch.tensor(written, dtype=torch.float32),
            group_size,
            weights=self.settings.weights,
            reconstruction=self.settings.form,
        )

    def _embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._text_embeddings]
        if new:
            self._text_embeddings.update(zip(new, self.encoder.encode(new), strict=True))
        return np.stack([self._text_embeddings[text] for text in texts]).astype(np.float32)


@contextmanager
def _training_kept(model: torch.nn.Module) -> Iterator[None]:
    """Keep mode and gradients of a model in training: switching its adapter off and on freezes it."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = model.training
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        model.train(training)


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


def _scored(
    batch: ScoredBatch,
    completions: Sequence[Any],
    text: Sequence[str],
    completion_ids: Sequence[Sequence[int]],
    columns: dict[str, Any],
) -> GroupReward:
    return batch(completions, text, completion_ids, held_out=any(columns.get("held_out", ())))


def information_reward(
    completions: Sequence[Any],
    *,
    text: Sequence[str],
    completion_ids: Sequence[Sequence[int]],
    batch: ScoredBatch,
    **columns: Any,
) -> list[float]:
    """Return ``cos(φ(W), φ(text))`` of each completion: 1 is the same meaning, 0 an empty answer.

    Parameters
    ----------
    completions
        Generated answers, as strings or as conversations.
    text
        Dataset column: the text of each completion's item.
    completion_ids
        Generated token ids.
    batch
        Scores the batch; bound by :func:`reward_functions`.
    **columns
        What else TRL passes: `held_out` marks items that are not learned from, the rest is not used.

    Returns
    -------
    list of float
        One reward for each completion.

    Examples
    --------
    >>> class Once:
    ...     information = torch.tensor([0.5])
    >>> information_reward(["red mug"], text=["A mug"], completion_ids=[[1]], batch=lambda *parts, **more: Once)
    [0.5]
    """
    return _scored(batch, completions, text, completion_ids, columns).information.tolist()


def reconstruction_reward(
    completions: Sequence[Any],
    *,
    text: Sequence[str],
    completion_ids: Sequence[Sequence[int]],
    batch: ScoredBatch,
    **columns: Any,
) -> list[float]:
    """Return how well the item's text can be written back from the keywords; parameters as above.

    The form (``-PPL``, ``-NLL`` or clipped) is that of the scorer's settings.

    Examples
    --------
    >>> class Once:
    ...     reconstruction = torch.tensor([-3.25])
    >>> reconstruction_reward(["red mug"], text=["A mug"], completion_ids=[[1]], batch=lambda *parts, **more: Once)
    [-3.25]
    """
    return _scored(batch, completions, text, completion_ids, columns).reconstruction.tolist()


def length_reward(
    completions: Sequence[Any],
    *,
    text: Sequence[str],
    completion_ids: Sequence[Sequence[int]],
    batch: ScoredBatch,
    **columns: Any,
) -> list[float]:
    """Return ``-|W|``, the number of keywords written, repeats included; parameters as above.

    With a `commonness` above 0 in the scorer's settings a keyword counts as ``1 + commonness * share``, with the share
    of the last 256 answers that hold it, so that one list for all items costs more the more items have it.

    Examples
    --------
    >>> class Once:
    ...     length = torch.tensor([-2.0])
    >>> length_reward(["red, mug"], text=["A mug"], completion_ids=[[1]], batch=lambda *parts, **more: Once)
    [-2.0]
    """
    return _scored(batch, completions, text, completion_ids, columns).length.tolist()


def reward_functions(batch: ScoredBatch) -> list[Callable[..., list[float]]]:
    """Bind the three rewards to one scorer, in the order of :attr:`RewardSettings.weights`.

    Parameters
    ----------
    batch
        Scores each batch once for all three.

    Returns
    -------
    list of callable
        For ``GRPOTrainer(reward_funcs=...)``; their names in TRL's log are those of the functions.
    """
    return [
        partial(reward, batch=batch) for reward in (information_reward, reconstruction_reward, length_reward)
    ]


def answer_parser(
    limit: int, max_tokens: int, stop_ids: Sequence[int]
) -> Callable[[str, Sequence[int]], ParsedAnswer]:
    """Return the parser of completions: one that filled its token budget without a stop was cut short.

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
        cut_short = len(ids) >= max_tokens and not (ids and ids[-1] in stops)
        return parse_answer(text, limit=limit, cut_short=cut_short)

    return parse
