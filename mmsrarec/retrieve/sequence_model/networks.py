"""The two networks: causal self-attention with gated residuals (SASRec) and a gated recurrent unit (GRU4Rec).

Both map item ids, shape (batch, length), to one hidden state a position that has seen that position and
earlier ones only. Sequences are padded on the right, so no position ever sees padding and no mask is needed.
Item embeddings are tied: the score of an item is the inner product of its embedding with the hidden state.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GRU4RecNetwork", "Network", "SASRecNetwork", "build_network"]

# Small, so that training starts from scores that are nearly equal (loss near the logarithm of the catalogue).
_EMBEDDING_DEVIATION = 0.02


class SASRecNetwork(nn.Module):
    """Self-attentive sequential recommendation (Kang & McAuley 2018), pre-norm, with gated residuals.

    Parameters
    ----------
    n_items
        Rows of the item embedding.
    dimension
        Width of embeddings and hidden states.
    layers
        Number of :class:`GatedLayer`.
    heads
        Attention heads; divides `dimension`.
    max_length
        Longest sequence; position 0 is the first event of the sequence.
    dropout
        Share of values zeroed in training.
    """

    def __init__(
        self, n_items: int, *, dimension: int, layers: int, heads: int, max_length: int, dropout: float
    ) -> None:
        super().__init__()
        self.item_embedding = nn.Embedding(n_items, dimension)
        self.position_embedding = nn.Embedding(max_length, dimension)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(GatedLayer(dimension, heads, dropout) for _ in range(layers))
        self.final_norm = nn.LayerNorm(dimension)
        nn.init.normal_(self.item_embedding.weight, std=_EMBEDDING_DEVIATION)
        nn.init.normal_(self.position_embedding.weight, std=_EMBEDDING_DEVIATION)

    def forward(self, items: Tensor) -> Tensor:
        """Map int64 items (batch, length) to hidden states (batch, length, dimension)."""
        positions = torch.arange(items.shape[1], device=items.device)
        hidden = self.dropout(self.item_embedding(items) + self.position_embedding(positions))
        for layer in self.layers:
            hidden = layer(hidden)
        return self.final_norm(hidden)


class GatedLayer(nn.Module):
    """A pre-norm transformer layer whose two residual branches are gated by the stream they join.

    ``x ← x + σ(G₁x) ⊙ attention(norm(x))``, ``x ← x + σ(G₂x) ⊙ feed_forward(norm(x))`` with a SwiGLU
    feed-forward: the LiGR layer (Borisyuk et al. 2025, arXiv 2502.03417) that eSASRec found strongest.

    Parameters
    ----------
    dimension, heads, dropout
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
    n_items, dimension, layers, dropout
        As in :class:`SASRecNetwork`.
    """

    def __init__(self, n_items: int, *, dimension: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.item_embedding = nn.Embedding(n_items, dimension)
        self.dropout = nn.Dropout(dropout)
        self.recurrence = nn.GRU(
            dimension, dimension, num_layers=layers, dropout=dropout if layers > 1 else 0.0, batch_first=True
        )
        self.output = nn.Linear(dimension, dimension)
        self.final_norm = nn.LayerNorm(dimension)
        nn.init.normal_(self.item_embedding.weight, std=_EMBEDDING_DEVIATION)

    def forward(self, items: Tensor) -> Tensor:
        """Map int64 items (batch, length) to hidden states (batch, length, dimension)."""
        hidden, _ = self.recurrence(self.dropout(self.item_embedding(items)))
        return self.final_norm(self.output(self.dropout(hidden)))


Network = SASRecNetwork | GRU4RecNetwork


def build_network(
    kind: str, n_items: int, *, dimension: int, layers: int, heads: int, max_length: int, dropout: float
) -> Network:
    """Build a network with fresh weights from the current random state.

    Parameters
    ----------
    kind
        ``"sasrec"`` or ``"gru4rec"``; the latter has no heads and no positions.
    n_items, dimension, layers, heads, max_length, dropout
        As in :class:`SASRecNetwork`.
    """
    if kind == "gru4rec":
        return GRU4RecNetwork(n_items, dimension=dimension, layers=layers, dropout=dropout)
    return SASRecNetwork(
        n_items, dimension=dimension, layers=layers, heads=heads, max_length=max_length, dropout=dropout
    )
