"""The fitted parts of a recommender, and how they are joined into an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mmsrarec.backbone import Backbone, count_tokens, cut_text
from mmsrarec.data import Dataset, Histories, ItemContent
from mmsrarec.rank import BlendRanker, MLLMRanker, Signals
from mmsrarec.recommender.engine import Engine
from mmsrarec.recommender.known_users import KnownUsers
from mmsrarec.retrieve import (
    CoInteraction,
    ContextBuilder,
    ItemKNN,
    ItemView,
    KeywordSearch,
    PathFinder,
    SequenceModel,
    SimilarUsers,
    Transitions,
    item_text,
)

__all__ = ["RANK_ADAPTER", "Components", "Retrieval", "join"]

RANK_ADAPTER = "rank"
"""Name of the adapter that supervised fine-tuning makes."""


@dataclass
class Retrieval:
    """What a prompt is written from: everything before the language model is tuned.

    Attributes
    ----------
    contents, keywords
        One entry an item, by dense id.
    sequence_model, similar_users
        Fitted on training users.
    paths
        Co-interaction of training users.
    builder
        Builds contexts from histories.
    """

    contents: list[ItemContent]
    keywords: list[tuple[str, ...]]
    sequence_model: SequenceModel
    similar_users: SimilarUsers
    paths: CoInteraction
    builder: ContextBuilder

    @classmethod
    def assemble(
        cls,
        backbone: Backbone,
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
        """Join the parts with what training users took, and with the tokenizer that counts and cuts the texts."""
        tokenizer = backbone.tokenizer
        paths = CoInteraction.from_arrays(taken.indptr, taken.items, len(contents))
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
            paths=None if "paths" in without else PathFinder(paths),
        )
        return cls(contents, keywords, sequence_model, similar_users, paths, builder)

    @property
    def view(self) -> ItemView:
        """Words and pictures of the catalogue."""
        return self.builder.view


@dataclass
class Components:
    """Everything that a fitted recommender holds.

    Attributes
    ----------
    catalogue
        The items; its interactions are not used after the fit.
    users
        Known users and their histories.
    popularity
        int64 (n_items,), events of each item in training.
    backbone
        With the adapter :data:`RANK_ADAPTER` if one was tuned.
    aligned, tuned
        Whether the projector was aligned on the catalogue, and whether the adapter was tuned.
    retrieval
        Keywords, sequence model and similar users.
    blend
        The last step of the ranking.
    without
        Names of the parts that were left out, see :data:`mmsrarec.recommender.ablation.PARTS`.
    """

    catalogue: Dataset
    users: KnownUsers
    popularity: np.ndarray
    backbone: Backbone
    aligned: bool
    tuned: bool
    retrieval: Retrieval
    blend: BlendRanker
    without: frozenset[str] = field(default_factory=frozenset)


def join(parts: Components, *, candidates: int) -> Engine:
    """Join fitted parts into what scores."""
    retrieval = parts.retrieval
    taken, n_items = parts.users.training_histories(), len(retrieval.contents)
    signals = Signals(
        retrieval.sequence_model,
        retrieval.similar_users,
        ItemKNN().fit(taken, n_items),
        Transitions().fit(taken, n_items),
        retrieval.paths,
        KeywordSearch(retrieval.keywords),
        retrieval.keywords,
        parts.popularity,
    )
    adapter = RANK_ADAPTER if parts.tuned else None
    return Engine(
        builder=retrieval.builder,
        signals=signals,
        ranker=None
        if "mllm" in parts.without
        else MLLMRanker(parts.backbone, retrieval.view, adapter=adapter),
        blend=parts.blend,
        budget=candidates,
    )
