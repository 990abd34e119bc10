"""How likely a text is, given a prompt: mean negative log-likelihood of the target's tokens.

Stands beside ``first_token``; the reconstruction reward and evaluation use it. The vocabulary-wide logits are
never formed: the hidden states of the target positions go to the ``sequence_nll`` kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmsrarec.backbone.batching import advancing, length_sorted_batches
from mmsrarec.backbone.encoding import encode
from mmsrarec.backbone.forward import hidden_of_whole
from mmsrarec.backbone.prompt import Encoded, Prompt
from mmsrarec.errors import InputError
from mmsrarec.kernels import sequence_nll

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["mean_nll"]


@torch.no_grad()
def mean_nll(
    backbone: Backbone,
    contexts: Sequence[Prompt],
    targets: Sequence[str],
    *,
    batch_tokens: int,
    progress: str | None = None,
) -> np.ndarray:
    """See :meth:`mmsrarec.backbone.Backbone.mean_nll`."""
    if len(targets) != len(contexts):
        raise InputError(f"targets must be as many as contexts, got {len(targets)} for {len(contexts)}.")
    result = np.zeros(len(contexts), dtype=np.float32)
    kept = [index for index, target in enumerate(targets) if target.strip()]
    encoded = [
        _without_end(one)
        for one in encode(backbone, [contexts[index] for index in kept], [targets[index] for index in kept])
    ]
    with advancing(progress, len(encoded)) as advance:
        for batch in length_sorted_batches([len(one) for one in encoded], batch_tokens):
            means = _batch_nll(backbone, [encoded[index] for index in batch])
            for index, mean in zip(batch, means.tolist(), strict=True):
                result[kept[index]] = mean
            advance(len(batch))
    return result


def _without_end(one: Encoded) -> Encoded:
    """Leave out the end-of-turn token, which is not part of the target's text."""
    extra = {
        name: value[:, :-1] if value.shape[:2] == (1, len(one)) else value
        for name, value in one.extra.items()
    }
    return Encoded(one.input_ids[:-1], one.answer_start, one.images, one.image_spans, extra)


def _batch_nll(backbone: Backbone, encoded: Sequence[Encoded]) -> torch.Tensor:
    hidden = hidden_of_whole(backbone, encoded)  # (B, T, hidden)
    # The state at position t - 1 predicts the token at t.
    states = torch.cat(
        [row[one.answer_start - 1 : len(one) - 1] for row, one in zip(hidden, encoded, strict=True)]
    )  # (target tokens, hidden)
    targets = torch.cat([one.input_ids[one.answer_start :] for one in encoded]).to(states.device)
    lengths = [len(one) - one.answer_start for one in encoded]
    offsets = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int64, device=states.device)
    head = backbone.output_head()
    return sequence_nll(head.scaled(states), head.weight, targets, offsets, softcap=head.softcap)
