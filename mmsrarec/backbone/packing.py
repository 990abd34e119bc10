"""Training rows as batches: prompts that begin alike in one sequence, their common beginning once.

Stands between encoded prompts and the losses. ``shared_prefix`` does the same for scoring with a cache; here a
mask does it, so that gradients of all branches meet in the beginning that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from mmsrarec.backbone.forward import Piece, joined_inputs, whole_inputs
from mmsrarec.backbone.prompt import Encoded
from mmsrarec.backbone.shared_prefix import common_prefix, why_not_shared

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["Layout", "TrainingRow", "lay_out"]


@dataclass(frozen=True, eq=False)
class TrainingRow:
    """One example as token ids.

    Parameters
    ----------
    members
        One prompt with its answer; or several prompts without, which are compared.
    right
        Position of the prompt that deserves a yes among those that are compared; ``None`` for a single one.
    """

    members: tuple[Encoded, ...]
    right: int | None = None

    @cached_property
    def prefix(self) -> int:
        """Number of leading tokens that all members have in common; 0 for a single one."""
        first, *others = self.members
        return min((common_prefix(first, other) for other in others), default=0)

    def __len__(self) -> int:
        return sum(map(len, self.members)) - self.prefix * (len(self.members) - 1)

    @cached_property
    def pieces(self) -> list[Piece]:
        """The common beginning, and what each member adds to it."""
        own = [Piece(member, self.prefix, len(member)) for member in self.members]
        return [Piece(self.members[0], 0, self.prefix), *own]


@dataclass(frozen=True, eq=False)
class Layout:
    """A batch for the model, and where the members of its rows lie in it.

    Parameters
    ----------
    inputs
        Arguments of the model.
    places
        For each row, for each member, the batch row and what is added to a position of the member to get its column;
        holds for positions that the member has for itself alone.
    """

    inputs: dict[str, torch.Tensor]
    places: list[list[tuple[int, int]]]


def lay_out(backbone: Backbone, rows: Sequence[TrainingRow]) -> Layout:
    """Make one batch of training rows.

    Members of a row follow their common beginning in one sequence, each with the positions it would have alone, and a
    mask hides them from each other: hidden states and gradients are those of running each alone. Models whose attention
    takes no such mask, and batches that have nothing to share, are laid out as one batch row a member.

    Parameters
    ----------
    backbone
        The model.
    rows
        At least one.

    Returns
    -------
    Layout
        The same members in the same order.
    """
    if all(len(row.members) == 1 for row in rows) or not _takes_masks(backbone):
        members = [member for row in rows for member in row.members]
        numbers = iter(range(len(members)))
        return Layout(
            whole_inputs(backbone, members), [[(next(numbers), 0) for _ in row.members] for row in rows]
        )
    places = []
    for number, row in enumerate(rows):
        _, *starts = accumulate(map(len, row.pieces[:-1]), initial=0)
        places.append([(number, start - row.prefix) for start in starts])
    return Layout(_packed_inputs(backbone, rows), places)


def _takes_masks(backbone: Backbone) -> bool:
    return backbone.hf.config._attn_implementation in ("sdpa", "eager") and why_not_shared(backbone) is None


def _packed_inputs(backbone: Backbone, rows: Sequence[TrainingRow]) -> dict[str, torch.Tensor]:
    longest = max(map(len, rows))
    mask = torch.full((len(rows), 1, longest, longest), torch.finfo(backbone.dtype).min, dtype=backbone.dtype)
    for number, row in enumerate(rows):
        mask[number, 0].masked_fill_(_visible(row, longest), 0.0)
    return joined_inputs(backbone, [row.pieces for row in rows], mask)


def _visible(row: TrainingRow, longest: int) -> torch.Tensor:
    """Say what each position attends to: the common beginning and its own member, up to itself; bool (T, T)."""
    # The last number is padding's, which attends to itself: a softmax over nothing is not a number.
    lengths = [*map(len, row.pieces), longest - len(row)]
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return (owner[:, None].eq(owner) | owner.eq(0)).tril()
