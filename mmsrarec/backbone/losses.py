"""What supervised fine-tuning minimizes: the NLL of written answers, and the order of compared prompts.

Stands between the batches of ``packing`` and the trainer in ``supervised``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import softplus

from mmsrarec.backbone.first_token import answer_log_odds
from mmsrarec.backbone.packing import Layout, TrainingRow, lay_out
from mmsrarec.kernels import sequence_nll

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["comparison_loss", "example_loss"]


def example_loss(
    backbone: Backbone, model: torch.nn.Module, rows: Sequence[TrainingRow]
) -> tuple[torch.Tensor, Any]:
    """Compute the mean loss over examples.

    For one with an answer it is the NLL of the answer, summed over its tokens (MMSRARec, stage 3), by
    ``kernels.sequence_nll`` on the hidden states of answer tokens alone, so logits of a whole prompt never exist. For
    prompts that are compared it is :func:`comparison_loss`.

    Parameters
    ----------
    backbone
        Holds the model.
    model
        What is called: the model itself, or what a trainer wrapped around it.
    rows
        Examples.

    Returns
    -------
    loss : torch.Tensor
        A scalar.
    outputs
        What the model returned.
    """
    layout = lay_out(backbone, rows)
    # The model's own forward is called, not its inside, and once, so that a distributed wrapper sees the call.
    outputs = model(**layout.inputs, use_cache=False, output_hidden_states=True, logits_to_keep=1)
    hidden = outputs.hidden_states[-1]  # (batch, tokens, hidden)
    losses = []
    written = [number for number, row in enumerate(rows) if row.right is None]
    if written:
        losses.append(_answers_nll(backbone, hidden, layout, rows, written))
    for row, places in zip(rows, layout.places, strict=True):
        if row.right is not None:
            ends = [
                (batch, shift + len(member) - 1)
                for (batch, shift), member in zip(places, row.members, strict=True)
            ]
            batch, column = (torch.tensor(one, device=hidden.device) for one in zip(*ends, strict=True))
            log_odds = answer_log_odds(backbone)(hidden[batch, column])  # (members,)
            losses.append(comparison_loss(log_odds, row.right).unsqueeze(0))
    return torch.cat(losses).mean(), outputs


def comparison_loss(log_odds: torch.Tensor, right: int) -> torch.Tensor:
    r"""Compute how badly candidates of one user are ordered, and how wrong each probability is.

    With :math:`s_c = \log p_c(yes) - \log p_c(no)`, the score that ranking sorts by, and the right candidate r,

    .. math:: -\log \frac{e^{s_r}}{\sum_c e^{s_c}}
       - \tfrac12 \log p_r(yes) - \tfrac12 \operatorname{mean}_{c \ne r} \log p_c(no).

    The first term is the listwise loss of ListNet for one relevant item (Cao et al. 2007); it says nothing of the level
    of p, which the other two hold, both answers weighing the same.

    Parameters
    ----------
    log_odds
        Shape (..., candidates), two candidates or more.
    right
        Position of the right candidate.

    Returns
    -------
    torch.Tensor
        Shape (...,), one loss for each user.

    Examples
    --------
    >>> round(float(comparison_loss(torch.zeros(4), 0)), 4)  # log 4 + log 2
    2.0794
    """
    order = -log_odds.log_softmax(-1)[..., right]
    wrong = torch.arange(log_odds.shape[-1], device=log_odds.device) != right
    return order + 0.5 * softplus(-log_odds[..., right]) + 0.5 * softplus(log_odds[..., wrong]).mean(-1)


def _answers_nll(
    backbone: Backbone,
    hidden: torch.Tensor,
    layout: Layout,
    rows: Sequence[TrainingRow],
    written: Sequence[int],
) -> torch.Tensor:
    """Return the summed NLL of each written answer."""
    batch, column, targets, offsets = [], [], [], [0]
    for number in written:
        [member], [(place, shift)] = rows[number].members, layout.places[number]
        answer = member.input_ids[member.answer_start :]
        targets.append(answer)
        batch.append(torch.full((len(answer),), place))
        # The state at position t - 1 predicts the token at t.
        column.append(torch.arange(member.answer_start - 1, len(member) - 1) + shift)
        offsets.append(offsets[-1] + len(answer))
    head = backbone.output_head()
    # Mixed precision hands out float32 whatever the weights are.
    states = head.scaled(hidden[torch.cat(batch), torch.cat(column)]).to(
        head.weight.dtype
    )  # (tokens, hidden)
    return sequence_nll(
        states,
        head.weight,
        torch.cat(targets).to(hidden.device),
        torch.tensor(offsets, device=hidden.device),
        reduction="sum",
        softcap=head.softcap,
    )
