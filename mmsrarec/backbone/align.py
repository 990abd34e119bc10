"""Teaches the projector what the language model should see in pictures: captions of items, nothing else trained.

Stands between a loaded backbone and the stages: the first stage of LLaVA's training (Liu et al., "Visual
Instruction Tuning", NeurIPS 2023), on the catalogue at hand. Image tower and language model stay as they
are; the gradient passes through the language model to the two layers of the projector.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from mmsrarec.backbone.batching import advancing
from mmsrarec.backbone.pictures import FEATURE_BYTES, RecentlyUsed
from mmsrarec.backbone.projection import (
    TOWER_BATCH,
    Features,
    image_features,
    merge_image_features,
    projector_of,
)
from mmsrarec.backbone.prompt import Encoded, PictureLike, Prompt
from mmsrarec.backbone.token_budget import cut_text
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.kernels import sequence_nll
from mmsrarec.progress import logger
from mmsrarec.storage import atomic_path, fingerprint

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone
    from mmsrarec.data import ItemContent

__all__ = ["AlignResult", "align", "caption_of"]

# The summarizer asks about pictures in these words, so the projector learns to answer them.
LEAD = "Keywords for this picture: "
CHECKPOINT = "align.safetensors"
CHECKPOINT_STEPS = 100
MOST_HELD_OUT = 128
WARM_UP_SHARE = 0.05
GRADIENT_NORM = 1.0
# Batches are cut from windows of this many, sorted by length inside, so that little is padded.
WINDOW_BATCHES = 8
_OPTIMIZER_STATE = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class AlignResult:
    """What an alignment did.

    Parameters
    ----------
    losses
        Mean NLL a caption token of each step's batch, in order.
    held_out_before, held_out_after
        Mean NLL a caption token on items that were not trained on, before and after; NaN if none were held out.
    held_out_other
        The same after training, each caption with the picture of another held-out item. What it lies above
        `held_out_after` is what the captions gain from the pictures.
    n_items, n_held_out
        Items trained on, and held out.
    """

    losses: tuple[float, ...]
    held_out_before: float
    held_out_after: float
    held_out_other: float
    n_items: int
    n_held_out: int


def caption_of(content: ItemContent) -> str:
    """Write an item's caption: categories, then title, as keywords.

    The categories come first: a picture tells them best, and behind the title they would be read off it.

    Examples
    --------
    >>> from mmsrarec.data import ItemContent
    >>> caption_of(ItemContent("Wool Coat", categories=("Clothing", "Coats")))
    'clothing, coats, wool coat'
    """
    parts = [part.strip().lower() for part in (*content.categories, content.title)]
    return ", ".join(dict.fromkeys(part for part in parts if part))


def align(
    backbone: Backbone,
    contents: Sequence[ItemContent],
    *,
    captions: Sequence[str] | None = None,
    epochs: int = 1,
    learning_rate: float = 1e-3,
    batch_size: int = 8,
    seed: int = 0,
    max_caption_tokens: int = 24,
    held_out: float = 0.05,
    workdir: str | Path | None = None,
    progress: str | None = "aligning pictures",
) -> AlignResult:
    """Train the projector alone to make the language model say what pictures show.

    The loss is the mean NLL of the caption's tokens given the picture (answer tokens only), minimized by
    AdamW with a short warm-up and a cosine to zero.

    Parameters
    ----------
    backbone
        A LLaVA-like model, such as the embedded one. Its projector is changed in place; nothing else is.
    contents
        Items. Those without a picture or a caption are passed over.
    captions
        One a content; by default :func:`caption_of`.
    epochs, learning_rate, batch_size, seed
        Of the training. Same seed, same machine, same result.
    max_caption_tokens
        Longer captions are cut.
    held_out
        Share of the items, at most 128, on which the loss is measured before and after; 0 measures nothing.
        Of fewer than 20 items none is held out.
    workdir
        Folder for a checkpoint, from which an interrupted alignment of the same items goes on; a finished
        one is taken from it as it is. ``None`` keeps nothing.
    progress
        What to call the work on the progress bar; ``None`` shows none.

    Returns
    -------
    AlignResult
        Losses of each step, and held-out losses.

    Raises
    ------
    InputError
        If the backbone has no projector, a setting is out of range, or no item has picture and caption.
    StoredFileError
        If the checkpoint is damaged.

    Examples
    --------
    >>> from mmsrarec import testing
    >>> from mmsrarec.backbone import Backbone
    >>> from mmsrarec.data import make_catalogue
    >>> shop = make_catalogue(items=4, users=2)
    >>> backbone = Backbone.load(testing.tiny_llava())
    >>> result = align(backbone, [shop.item_content(item) for item in range(4)], progress=None)
    >>> len(result.losses), result.n_items
    (1, 4)
    """
    projector = projector_of(backbone)
    _check(epochs, learning_rate, batch_size, max_caption_tokens, held_out)
    examples = _encode(backbone, contents, captions, max_caption_tokens)
    order = np.random.default_rng([seed, 0]).permutation(len(examples)).tolist()
    n_held_out = min(int(len(examples) * held_out), MOST_HELD_OUT) if len(examples) >= 20 else 0
    measured = [examples[index] for index in order[:n_held_out]]
    trained = [examples[index] for index in order[n_held_out:]]
    batches = [batch for epoch in range(epochs) for batch in _batches(trained, batch_size, [seed, 1, epoch])]
    cache: Features = RecentlyUsed(FEATURE_BYTES, lambda kept: kept.nbytes)
    identity = fingerprint(
        backbone.fingerprint,
        [[one.images[0].key, one.input_ids.numpy()] for one in examples],
        [epochs, learning_rate, batch_size, seed, held_out],
    )
    checkpoint = _Checkpoint(None if workdir is None else Path(workdir) / CHECKPOINT, identity)
    _read_pictures(backbone, examples, cache, progress and "reading pictures")
    measure = partial(_held_out_nll, backbone, cache=cache, progress=progress and "measuring captions")
    with backbone.adapter(None), _trainable(projector):
        optimizer = torch.optim.AdamW(projector.parameters(), lr=learning_rate, weight_decay=0.0)
        kept = checkpoint.restore(projector, optimizer)
        before, losses = kept or (measure(measured, measured), [])
        with advancing(progress, len(batches)) as advance:
            advance(len(losses))
            for step in range(len(losses), len(batches)):
                _set_learning_rate(optimizer, learning_rate, step, len(batches))
                losses.append(_train_step(backbone, projector, optimizer, batches[step], cache))
                if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == len(batches):
                    checkpoint.save(projector, optimizer, before, losses)
                advance(1)
        after = measure(measured, measured)
        other = measure(measured, measured[1:] + measured[:1])
    logger.info("aligned %d pictures: held-out NLL %.3f, was %.3f", len(trained), after, before)
    return AlignResult(tuple(losses), before, after, other, len(trained), len(measured))


def _check(
    epochs: int, learning_rate: float, batch_size: int, max_caption_tokens: int, held_out: float
) -> None:
    for name, value in (
        ("epochs", epochs),
        ("batch_size", batch_size),
        ("max_caption_tokens", max_caption_tokens),
    ):
        if value < 1:
            raise InputError(f"{name} must be 1 or more, got {value}.")
    if not learning_rate > 0:
        raise InputError(f"learning_rate must be above 0, got {learning_rate}.")
    if not 0 <= held_out < 1:
        raise InputError(f"held_out must be at least 0 and below 1, got {held_out}.")


def _encode(
    backbone: Backbone, contents: Sequence[ItemContent], captions: Sequence[str] | None, max_tokens: int
) -> list[Encoded]:
    if captions is not None and len(captions) != len(contents):
        raise InputError(f"captions must be as many as contents, got {len(captions)} for {len(contents)}.")
    texts = captions if captions is not None else [caption_of(content) for content in contents]
    pairs = [
        (content.picture, cut_text(text.strip(), backbone.tokenizer, max_tokens))
        for content, text in zip(contents, texts, strict=True)
        if content.picture is not None and text.strip()
    ]
    if not pairs:
        raise InputError(
            f"contents must hold an item with a picture and a caption, got {len(contents)} without; "
            "leave alignment out."
        )
    return backbone.encode(
        [Prompt((LEAD, picture)) for picture, _ in pairs], [caption for _, caption in pairs]
    )


def _read_pictures(
    backbone: Backbone, examples: Sequence[Encoded], cache: Features, progress: str | None
) -> None:
    """Fill the cache in one order, so that a resumed run batches the tower, and thus rounds, as an undisturbed one."""
    pictures = [one.images[0] for one in examples]
    with advancing(progress, len(pictures)) as advance:
        for first in range(0, len(pictures), TOWER_BATCH):
            chunk = pictures[first : first + TOWER_BATCH]
            image_features(backbone, chunk, cache=cache)
            advance(len(chunk))


def _batches(examples: Sequence[Encoded], size: int, seed: list[int]) -> list[list[Encoded]]:
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(examples)).tolist()
    batches = []
    for first in range(0, len(order), size * WINDOW_BATCHES):
        window = sorted(order[first : first + size * WINDOW_BATCHES], key=lambda index: len(examples[index]))
        batches += [window[start : start + size] for start in range(0, len(window), size)]
    return [[examples[index] for index in batches[place]] for place in generator.permutation(len(batches))]


def _caption_nll(
    backbone: Backbone, batch: Sequence[Encoded], pictures: Sequence[PictureLike], cache: Features
) -> torch.Tensor:
    """NLL of each caption token of a batch, end of turn included, given `pictures`; shape (caption tokens,)."""
    pad = nn.utils.rnn.pad_sequence
    device = backbone.device
    input_ids = pad([one.input_ids for one in batch], batch_first=True, padding_value=backbone.pad_token_id)
    mask = pad([torch.ones_like(one.input_ids) for one in batch], batch_first=True)
    features = image_features(backbone, pictures, cache=cache)
    embeddings = merge_image_features(backbone, input_ids.to(device), features)
    output = backbone.inner(inputs_embeds=embeddings, attention_mask=mask.to(device), use_cache=False)
    # The state at position t - 1 predicts the token at t.
    states = torch.cat(
        [
            row[one.answer_start - 1 : len(one) - 1]
            for row, one in zip(output.last_hidden_state, batch, strict=True)
        ]
    )  # (caption tokens, hidden)
    targets = torch.cat([one.input_ids[one.answer_start :] for one in batch]).to(device)
    offsets = torch.tensor([0, len(targets)], device=device)
    head = backbone.output_head()
    return sequence_nll(
        head.scaled(states), head.weight, targets, offsets, reduction="none", softcap=head.softcap
    )


@torch.no_grad()
def _held_out_nll(
    backbone: Backbone,
    captioned: Sequence[Encoded],
    pictured: Sequence[Encoded],
    *,
    cache: Features,
    progress: str | None,
) -> float:
    """Mean NLL a token of the captions of one list, given the pictures of the other; NaN if there are none."""
    total, count = 0.0, 0
    with advancing(progress, len(captioned)) as advance:
        for first in range(0, len(captioned), TOWER_BATCH):
            part = slice(first, first + TOWER_BATCH)
            pictures = [one.images[0] for one in pictured[part]]
            nll = _caption_nll(backbone, captioned[part], pictures, cache)
            total, count = total + float(nll.sum()), count + len(nll)
            advance(len(pictures))
    return total / count if count else math.nan


def _train_step(
    backbone: Backbone,
    projector: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Encoded],
    cache: Features,
) -> float:
    loss = _caption_nll(backbone, batch, [one.images[0] for one in batch], cache).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(projector.parameters(), GRADIENT_NORM)
    optimizer.step()
    return float(loss.detach())


def _set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    warm_up = max(1, round(steps * WARM_UP_SHARE))
    rising = min(1.0, (step + 1) / warm_up)
    falling = 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = peak * rising * falling


@contextmanager
def _trainable(projector: nn.Module) -> Iterator[None]:
    """Let the projector be trained, in float32, inside a block; afterwards it is frozen and of its own dtype."""
    dtype = next(projector.parameters()).dtype
    projector.float().requires_grad_(True)
    try:
        yield
    finally:
        projector.zero_grad(set_to_none=True)
        projector.to(dtype).requires_grad_(False)


class _Checkpoint:
    """Projector, optimizer state and losses of an unfinished alignment in one safetensors file."""

    def __init__(self, path: Path | None, identity: str) -> None:
        self._path = path
        self._identity = identity

    def save(
        self, projector: nn.Module, optimizer: torch.optim.Optimizer, before: float, losses: list[float]
    ) -> None:
        if self._path is None:
            return
        tensors = {}
        for name, parameter in projector.named_parameters():
            tensors[name] = parameter.detach().cpu().contiguous()
            for kind in _OPTIMIZER_STATE:
                tensors[f"{kind}:{name}"] = optimizer.state[parameter][kind].cpu().contiguous()
        told = {"identity": self._identity, "before": json.dumps(before), "losses": json.dumps(losses)}
        with atomic_path(self._path) as temporary:
            save_file(tensors, temporary, metadata=told)

    def restore(
        self, projector: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[float, list[float]] | None:
        """Bring back what was saved for the same alignment; ``None`` if there is nothing of it."""
        if self._path is None or not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                told = file.metadata() or {}
                if told.get("identity") != self._identity:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dictionary
            before, losses = json.loads(told["before"]), json.loads(told["losses"])
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise StoredFileError(f"{self._path} is damaged ({error}); delete it to align anew.") from error
        with torch.no_grad():
            for name, parameter in projector.named_parameters():
                parameter.copy_(tensors[name])
                state = {kind: tensors[f"{kind}:{name}"].to(parameter.device) for kind in _OPTIMIZER_STATE}
                optimizer.state[parameter] = {"step": torch.tensor(float(len(losses))), **state}
        return before, losses
