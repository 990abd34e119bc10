"""The training loop: softmax over items at every position, early stopping, a checkpoint after each epoch.

All randomness of an epoch is derived from the seed and the epoch's number, so a run that was killed and goes on
from its checkpoint ends with the weights of an undisturbed one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsrarec.data import Histories
from mmsrarec.progress import Ticker, logger, ticker
from mmsrarec.retrieve.sequence_model.checkpoint import Checkpoint, Progress
from mmsrarec.retrieve.sequence_model.encoding import encode_last
from mmsrarec.retrieve.sequence_model.networks import Network
from mmsrarec.retrieve.sequence_model.validation import Cases
from mmsrarec.retrieve.sequence_model.windows import padded, training_windows

__all__ = ["Plan", "next_item_loss", "settled_embedding", "train", "validation_ndcg"]

NDCG_CUTOFF = 10
_SCORED_AT_ONCE = 256
_RAREST_SHARE = 0.1
_SAME_ITEM = -1e9
_FEWEST_STEPS = 16


@dataclass(frozen=True)
class Plan:
    """How to train; the fields are those of :class:`SequenceModel`, `negatives` already decided."""

    epochs: int
    patience: int
    batch_events: int
    learning_rate: float
    negatives: int | None
    seed: int


def next_item_loss(hidden: Tensor, targets: Tensor, embedding: Tensor, negatives: Tensor | None) -> Tensor:
    """Mean cross-entropy of the next item, over all items or over the target and shared negatives.

    With negatives drawn uniformly, the loss is least where the scores equal log P(item | history) up to a
    constant, as with the full softmax, so no correction for the sampling is due. One draw serves all positions
    of a batch: memory is positions × negatives, never positions × items.

    Parameters
    ----------
    hidden
        float (positions, dimension).
    targets
        int64 (positions,).
    embedding
        float (items, dimension).
    negatives
        int64 (negatives,), or ``None`` for the full softmax. A negative that is a position's own target
        does not count there.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    if negatives is None:
        return F.cross_entropy(hidden @ embedding.T, targets)
    # One lookup, because each one costs a gradient of the whole table.
    rows = F.embedding(torch.cat([targets, negatives]), embedding)
    positive = (hidden * rows[: len(targets)]).sum(dim=-1)  # (positions,)
    scores = hidden @ rows[len(targets) :].T  # (positions, negatives)
    scores = scores.masked_fill(targets[:, None] == negatives, _SAME_ITEM)
    return (torch.logsumexp(torch.cat([positive[:, None], scores], dim=1), dim=1) - positive).mean()


def settled_embedding(embedding: Tensor, counts: npt.NDArray[np.int64]) -> Tensor:
    """Give items never seen in training the mean embedding of the rarest tenth of those seen.

    Parameters
    ----------
    embedding
        float (items, dimension).
    counts
        int64 (items,), events of each item in training.

    Returns
    -------
    torch.Tensor
        A copy, same shape.
    """
    seen = counts > 0
    rarest = seen & (counts <= np.quantile(counts[seen], _RAREST_SHARE))
    settled = embedding.detach().clone()
    settled[torch.from_numpy(~seen)] = settled[torch.from_numpy(rarest)].mean(dim=0)
    return settled


def validation_ndcg(network: Network, counts: npt.NDArray[np.int64], cases: Cases, max_length: int) -> float:
    """Mean NDCG@10 of the positives over all items, those of the history left out; ties share their ranks."""
    device = network.item_embedding.weight.device
    embedding = settled_embedding(network.item_embedding.weight, counts)
    gain = 0.0
    for first in range(0, len(cases), _SCORED_AT_ONCE):
        histories = cases.histories[first : first + _SCORED_AT_ONCE]
        positives = (
            torch.from_numpy(cases.positives[first : first + _SCORED_AT_ONCE]).long().to(device)[:, None]
        )
        hidden = encode_last(network, Histories.from_lists(histories), max_length)
        scores = torch.from_numpy(hidden).to(device) @ embedding.T  # (cases, items)
        wanted = scores.gather(1, positives)
        rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
        scores[torch.from_numpy(rows), torch.from_numpy(np.concatenate(histories)).long()] = -torch.inf
        scores.scatter_(1, positives, wanted)
        rank = (scores > wanted).sum(dim=1) + 0.5 * ((scores == wanted).sum(dim=1) - 1)
        gain += torch.where(rank < NDCG_CUTOFF, 1 / torch.log2(rank + 2), 0.0).sum().item()
    return gain / len(cases)


def train(
    network: Network,
    histories: Histories,
    counts: npt.NDArray[np.int64],
    cases: Cases,
    plan: Plan,
    *,
    max_length: int,
    checkpoint: Checkpoint,
    description: str,
) -> Progress:
    """Train until validation stops getting better; `network` ends with its best weights.

    Parameters
    ----------
    network
        Fresh from ``build_network``.
    histories
        Training events; every event but the first of a user is a target once an epoch.
    counts
        int64 (items,), events of each item in `histories`.
    cases
        Validation. Without cases all epochs are run and the last weights are kept.
    plan
        How to train.
    max_length
        Longest window.
    checkpoint
        Where the state is kept after each epoch.
    description
        Shown with the progress.

    Returns
    -------
    Progress
        Epochs run, the best one, and NDCG@10 after each.
    """
    targets = int(np.maximum(histories.lengths - 1, 0).sum())
    # Small data in large batches would give too few steps an epoch to learn from.
    plan = replace(plan, batch_events=min(plan.batch_events, -(-targets // _FEWEST_STEPS)))
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)
    progress, best = checkpoint.read(network, optimizer)
    with ticker(description, total=(plan.epochs - progress.epochs) * targets) as shown:
        while progress.epochs < plan.epochs and not progress.is_stopped(plan.patience):
            loss = _train_epoch(
                network, optimizer, histories, counts, plan, progress.epochs, max_length, shown
            )
            network.eval()
            ndcg = validation_ndcg(network, counts, cases, max_length) if len(cases) else None
            progress = progress.after_epoch(ndcg)
            logger.info(
                "%s: epoch %d, loss %.4f, validation NDCG@%d %s",
                description, progress.epochs, loss, NDCG_CUTOFF, "none" if ndcg is None else f"{ndcg:.4f}",
            )  # fmt: skip
            if progress.best_epoch == progress.epochs:
                best = {name: value.detach().clone() for name, value in network.state_dict().items()}
            checkpoint.write(network, optimizer, progress, best)
    network.load_state_dict(best)
    network.eval()
    return progress


def _train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    histories: Histories,
    counts: npt.NDArray[np.int64],
    plan: Plan,
    epoch: int,
    max_length: int,
    shown: Ticker,
) -> float:
    device = network.item_embedding.weight.device
    generator = np.random.default_rng([plan.seed, epoch])
    seen = np.flatnonzero(counts)
    windows = training_windows(histories.indptr, max_length, generator)
    network.train()
    total, targets_done = 0.0, 0
    # Dropout draws from torch's global state, which is given back as it was.
    with torch.random.fork_rng():
        torch.manual_seed(int(generator.integers(2**63)))
        for batch in windows.batches(plan.batch_events, generator):
            inputs, filled = padded(histories.items, batch)
            following, _ = padded(histories.items, batch, shift=1)
            targets = torch.from_numpy(following[filled]).to(device)
            negatives = None
            if plan.negatives is not None:
                negatives = torch.from_numpy(generator.choice(seen, plan.negatives)).to(device)
            hidden = network(torch.from_numpy(inputs).to(device))[torch.from_numpy(filled).to(device)]
            loss = next_item_loss(hidden, targets, network.item_embedding.weight, negatives)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
            targets_done += len(targets)
            shown.advance(len(targets), f"epoch {epoch + 1}, loss {total / targets_done:.2f}")
    return total / max(targets_done, 1)
