"""What the summarizer's tests share: a sentence encoder that needs no weights, and small GRPO settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mmsrarec.backbone import SentenceEncoder
    from mmsrarec.data import Dataset, ItemContent


@pytest.fixture(scope="session")
def tiny_encoder() -> SentenceEncoder:
    """A real SentenceTransformer: the mean of one random vector for each token."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from mmsrarec.backbone import SentenceEncoder
    from mmsrarec.testing.tiny_models import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        weights = torch.randn(len(tokenizer), 16)
    embedding = StaticEmbedding(tokenizer.backend_tokenizer, embedding_weights=weights)
    return SentenceEncoder(SentenceTransformer(modules=[embedding], device="cpu"), "tiny")


@pytest.fixture(scope="session")
def contents(catalogue: Dataset) -> list[ItemContent]:
    return [catalogue.item_content(item) for item in range(catalogue.n_items)]
