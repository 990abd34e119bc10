"""The three verifiable rewards of the summarizer, as plain functions in TRL's reward signature.

Stands between generated answers and GRPO. All three are components of one call of the kernel
:func:`mmsrarec.kernels.group_reward`:

- information ``R_info = cos(φ(W), φ(text))`` with φ the sentence encoder,
- reconstruction ``R_recon`` from the mean NLL of the item's text given its keywords, under the backbone with
  its adapter off; as ``-exp(NLL)`` (the paper's negative perplexity), ``-NLL`` or a clipped perplexity,
- length ``R_len = -|W|``, in words, where a repeated keyword counts each time it is written, and, if asked for, a
  keyword that many recent answers hold counts for more than its words. (The paper counts keywords; then a phrase is as
  dear as a word, and keywords grow into clauses.)

Formulas: Wang et al., MMSRARec, arXiv 2512.20916, stage 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from mmsrarec.backbone import Backbone, SentenceEncoder, cut_text
from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError
from mmsrarec.kernels import GroupReward, group_reward
from mmsrarec.summarize.prompts import reconstruction_prompt

if TYPE_CHECKING:
    from mmsrarec.summarize.scored_batch import ScoredBatch

__all__ = [
    "KeywordScorer",
    "RewardSettings",
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
        How much more a keyword costs in the length reward that all recent answers hold: its words count
        ``commonness * share`` more, with the share of recent answers that hold it. 0 is the paper's form.

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
            |W| of each answer in words, repeats included, or what it counts as.
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
    """Return ``-|W|``, the number of words written, repeats included; parameters as above.

    With a `commonness` above 0 in the scorer's settings a keyword counts ``commonness * share`` more, with the share
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
