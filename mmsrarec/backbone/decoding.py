"""Answers of many prompts: what they begin with run once, prompts read by like length, answers written in lockstep.

Stands under ``generation``, for models whose cache can be cut and repeated (``shared_prefix.why_not_shared``). Against
transformers' ``generate``: the tokens with which all prompts of a kind begin are not run again for each of them,
reading is batched apart from writing, so that prompts of any length are answered together, rows leave as their
answers end, and an :class:`~mmsrarec.backbone.constraint.AnswerRule` may end them early.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers.cache_utils import DynamicCache

from mmsrarec.backbone.batching import length_sorted_batches
from mmsrarec.backbone.constraint import AnswerRule, AnswerState, allow_only
from mmsrarec.backbone.forward import Piece, pieces_inputs
from mmsrarec.backbone.prompt import Encoded
from mmsrarec.backbone.shared_prefix import common_prefix

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["Beginning", "decode_batch", "run_beginnings"]

# A shorter beginning costs more as a pass of its own than it saves.
_SHORTEST = 4
# Rows that are done leave the batch when so large a part of it is; a copy of the cache for each would cost more.
_LEAVE_AT = 0.125
# Tokens read at once on a CPU: what a layer makes of them stays in the cache, 0.92 of the time of 2,436 at once.
_READ_ON_A_CPU = 1024


@dataclass(frozen=True, eq=False)
class Beginning:
    """The tokens that all prompts of a call begin with, as keys and values.

    Attributes
    ----------
    length
        Number of tokens, perhaps 0.
    layers
        Keys and values of each layer, shape (1, key heads, length, d); empty if there are none.
    """

    length: int
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()


def run_beginnings(backbone: Backbone, encoded: Sequence[Encoded]) -> dict[bool, Beginning]:
    """Run once what all sequences with pictures begin with, and what all without begin with."""
    return {
        pictured: _run_beginning(backbone, [one for one in encoded if bool(one.images) is pictured])
        for pictured in (False, True)
    }


@torch.no_grad()
def _run_beginning(backbone: Backbone, encoded: Sequence[Encoded]) -> Beginning:
    if len(encoded) < 2:
        return Beginning(0)
    length = min(common_prefix(encoded[0], other) for other in encoded[1:])
    if length < _SHORTEST:
        return Beginning(0)
    cache = DynamicCache(config=backbone.hf.config)
    inputs = pieces_inputs(backbone, [Piece(encoded[0], 0, length)])
    backbone.inner(**inputs, past_key_values=cache, use_cache=True)
    return Beginning(length, tuple((layer.keys, layer.values) for layer in cache.layers))


@torch.no_grad()
def decode_batch(
    backbone: Backbone,
    encoded: Sequence[Encoded],
    beginnings: Mapping[bool, Beginning],
    *,
    batch_tokens: int,
    max_new_tokens: int,
    temperature: float,
    rule: AnswerRule | None,
    over: Callable[[int, list[int]], None],
) -> None:
    """Write the answers of prompts together.

    Parameters
    ----------
    backbone
        The model.
    encoded
        The prompts, 1 or more.
    beginnings
        From :func:`run_beginnings`, of these prompts or of more.
    batch_tokens
        Most tokens of prompts that are read at once.
    max_new_tokens
        Longest answer.
    temperature
        0 takes the likeliest token, above 0 tokens are drawn by torch's generator.
    rule
        What answers may look like; ``None``: anything.
    over
        Called once for each prompt, as soon as its answer is whole, with its place in the batch and the token ids
        of the answer, without the token that ended it.
    """
    answers: list[list[int]] = [[] for _ in encoded]
    states: list[AnswerState] = [] if rule is None else [rule.start() for _ in encoded]
    stops = set(backbone.stop_ids)
    ended = [False] * len(encoded)
    batch, rows = _read(backbone, encoded, beginnings, batch_tokens)  # and which prompt each row belongs to
    for written in range(1, max_new_tokens + 1):
        logits = batch.logits
        if rule is not None:
            logits = allow_only(logits, [states[row] for row in rows])
        tokens = _choose(logits, temperature)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if ended[row]:
                continue
            stopped = token in stops
            if not stopped:
                answers[row].append(token)
                if states:
                    states[row].push(token)
                    stopped = states[row].finished
            if stopped or written == max_new_tokens:
                ended[row] = True
                over(row, answers[row])
        kept = [place for place, row in enumerate(rows) if not ended[row]]
        if not kept:
            break
        if len(rows) - len(kept) >= _LEAVE_AT * len(rows):
            batch.keep(kept)
            rows = [rows[place] for place in kept]
            tokens = tokens[kept]
        batch.step(tokens)


def _choose(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(dim=-1)
    return torch.multinomial((logits / temperature).softmax(dim=-1), 1).squeeze(1)


def _read(
    backbone: Backbone, encoded: Sequence[Encoded], beginnings: Mapping[bool, Beginning], batch_tokens: int
) -> tuple[_Batch, list[int]]:
    """Read all prompts in batches of like length; returns them as one batch, and the prompt of each row."""
    if backbone.device.type == "cpu":
        batch_tokens = min(batch_tokens, _READ_ON_A_CPU)
    read: list[_Batch] = []
    rows: list[int] = []
    for pictured, beginning in beginnings.items():
        places = [place for place, one in enumerate(encoded) if bool(one.images) is pictured]
        lengths = [len(encoded[place]) - beginning.length for place in places]
        for batch in length_sorted_batches(lengths, batch_tokens):
            chosen = [places[index] for index in batch]
            read.append(_Batch.read(backbone, [encoded[place] for place in chosen], beginning))
            rows += chosen
    return _Batch.joined(backbone, read), rows


class _Batch:
    """Cache, mask and positions of the answers being written; a row a prompt."""

    def __init__(
        self,
        backbone: Backbone,
        cache: DynamicCache,
        mask: torch.Tensor,
        position: torch.Tensor,
        last: torch.Tensor,
    ) -> None:
        self._backbone = backbone
        self._cache = cache
        self._mask = mask  # (B, T)
        self._position = position  # of the last token, (B,) or (3, B)
        self._last = last  # its hidden state, (B, hidden)

    @classmethod
    def read(cls, backbone: Backbone, encoded: Sequence[Encoded], beginning: Beginning) -> _Batch:
        """Run prompts behind their beginning."""
        pieces = [Piece(one, beginning.length, len(one)) for one in encoded]
        inputs = pieces_inputs(backbone, pieces)
        cache = DynamicCache(config=backbone.hf.config)
        for number, (keys, values) in enumerate(beginning.layers):
            # A view: the first concatenation in the layer makes the copy.
            shape = (len(pieces), *keys.shape[1:])
            cache.update(keys.expand(shape), values.expand(shape), number)
        mask = inputs["attention_mask"]
        mask = torch.cat([mask.new_ones(len(pieces), beginning.length), mask], dim=1)
        inputs["attention_mask"] = mask
        hidden = backbone.inner(**inputs, past_key_values=cache, use_cache=True).last_hidden_state
        place = torch.tensor([len(piece) - 1 for piece in pieces], device=hidden.device)
        every = torch.arange(len(pieces), device=hidden.device)
        return cls(backbone, cache, mask, inputs["position_ids"][..., every, place], hidden[every, place])

    @classmethod
    def joined(cls, backbone: Backbone, batches: list[_Batch]) -> _Batch:
        """Put batches under one another; shorter ones are padded on the left. They are used up."""
        if len(batches) == 1:
            return batches[0]
        longest = max(batch._mask.shape[1] for batch in batches)
        missing = [longest - batch._mask.shape[1] for batch in batches]
        cache = DynamicCache(config=backbone.hf.config)
        for number in range(len(batches[0]._cache.layers)):
            layers = [batch._cache.layers[number] for batch in batches]
            keys = torch.cat([_pad(layer.keys, more) for layer, more in zip(layers, missing, strict=True)])
            values = torch.cat(
                [_pad(layer.values, more) for layer, more in zip(layers, missing, strict=True)]
            )
            cache.update(keys, values, number)
            for layer in layers:
                # So that there is never a second copy of more than a layer.
                layer.keys = layer.values = None
        mask = [
            torch.nn.functional.pad(batch._mask, (more, 0))
            for batch, more in zip(batches, missing, strict=True)
        ]
        position = torch.cat([batch._position for batch in batches], dim=-1)
        return cls(backbone, cache, torch.cat(mask), position, torch.cat([batch._last for batch in batches]))

    @property
    def logits(self) -> torch.Tensor:
        """Of the next token, float32 (B, vocabulary)."""
        head = self._backbone.output_head()
        logits = self._backbone.hf.get_output_embeddings()(self._last).float() * head.scale
        return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        index = torch.tensor(rows, device=self._mask.device)
        self._mask, self._position = self._mask[index], self._position[..., index]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[index], layer.values[index]

    def step(self, tokens: torch.Tensor) -> None:
        """Run one token for each row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        self._position = self._position + 1
        ids = tokens.unsqueeze(1)  # (B, 1)
        inputs = (
            {"input_ids": ids}
            if self._backbone.family is None
            else {"inputs_embeds": self._backbone.inner.get_input_embeddings()(ids)}
        )
        self._last = self._backbone.inner(
            **inputs,
            attention_mask=self._mask,
            position_ids=self._position.unsqueeze(-1),
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state[:, 0]


def _pad(states: torch.Tensor, more: int) -> torch.Tensor:
    return torch.nn.functional.pad(states, (0, 0, more, 0))
