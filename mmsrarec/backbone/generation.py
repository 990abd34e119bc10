"""Text out: length-sorted batches, what prompts begin with run once, answers that may have to keep a rule.

Stands beside ``first_token``; the rooms ``summarize`` and ``tune`` call it. Models whose cache cannot be cut go through
transformers' own ``generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from mmsrarec.backbone.batching import advancing, length_sorted_batches
from mmsrarec.backbone.constraint import AnswerRule, RuleProcessor
from mmsrarec.backbone.decoding import decode_batch, run_beginnings
from mmsrarec.backbone.encoding import collate, encode
from mmsrarec.backbone.prompt import Encoded, Prompt
from mmsrarec.backbone.shared_prefix import why_not_shared
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["generate"]

# Writing keeps a cache, reading keeps activations as well: so many times the tokens fit into the same memory.
_WRITTEN_TOGETHER = 2


@torch.no_grad()
def generate(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = 32,
    temperature: float = 0.0,
    seed: int = 0,
    rule: AnswerRule | None = None,
    batch_tokens: int,
    progress: str | None = None,
    answered: Callable[[int, str], None] | None = None,
) -> list[str]:
    """See :meth:`mmsrarec.backbone.Backbone.generate`."""
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens must be 1 or more, got {max_new_tokens}.")
    if not temperature >= 0.0:
        raise InputError(f"temperature must be 0 (greedy) or more, got {temperature}.")
    encoded = encode(backbone, prompts)
    texts = [""] * len(encoded)
    beginnings = run_beginnings(backbone, encoded) if why_not_shared(backbone) is None else None
    lengths = [len(one) + max_new_tokens for one in encoded]
    batches = length_sorted_batches(lengths, batch_tokens * (1 if beginnings is None else _WRITTEN_TOGETHER))
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices), advancing(progress, len(encoded)) as advance:
        torch.manual_seed(seed)
        for batch in batches:
            chosen = [encoded[index] for index in batch]

            def over(place: int, ids: list[int], batch: list[int] = batch) -> None:
                texts[batch[place]] = backbone.tokenizer.decode(ids, skip_special_tokens=True).strip()
                advance(1)
                if answered is not None:
                    answered(batch[place], texts[batch[place]])

            if beginnings is None:
                settings = generation_settings(backbone, max_new_tokens, temperature)
                for place, ids in enumerate(_generate_batch(backbone, chosen, settings, rule)):
                    over(place, ids)
            else:
                decode_batch(
                    backbone,
                    chosen,
                    beginnings,
                    batch_tokens=batch_tokens,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    rule=rule,
                    over=over,
                )
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


def _generate_batch(
    backbone: Backbone, encoded: list[Encoded], settings: GenerationConfig, rule: AnswerRule | None
) -> list[list[int]]:
    """Generate for one batch padded on the left, by the model's own method; returns the new ids only."""
    inputs = {
        name: value.to(backbone.device) for name, value in collate(backbone, encoded, side="left").items()
    }
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(backbone.dtype)
    processors = LogitsProcessorList([] if rule is None else [RuleProcessor(rule, backbone.stop_ids)])
    written = backbone.hf.generate(**inputs, generation_config=settings, logits_processor=processors)
    return written[:, inputs["input_ids"].shape[1] :].tolist()
