"""The two networks: causal self-attention with gated residuals (SASRec) and a gated recurrent unit (GRU4Rec).

Both map item embeddings, shape (batch, length, dimension), to one hidden state a position that has seen that
position and earlier ones only. Sequences are padded on the right, so no position ever sees padding and no mask is
needed. Item embeddings are tied: the score of an item is the inner product of its embedding with the hidden state.
Where training had times, what they tell is added to the embeddings first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsrarec.retrieve.sequence_model.time_gaps import TimeGaps

__all__ = ["GRU4RecNetwork", "ItemEmbedding", "Network", "SASRecNetwork", "build_network"]

# Small, so that training starts from scores that are nearly equal (loss near the logarithm of the catalogue).
_EMBEDDING_DEVIATION = 0.02
_SMALLEST_SCALE = 1e-12


class ItemEmbedding(nn.Module):
    """A vector for each item: one that is learned for its id, plus a projection of its content if there is any.

    ``e(i) = id(i) + W · content(i)``. In training the first term of some lookups is dropped, so that the second
    alone is a fair embedding: all there is for an item without events.

    Parameters
    ----------
    n_items
        Rows.
    dimension
        Width.
    content
        float (n_items, width), or ``None``. It is centred, and scaled to unit variance as a whole.
    id_dropout
        Share of lookups in training that see the content alone; without effect where there is none.
    """

    def __init__(
        self, n_items: int, dimension: int, content: Tensor | None = None, id_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_items, dimension).normal_(std=_EMBEDDING_DEVIATION))
        self.content: Tensor | None = None
        self.id_dropout = id_dropout
        if content is not None:
            self.content_mean = content.mean(dim=0)
            self.content_scale = (
                (content - self.content_mean).square().mean().sqrt().clamp_min(_SMALLEST_SCALE)
            )
            self.content = (content - self.content_mean) / self.content_scale
            self.projection = nn.Linear(content.shape[1], dimension, bias=False)
            nn.init.normal_(self.projection.weight, std=_EMBEDDING_DEVIATION / content.shape[1] ** 0.5)

    def forward(self, items: Tensor) -> Tensor:
        """Map int64 items of any shape to their embeddings, that shape and `dimension`."""
        by_id = F.embedding(items, self.weight)
        if self.content is None:
            return by_id
        if self.training and self.id_dropout:
            kept = torch.rand(*items.shape, 1, device=items.device) >= self.id_dropout
            by_id = by_id * kept
        return by_id + self.projection(self.content[items])

    def table(self) -> Tensor:
        """Return the embeddings of all items, (n_items, dimension), nothing dropped."""
        return self.weight if self.content is None else self.weight + self.projection(self.content)

    def replace(self, rows: Tensor) -> None:
        """Take `rows`, (n_items, dimension), as the embeddings of all items; content is not looked at any more."""
        self.weight = nn.Parameter(rows)
        if self.content is not None:
            self.content = None
            del self.projection


class SASRecNetwork(nn.Module):
    """Self-attentive sequential recommendation (Kang & McAuley 2018), pre-norm, with gated residuals.

    Parameters
    ----------
    item_embedding
        Of the catalogue.
    layers
        Number of :class:`GatedLayer`.
    heads
        Attention heads; divides `dimension`.
    max_length
        Longest sequence; position 0 is the first event of the sequence.
    dropout
        Share of values zeroed in training.
    time_gaps
        What is added for the times of events, ``None`` for a network that does not read them.
    """

    def __init__(
        self,
        item_embedding: ItemEmbedding,
        *,
        layers: int,
        heads: int,
        max_length: int,
        dropout: float,
        time_gaps: TimeGaps | None = None,
    ) -> None:
        super().__init__()
        dimension = item_embedding.weight.shape[1]
        self.item_embedding = item_embedding
        self.time_gaps = time_gaps
        self.position_embedding = nn.Embedding(max_length, dimension)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(GatedLayer(dimension, heads, dropout) for _ in range(layers))
        self.final_norm = nn.LayerNorm(dimension)
        nn.init.normal_(self.position_embedding.weight, std=_EMBEDDING_DEVIATION)

    def forward(self, embedded: Tensor, gap_numbers: Tensor | None = None) -> Tensor:
        """Map item embeddings to hidden states, both (batch, length, dimension).

        Parameters
        ----------
        embedded
            float (batch, length, dimension).
        gap_numbers
            int64 (2, batch, length), for a network with time gaps.
        """
        positions = torch.arange(embedded.shape[1], device=embedded.device)
        embedded = _with_gaps(embedded, self.time_gaps, gap_numbers)
        hidden = self.dropout(embedded + self.position_embedding(positions))
        for layer in self.layers:
            hidden = layer(hidden)
        return self.final_norm(hidden)


class GatedLayer(nn.Module):
    """A pre-norm transformer layer whose two residual branches are gated by the stream they join.

    ``x ← x + σ(G₁x) ⊙ attention(norm(x))``, ``x ← x + σ(G₂x) ⊙ feed_forward(norm(x))`` with a SwiGLU
    feed-forward: the LiGR layer (Borisyuk et al. 2025, arXiv 2502.03417) that eSASRec found strongest.

    Parameters
    ----------
    dimension
        Width of the stream, a multiple of `heads`.
    heads, dropout
        As in :class:`SASRecNetwork`.
    """

    def __init__(self, dimension: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = dropout
        self.dropout = nn.Dropout(dropout)
        self.attention_norm = nn.LayerNorm(dimension)
        self.query_key_value = nn.Linear(dimension, 3 * dimension)
        self.attention_output = nn.Linear(dimension, dimension)
        self.attention_gate = nn.Linear(dimension, dimension)
        self.feed_forward_norm = nn.LayerNorm(dimension)
        self.expansion = nn.Linear(dimension, 8 * dimension, bias=False)
        self.contraction = nn.Linear(4 * dimension, dimension, bias=False)
        self.feed_forward_gate = nn.Linear(dimension, dimension)

    def forward(self, stream: Tensor) -> Tensor:
        """Map (batch, length, dimension) to the same shape."""
        stream = stream + torch.sigmoid(self.attention_gate(stream)) * self._attention(stream)
        return stream + torch.sigmoid(self.feed_forward_gate(stream)) * self._feed_forward(stream)

    def _attention(self, stream: Tensor) -> Tensor:
        batch, length, dimension = stream.shape
        mixed = self.query_key_value(self.attention_norm(stream))
        query, key, value = mixed.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=self.attention_dropout if self.training else 0.0
        )  # (batch, heads, length, dimension / heads)
        return self.dropout(self.attention_output(attended.transpose(1, 2).reshape(batch, length, dimension)))

    def _feed_forward(self, stream: Tensor) -> Tensor:
        opening, content = self.expansion(self.feed_forward_norm(stream)).chunk(2, dim=-1)
        return self.dropout(self.contraction(self.dropout(F.silu(opening) * content)))


class GRU4RecNetwork(nn.Module):
    """Session-based recommendation with a gated recurrent unit (Hidasi et al. 2016), item embeddings tied.

    Parameters
    ----------
    item_embedding, layers, dropout, time_gaps
        As in :class:`SASRecNetwork`.
    """

    def __init__(
        self,
        item_embedding: ItemEmbedding,
        *,
        layers: int,
        dropout: float,
        time_gaps: TimeGaps | None = None,
    ) -> None:
        super().__init__()
        dimension = item_embedding.weight.shape[1]
        self.item_embedding = item_embedding
        self.time_gaps = time_gaps
        self.dropout = nn.Dropout(dropout)
        self.recurrence = nn.GRU(
            dimension, dimension, num_layers=layers, dropout=dropout if layers > 1 else 0.0, batch_first=True
        )
        self.output = nn.Linear(dimension, dimension)
        self.final_norm = nn.LayerNorm(dimension)

    def forward(self, embedded: Tensor, gap_numbers: Tensor | None = None) -> Tensor:
        """Map item embeddings to hidden states; see :meth:`SASRecNetwork.forward`."""
        embedded = _with_gaps(embedded, self.time_gaps, gap_numbers)
        hidden, _ = self.recurrence(self.dropout(embedded))
        return self.final_norm(self.output(self.dropout(hidden)))


Network = SASRecNetwork | GRU4RecNetwork


def _with_gaps(embedded: Tensor, time_gaps: TimeGaps | None, gap_numbers: Tensor | None) -> Tensor:
    if time_gaps is None or gap_numbers is None:
        return embedded
    return embedded + time_gaps(gap_numbers)


def build_network(
    kind: str,
    item_embedding: ItemEmbedding,
    *,
    layers: int,
    heads: int,
    max_length: int,
    dropout: float,
    time_gaps: TimeGaps | None = None,
) -> Network:
    """Build a network with fresh weights from the current random state.

    Parameters
    ----------
    kind
        ``"sasrec"`` or ``"gru4rec"``; the latter has no heads and no positions.
    item_embedding, layers, heads, max_length, dropout, time_gaps
        As in :class:`SASRecNetwork`.
    """
    if kind == "gru4rec":
        return GRU4RecNetwork(item_embedding, layers=layers, dropout=dropout, time_gaps=time_gaps)
    return SASRecNetwork(
        item_embedding,
        layers=layers,
        heads=heads,
        max_length=max_length,
        dropout=dropout,
        time_gaps=time_gaps,
    )
