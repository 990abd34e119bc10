"""Text out: length-sorted batches through transformers' own ``generate``.

Stands beside ``first_token``; the rooms ``summarize`` and ``tune`` call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from mmsrarec.backbone.batching import advancing, length_sorted_batches
from mmsrarec.backbone.encoding import collate, encode
from mmsrarec.backbone.forward import embed
from mmsrarec.backbone.prompt import Encoded, Prompt
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["generate"]


@torch.no_grad()
def generate(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = 32,
    temperature: float = 0.0,
    seed: int = 0,
    batch_tokens: int,
    progress: str | None = None,
) -> list[str]:
    """See :meth:`mmsrarec.backbone.Backbone.generate`."""
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be 1 or more, got {max_new_tokens}.")
    if not temperature >= 0.0:
        raise InputError(f"temperature must be 0 (greedy) or more, got {temperature}.")
    encoded = encode(backbone, prompts)
    texts = [""] * len(encoded)
    settings = generation_settings(backbone, max_new_tokens, temperature)
    batches = length_sorted_batches([len(one) + max_new_tokens for one in encoded], batch_tokens)
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices), advancing(progress, len(encoded)) as advance:
        torch.manual_seed(seed)
        for batch in batches:
            new_ids = _generate_batch(backbone, [encoded[index] for index in batch], settings)
            decoded = backbone.tokenizer.batch_decode(new_ids, skip_special_tokens=True)
            for index, text in zip(batch, decoded, strict=True):
                texts[index] = text.strip()
            advance(len(batch))
    return texts


def generation_settings(backbone: Backbone, max_new_tokens: int, temperature: float) -> GenerationConfig:
    """Plain greedy or plain sampling; what a checkpoint ships (penalties, top-k) is switched off."""
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        repetition_penalty=1.0,
        eos_token_id=backbone.stop_ids,
        pad_token_id=backbone.pad_token_id,
        **sampling,
    )


def _generate_batch(backbone: Backbone, encoded: list[Encoded], settings: GenerationConfig) -> torch.Tensor:
    """Generate for one batch padded on the left; returns the new ids only, shape (B, new)."""
    family = backbone.family
    if family is not None and not family.rope_3d:
        # With features in place of pixels, a picture that was seen before skips the vision tower.
        mask = [torch.ones_like(one.input_ids) for one in encoded]
        ids, seen = (
            torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value, padding_side="left")
            for rows, value in (([one.input_ids for one in encoded], backbone.pad_token_id), (mask, 0))
        )
        pictures = [picture for one in encoded for picture in one.images]
        return backbone.hf.generate(
            inputs_embeds=embed(backbone, ids.to(backbone.device), pictures),
            attention_mask=seen.to(backbone.device),
            generation_config=settings,
        )
    inputs = {
        name: value.to(backbone.device) for name, value in collate(backbone, encoded, side="left").items()
    }
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(backbone.dtype)
    return backbone.hf.generate(**inputs, generation_config=settings)[:, inputs["input_ids"].shape[1] :]
