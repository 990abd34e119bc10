"""From prompts to token ids, and from token ids to batches.

Stands behind ``chat`` (which writes the text) and before every forward pass. A rendered chat is tokenized
in one piece, then each picture's placeholder is replaced by the picture's own tokens, so the ids are those
that the model's processor gives, and a picture is read once however often it occurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from mmsrarec.backbone.pictures import collate_pixels
from mmsrarec.backbone.prompt import Encoded, Prompt
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["answer_ids", "collate", "encode"]

_SEQUENCE_NAMES = ("token_type_ids", "mm_token_type_ids")


def encode(
    backbone: Backbone, prompts: Sequence[Prompt], answers: Sequence[str] | None = None
) -> list[Encoded]:
    """Turn prompts, and answers if there are any, into token ids.

    Parameters
    ----------
    backbone
        The model whose template and vocabulary are used.
    prompts
        Any number of prompts.
    answers
        One answer a prompt. Its tokens and the end-of-turn token follow the prompt.

    Returns
    -------
    list of Encoded
        In the order of `prompts`.

    Raises
    ------
    InputError
        If `answers` has another length than `prompts`, or a template loses a picture.
    """
    if isinstance(prompts, Prompt):
        raise InputError("prompts must be a sequence of Prompt, got one Prompt; write [prompt].")
    if answers is not None and len(answers) != len(prompts):
        raise InputError(f"answers must be as many as prompts, got {len(answers)} for {len(prompts)}.")
    if not prompts:
        return []
    prompts = [backbone.without_pictures(prompt) for prompt in prompts]
    texts = [backbone.chat.render(prompt) for prompt in prompts]
    encoded = [
        _by_processor(backbone, prompt, text) if prompt.pictures and backbone.family is None else None
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    plain = [index for index, one in enumerate(encoded) if one is None]
    for index, ids in zip(plain, _tokenize(backbone, [texts[index] for index in plain]), strict=True):
        encoded[index] = _with_pictures(backbone, prompts[index], ids)
    done = [one for one in encoded if one is not None]
    if answers is None:
        return done
    return [_with_answer(one, ids) for one, ids in zip(done, answer_ids(backbone, answers), strict=True)]


def answer_ids(backbone: Backbone, answers: Sequence[str]) -> list[torch.Tensor]:
    """Tokenize answers as the assistant's turn writes them, the end-of-turn token included."""
    lead, end = backbone.chat.answer_lead, backbone.chat.end_of_turn
    texts = [lead + backbone.chat.neutralize(answer) for answer in answers]
    if not texts:
        return []
    ids = backbone.tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [torch.tensor([*row, end], dtype=torch.int64) for row in ids]


def _starts_itself(backbone: Backbone, text: str) -> bool:
    """Whether the rendered text needs no beginning-of-sequence token from the tokenizer."""
    start = backbone.tokenizer.bos_token
    return not backbone.has_images or (start is not None and text.startswith(start))


def _tokenize(backbone: Backbone, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = [[] for _ in texts]
    for starts_itself in (True, False):
        chosen = [
            index for index, text in enumerate(texts) if _starts_itself(backbone, text) is starts_itself
        ]
        if chosen:
            rows = backbone.tokenizer(
                [texts[index] for index in chosen], add_special_tokens=not starts_itself
            )["input_ids"]
            for index, row in zip(chosen, rows, strict=True):
                ids[index] = row
    return ids


def _with_pictures(backbone: Backbone, prompt: Prompt, ids: list[int]) -> Encoded:
    pictures = prompt.pictures
    if not pictures:
        return Encoded(torch.tensor(ids, dtype=torch.int64), len(ids))
    places = [index for index, token in enumerate(ids) if token == backbone.image_token_id]
    if len(places) != len(pictures):
        raise InputError(
            f"the chat template of backbone {backbone.name!r} wrote {len(places)} picture placeholders for "
            f"{len(pictures)} pictures; use a template that writes one for each."
        )
    pieces, spans = [], []
    length = done = 0
    for place, picture in zip(places, pictures, strict=True):
        expansion = backbone.reader.expansion(picture).input_ids
        pieces += [torch.tensor(ids[done:place], dtype=torch.int64), expansion]
        start = length + place - done
        length = start + len(expansion)
        spans.append((start, length))
        done = place + 1
    pieces.append(torch.tensor(ids[done:], dtype=torch.int64))
    input_ids = torch.cat(pieces)
    return Encoded(input_ids, len(input_ids), pictures, tuple(spans))


def _by_processor(backbone: Backbone, prompt: Prompt, text: str) -> Encoded:
    """Encode with the processor alone, for a family whose picture tokens are not known here."""
    read = backbone.processor(
        text=[text],
        images=[[picture.load() for picture in prompt.pictures]],
        add_special_tokens=not _starts_itself(backbone, text),
        return_tensors="pt",
    )
    extra = {name: value for name, value in read.items() if name not in ("input_ids", "attention_mask")}
    return Encoded(read["input_ids"][0], read["input_ids"].shape[1], prompt.pictures, extra=extra)


def _with_answer(encoded: Encoded, ids: torch.Tensor) -> Encoded:
    extra = dict(encoded.extra)
    for name in _SEQUENCE_NAMES:
        if name in extra:
            extra[name] = torch.cat([extra[name], extra[name].new_zeros(1, len(ids))], dim=1)
    return Encoded(
        torch.cat([encoded.input_ids, ids]), encoded.answer_start, encoded.images, encoded.image_spans, extra
    )


def collate(
    backbone: Backbone, encoded: Sequence[Encoded], *, side: Literal["left", "right"] = "right"
) -> dict[str, torch.Tensor]:
    """Pad sequences to one batch of model inputs, pixel values included.

    Parameters
    ----------
    backbone
        The model that made `encoded`.
    encoded
        At least one sequence.
    side
        Where the padding goes: ``"right"`` for training and scoring, ``"left"`` for generation.

    Returns
    -------
    dict
        ``input_ids`` and ``attention_mask`` of shape (B, T), int64; ``labels`` of the same shape, -100
        outside of the answers, if any sequence has an answer; and the family's pixel inputs. All on the
        CPU.

    Raises
    ------
    InputError
        If `encoded` is empty or `side` is neither word.
    """
    if side not in ("left", "right"):
        raise InputError(f"side must be 'left' or 'right', got {side!r}.")
    if not encoded:
        raise InputError("encoded must hold at least one sequence, got none.")
    batch = {
        "input_ids": _pad([one.input_ids for one in encoded], backbone.pad_token_id, side),
        "attention_mask": _pad([torch.ones_like(one.input_ids) for one in encoded], 0, side),
    }
    if any(one.answer_start < len(one) for one in encoded):
        labels = [one.input_ids.clone() for one in encoded]
        for one, row in zip(encoded, labels, strict=True):
            row[: one.answer_start] = -100
        batch["labels"] = _pad(labels, -100, side)
    if backbone.family is None:
        return batch | _collate_extra(encoded, side)
    if backbone.family.rope_3d:
        batch["mm_token_type_ids"] = batch["input_ids"].eq(backbone.picture_id).to(torch.int64)
    pixels = [[backbone.reader.pixels(picture) for picture in one.images] for one in encoded]
    return batch | collate_pixels(pixels, backbone.family)


def _pad(rows: list[torch.Tensor], value: int, side: str) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value, padding_side=side)


def _collate_extra(encoded: Sequence[Encoded], side: str) -> dict[str, torch.Tensor]:
    batch: dict[str, torch.Tensor] = {}
    names: dict[str, Any] = {name: None for one in encoded for name in one.extra}
    for name in names:
        if name in _SEQUENCE_NAMES:
            rows = [
                one.extra[name][0] if name in one.extra else torch.zeros_like(one.input_ids)
                for one in encoded
            ]
            batch[name] = _pad(rows, 0, side)
        else:
            batch[name] = _joined([one.extra[name] for one in encoded if name in one.extra])
    return batch


def _joined(values: list[torch.Tensor]) -> torch.Tensor:
    """Put values one behind the other, each filled up with zeros to the largest of them."""
    largest = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values), strict=True)]
    filled = []
    for value in values:
        short = [[0, most - size] for most, size in zip(largest, value.shape[1:], strict=True)]
        filled.append(torch.nn.functional.pad(value, [number for pair in reversed(short) for number in pair]))
    return torch.cat(filled)
