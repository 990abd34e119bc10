"""The fitted parts of a recommender, and how they are joined into an engine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from mmsrarec.backbone import Backbone, Readout, count_tokens, cut_text
from mmsrarec.data import Dataset, Histories, ItemContent
from mmsrarec.errors import InputError
from mmsrarec.rank import BlendRanker, MLLMRanker, Signals, Student
from mmsrarec.recommender.engine import Engine
from mmsrarec.recommender.known_users import KnownUsers
from mmsrarec.retrieve import ContextBuilder, ItemView, PathFinder, SequenceModel, SimilarUsers, item_text
from mmsrarec.summarize import Summarizer

__all__ = ["RANK_ADAPTER", "READOUT", "Components", "LanguageModel", "Retrieval", "join"]

RANK_ADAPTER = "rank"
"""Name of the adapter that supervised fine-tuning makes."""

READOUT = "readout.safetensors"
"""Name of the readout's file."""


@dataclass(frozen=True)
class Retrieval:
    """What a prompt is written from: everything before the language model is tuned.

    Attributes
    ----------
    contents, keywords
        One entry an item, by dense id.
    signals
        Sequence model, similar users and what is counted, over training users.
    builder
        Builds contexts from histories.
    tokenizer
        The language model's, which counts and cuts what a prompt says.
    """

    contents: list[ItemContent]
    keywords: list[tuple[str, ...]]
    signals: Signals
    builder: ContextBuilder
    tokenizer: Any

    @classmethod
    def assemble(
        cls,
        tokenizer: Any,
        contents: list[ItemContent],
        keywords: list[tuple[str, ...]],
        sequence_model: SequenceModel,
        similar_users: SimilarUsers,
        taken: Histories,
        *,
        history: int,
        neighbours: int,
        without: frozenset[str] = frozenset(),
    ) -> Retrieval:
        """Join the parts with what training users took, and with the tokenizer that counts and cuts the texts.

        A fit, a load and every update go through here, so that a model that has grown is one that was made at once.
        """
        signals = Signals.fit(sequence_model, similar_users, taken, keywords)
        texts = None
        if "keywords" in without:
            texts = [
                cut_text(item_text(content), tokenizer, count_tokens(", ".join(words), tokenizer))
                for content, words in zip(contents, keywords, strict=True)
            ]
        view = ItemView(
            contents,
            keywords,
            lambda text, tokens: cut_text(text, tokenizer, tokens),
            texts=texts,
            pictures="image" not in without,
        )
        builder = ContextBuilder(
            view,
            similar_users,
            history=history,
            neighbours=0 if "similar_users" in without else neighbours,
            count_tokens=lambda text: count_tokens(text, tokenizer),
            paths=None if "paths" in without else PathFinder(signals.paths),
        )
        return cls(contents, keywords, signals, builder, tokenizer)

    @property
    def view(self) -> ItemView:
        """Words and pictures of the catalogue."""
        return self.builder.view


@dataclass
class LanguageModel:
    """The language model of a recommender, and what was made with it.

    Attributes
    ----------
    backbone
        With the adapter :data:`RANK_ADAPTER` if one was tuned.
    aligned, tuned
        Whether the projector was aligned on the catalogue, and whether the adapter was tuned.
    summarizer
        Writes the keywords of new items. After a load it has no encoder yet.
    readout
        The last step of tuning; ``None`` if there was none, or none was better than the words yes and no.
    """

    backbone: Backbone
    aligned: bool
    tuned: bool
    summarizer: Summarizer
    readout: Readout | None = None


@dataclass
class Components:
    """Everything that a fitted recommender holds.

    Attributes
    ----------
    users
        The items, and the known users with what they took.
    content_keys
        Hash of the content that each item's keywords were made from, by dense id.
    language_model
        ``None`` in a recommender that was loaded without it.
    encoder_fingerprint
        Of the sentence encoder of the fit.
    retrieval
        Keywords, sequence model, similar users, and what is counted.
    blend
        The last step of the ranking.
    student
        What guesses p(yes) where the language model is not to be asked; ``None`` if that was left out.
    vectors
        float16 (n_items, width), what the items' texts say, by dense id; ``None`` where no student reads them.
    without
        Names of the parts that were left out, see :data:`mmsrarec.recommender.ablation.PARTS`.
    """

    users: KnownUsers
    content_keys: list[str]
    language_model: LanguageModel | None
    encoder_fingerprint: str
    retrieval: Retrieval
    blend: BlendRanker
    without: frozenset[str] = field(default_factory=frozenset)
    student: Student | None = None
    vectors: np.ndarray | None = None

    @cached_property
    def catalogue(self) -> Dataset:
        """The items alone, without what anybody took."""
        data = self.users.data
        return replace(data, interactions=data.interactions.clear(), user_ids=data.user_ids.clear())

    def require_language_model(self) -> LanguageModel:
        """Return the language model.

        Raises
        ------
        InputError
            If the recommender was loaded without it.
        """
        if self.language_model is None:
            raise InputError(
                "the recommender was loaded without its language model; recommend and explain with "
                "language_model=False, or load it with Recommender.load(folder)."
            )
        return self.language_model

    @property
    def popularity(self) -> np.ndarray:
        """int64 (n_items,), events of each item in training."""
        return self.retrieval.signals.popularity

    def regrown(
        self,
        users: KnownUsers,
        taken: Histories,
        *,
        sequence_model: SequenceModel,
        similar_users: SimilarUsers,
        contents: list[ItemContent] | None = None,
        content_keys: list[str] | None = None,
        keywords: list[tuple[str, ...]] | None = None,
        vectors: np.ndarray | None = None,
    ) -> Components:
        """Return new parts from other events or items; `taken` is what is knowledge of them. These stay as they are."""
        old = self.retrieval
        retrieval = Retrieval.assemble(
            old.tokenizer,
            old.contents if contents is None else contents,
            old.keywords if keywords is None else keywords,
            sequence_model,
            similar_users,
            taken,
            history=old.builder.history,
            neighbours=old.builder.neighbours,
            without=self.without,
        )
        return replace(
            self,
            users=users,
            content_keys=self.content_keys if content_keys is None else content_keys,
            retrieval=retrieval,
            vectors=self.vectors if vectors is None else vectors,
        )


def join(parts: Components, *, candidates: int) -> Engine:
    """Join fitted parts into what scores."""
    model, ranker = parts.language_model, None
    if model is not None and "mllm" not in parts.without:
        adapter = RANK_ADAPTER if model.tuned else None
        ranker = MLLMRanker(model.backbone, parts.retrieval.view, adapter=adapter, readout=model.readout)
    return Engine(
        builder=parts.retrieval.builder,
        signals=parts.retrieval.signals,
        ranker=ranker,
        blend=parts.blend,
        budget=candidates,
        student=parts.student,
        vectors=parts.vectors,
    )
