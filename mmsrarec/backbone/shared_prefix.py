"""All candidates of a user in one pass: the common beginning is run once, each candidate as a branch.

Stands under ``first_token``. Prompts that follow one another and begin with the same tokens and pictures form a
group; the group's prefix is run once, and the branches read its keys and values: on a CPU in place
(``prefix_attention``), elsewhere from a cache that is repeated for them, several users in one batch. The hidden
states are those of running each prompt alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from mmsrarec.backbone import prefix_attention
from mmsrarec.backbone.batching import length_sorted_batches
from mmsrarec.backbone.depth import reading
from mmsrarec.backbone.forward import Piece, pieces_inputs, whole_inputs
from mmsrarec.backbone.prompt import Encoded
from mmsrarec.progress import logger

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["PrefixGroup", "common_prefix", "group_by_prefix", "last_states", "why_not_shared"]

SHORTEST_PREFIX = 16

Read = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class PrefixGroup:
    """Sequences that begin alike.

    Parameters
    ----------
    members
        Positions in the list of sequences.
    prefix
        Number of tokens that all members have in common and that are run once; 0 for one alone.
    """

    members: tuple[int, ...]
    prefix: int


def common_prefix(first: Encoded, second: Encoded) -> int:
    """Count the leading tokens that two sequences share, never ending inside a picture.

    A picture is shared if it is the same picture at the same place. At least one token of each sequence is
    left out, since a branch must have a last position of its own.
    """
    longest = min(len(first), len(second)) - 1
    differs = (first.input_ids[:longest] != second.input_ids[:longest]).nonzero()
    shared = int(differs[0]) if len(differs) else longest
    ours, theirs = _pictures_by_place(first), _pictures_by_place(second)
    cuts = [
        span[0]
        for span in ours.keys() | theirs.keys()
        if span[0] < shared and (span[1] > shared or ours.get(span) != theirs.get(span))
    ]
    return min(cuts, default=shared)


def _pictures_by_place(encoded: Encoded) -> dict[tuple[int, int], str]:
    """Map spans to pictures; empty where the model's family, and so the places, are not known."""
    if not encoded.image_spans:
        return {}
    return dict(zip(encoded.image_spans, (picture.key for picture in encoded.images), strict=True))


def group_by_prefix(encoded: Sequence[Encoded]) -> list[PrefixGroup]:
    """Cut a list of sequences into runs of neighbours with a long common beginning.

    Two users' prompts share the chat template's first words, two candidates of one user share the whole history; a
    new group therefore begins where neighbours share less than half of what the neighbours before or
    after them share.

    Parameters
    ----------
    encoded
        Sequences in the order in which they were asked for.

    Returns
    -------
    list of PrefixGroup
        In order, together covering every position once.
    """
    if not encoded:
        return []
    shared = [common_prefix(one, two) for one, two in pairwise(encoded)]
    groups, start = [], 0
    for index in range(len(encoded)):
        here = shared[index] if index < len(shared) else 0
        before = shared[index - 1] if index > start else 0
        after = shared[index + 1] if index + 1 < len(shared) else 0
        if here < SHORTEST_PREFIX or 2 * here < max(before, after):
            members = tuple(range(start, index + 1))
            groups.append(PrefixGroup(members, min(shared[start:index], default=0)))
            start = index + 1
    return groups


def why_not_shared(backbone: Backbone) -> str | None:
    """Say why a prefix cannot be run once and shared; ``None`` if it can.

    Sharing needs the whole prefix in the cache, hence full attention in every layer, and positions given from
    outside. Sliding-window, recurrent and hybrid models keep less of it, and a family whose pictures this room
    does not place itself cannot be cut.

    Examples
    --------
    >>> from mmsrarec.backbone import Backbone
    >>> from mmsrarec.testing import tiny_llama
    >>> why_not_shared(Backbone.load(tiny_llama())) is None
    True
    """
    if backbone.family is None and backbone.has_images:
        return f"the places of pictures in model type {backbone.hf.config.model_type!r} are not known"
    if getattr(backbone.hf, "_is_stateful", False):
        return "its layers keep a running state in place of a cache"
    if "position_ids" not in inspect.signature(backbone.inner.forward).parameters:
        return "its positions cannot be given from outside"
    kinds = {type(layer) for layer in DynamicCache(config=backbone.hf.config).layers} - {DynamicLayer}
    if any(issubclass(kind, DynamicSlidingWindowLayer) for kind in kinds):
        return "some of its layers attend to a sliding window and forget the beginning"
    return "some of its layers keep no full cache" if kinds else None


def _may_share(backbone: Backbone, groups: Sequence[PrefixGroup]) -> bool:
    """Whether the groups' prefixes can be shared; warns once a backbone if they could be but for the model."""
    reason = why_not_shared(backbone)
    if reason is None:
        return True
    if any(len(group.members) > 1 for group in groups):
        backbone.warn_once(
            f"backbone {backbone.name!r} cannot run what prompts share only once, since {reason}; every prompt is "
            "run whole, with the same result in several times the time. Choose a model with full attention in "
            "every layer, or pass share_prefix=False to silence this."
        )
    return False


def last_states(
    backbone: Backbone,
    encoded: Sequence[Encoded],
    *,
    layers: Sequence[int],
    share_prefix: bool,
    batch_tokens: int,
    reduce: Callable[[torch.Tensor], torch.Tensor],
    done: Callable[[Sequence[int], torch.Tensor], None],
) -> list[torch.Tensor]:
    """Compute hidden states at the last position of every sequence.

    Parameters
    ----------
    backbone
        The model.
    encoded
        The sequences.
    layers
        Which layers to read, as in :func:`mmsrarec.backbone.depth.reading`.
    share_prefix
        Run common beginnings once.
    batch_tokens
        Most tokens (for branches, prefix included) in one forward pass.
    reduce
        Applied to each batch of states (B, layers, hidden) while on the device; what it returns is kept.
    done
        Called with the places of sequences and their rows, on the CPU, as soon as there are any, in any order.

    Returns
    -------
    list of torch.Tensor
        For each sequence its row of what `reduce` returned, on the CPU.
    """
    results: list[torch.Tensor] = [torch.empty(0)] * len(encoded)

    def keep(members: Sequence[int], states: torch.Tensor) -> None:
        rows = reduce(states).cpu()
        for member, row in zip(members, rows, strict=True):
            results[member] = row
        done(members, rows)

    groups = group_by_prefix(encoded) if share_prefix else []
    if not _may_share(backbone, groups):
        groups = []
    with reading(backbone, layers) as read:
        for members, states in _run_all(backbone, encoded, groups, batch_tokens, read):
            keep(members, states)
    return results


def _run_all(
    backbone: Backbone,
    encoded: Sequence[Encoded],
    groups: Sequence[PrefixGroup],
    batch_tokens: int,
    read: Read,
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Run groups in the fastest way that the model takes, others whole; yields members and their last states."""
    shared = [group for group in groups if len(group.members) > 1]
    covered = {member for group in shared for member in group.members}
    alone = [index for index in range(len(encoded)) if index not in covered]
    for batch in length_sorted_batches([len(encoded[index]) for index in alone], batch_tokens):
        members = [alone[index] for index in batch]
        chosen = [encoded[index] for index in members]
        yield members, read(whole_inputs(backbone, chosen), [len(one) for one in chosen], use_cache=False)
    if shared and prefix_attention.is_available(backbone):
        try:
            for group in shared:
                yield from _attend_group(backbone, encoded, group, batch_tokens, read)
                covered -= set(group.members)
        except prefix_attention.PrefixNotReached:
            logger.debug("%s does not take a shared prefix; its cache is expanded instead", backbone)
    rest = [group for group in shared if covered.issuperset(group.members)]
    for batch in length_sorted_batches([group.prefix for group in rest], batch_tokens):
        yield from _expand_groups(backbone, encoded, [rest[index] for index in batch], batch_tokens, read)


def _run_prefixes(
    backbone: Backbone, encoded: Sequence[Encoded], groups: Sequence[PrefixGroup]
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Run the prefixes of groups as one batch.

    Returns
    -------
    mask : torch.Tensor
        Which positions are real, shape (groups, longest prefix).
    layers : list of tuple
        Keys and values of each layer that is run, shape (groups, key heads, longest prefix, d).
    """
    inputs = pieces_inputs(backbone, [Piece(encoded[group.members[0]], 0, group.prefix) for group in groups])
    cache = DynamicCache(config=backbone.hf.config)
    backbone.inner(**inputs, past_key_values=cache, use_cache=True)
    # Above the highest layer that is read nothing was run.
    run = [layer for layer in cache.layers if layer.is_initialized]
    return inputs["attention_mask"], [(layer.keys, layer.values) for layer in run]


def _branches(encoded: Sequence[Encoded], group: PrefixGroup) -> list[Piece]:
    return [Piece(encoded[member], group.prefix, len(encoded[member])) for member in group.members]


def _attend_group(
    backbone: Backbone, encoded: Sequence[Encoded], group: PrefixGroup, batch_tokens: int, read: Read
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Run one group, its branches reading one copy of the prefix; yields members and their last states."""
    _, layers = _run_prefixes(backbone, encoded, [group])
    branches = _branches(encoded, group)
    for batch in length_sorted_batches([len(branch) for branch in branches], batch_tokens):
        chosen = [branches[index] for index in batch]
        with prefix_attention.attending_to(backbone, layers) as attention:
            states = read(pieces_inputs(backbone, chosen), [len(one) for one in chosen], **attention)
        yield [group.members[index] for index in batch], states


def _expand_groups(
    backbone: Backbone,
    encoded: Sequence[Encoded],
    groups: Sequence[PrefixGroup],
    batch_tokens: int,
    read: Read,
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Run several groups, the cache of a prefix repeated for its branches; yields members and their last states."""
    mask, layers = _run_prefixes(backbone, encoded, groups)
    members = [member for group in groups for member in group.members]
    branches = [branch for group in groups for branch in _branches(encoded, group)]
    owner = torch.repeat_interleave(
        torch.arange(len(groups)), torch.tensor([len(group.members) for group in groups])
    ).to(mask.device)
    weights = [mask.shape[1] + len(branch) for branch in branches]
    for batch in length_sorted_batches(weights, batch_tokens):
        rows = owner[torch.tensor(batch, device=owner.device)]
        chosen = [branches[index] for index in batch]
        inputs = pieces_inputs(backbone, chosen)
        inputs["attention_mask"] = torch.cat([mask[rows], inputs["attention_mask"]], dim=1)
        cache = DynamicCache(config=backbone.hf.config)
        for number, (keys, values) in enumerate(layers):
            cache.update(keys[rows], values[rows], number)
        states = read(inputs, [len(one) for one in chosen], past_key_values=cache, use_cache=True)
        yield [members[index] for index in batch], states
