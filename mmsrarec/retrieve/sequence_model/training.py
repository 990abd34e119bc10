"""The training loop: softmax over items at every position, a learning rate that falls to zero, averaged weights.

All randomness of an epoch is derived from the seed and the epoch's number, so a run that was killed and goes on
from its checkpoint ends with the weights of an undisturbed one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsrarec.data import Histories
from mmsrarec.progress import Ticker, logger, ticker
from mmsrarec.retrieve.sequence_model.checkpoint import Checkpoint, Progress
from mmsrarec.retrieve.sequence_model.encoding import encode_last, padded_gaps, read_gaps
from mmsrarec.retrieve.sequence_model.negatives import SharedNegatives
from mmsrarec.retrieve.sequence_model.networks import Network
from mmsrarec.retrieve.sequence_model.time_gaps import some_unknown
from mmsrarec.retrieve.sequence_model.unseen import UnseenItems
from mmsrarec.retrieve.sequence_model.validation import Cases
from mmsrarec.retrieve.sequence_model.windows import Windows, padded, training_windows

__all__ = ["Plan", "next_item_loss", "settled", "train", "validation_ndcg"]

NDCG_CUTOFF = 10
_SCORED_AT_ONCE = 256
_SAME_ITEM = -1e9
_FEWEST_STEPS = 16
_EPOCHS_AVERAGED = 2


@dataclass(frozen=True)
class Plan:
    """How to train; the fields are those of :class:`SequenceModel`, `negatives` already decided."""

    epochs: int
    patience: int
    batch_events: int
    learning_rate: float
    negatives: int | None
    seed: int


def next_item_loss(
    hidden: Tensor, positives: Tensor, negatives: Tensor, same: Tensor, log_expected: Tensor
) -> Tensor:
    """Mean cross-entropy of the next item, the sum over all items estimated from negatives that all positions share.

    Each negative stands for as many items as it was unlikely to be drawn, the next item for itself alone. One draw
    serves all positions of a batch: memory is positions × negatives, never positions × items.

    Parameters
    ----------
    hidden
        float (positions, dimension).
    positives
        float (positions, dimension), embedding of each position's next item.
    negatives
        float (negatives, dimension).
    same
        bool (positions, negatives), whether a negative is the position's own next item; it does not count there.
    log_expected
        float (negatives,), logarithm of how often each was to be expected among them.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    positive = (hidden * positives).sum(dim=-1)  # (positions,)
    scores = torch.addmm(-log_expected, hidden, negatives.T)  # (positions, negatives)
    scores = scores.masked_fill(same, _SAME_ITEM)
    return (torch.logsumexp(torch.cat([positive[:, None], scores], dim=1), dim=1) - positive).mean()


def settled(network: Network, counts: npt.NDArray[np.int64]) -> Network:
    """Return a copy for use: items without events get their embedding, and content is added in once for all."""
    learned = network.item_embedding
    plain = _copy(network)
    with torch.no_grad():
        rows = learned.table().clone()
        unseen = torch.from_numpy(counts == 0).to(rows.device)
        if unseen.any():
            by_id = UnseenItems.of(learned, counts).id.to(rows.device)
            rows[unseen] += by_id - learned.weight[unseen]
        plain.item_embedding.replace(rows)
    return plain.eval()


def validation_ndcg(network: Network, cases: Cases, max_length: int) -> float:
    """Mean NDCG@10 of the positives over all items, those of the history left out; ties share their ranks.

    Parameters
    ----------
    network
        From :func:`settled`.
    cases
        One or more.
    max_length
        Longest window.
    """
    embedding = network.item_embedding.weight.detach()
    gain = 0.0
    for first in range(0, len(cases), _SCORED_AT_ONCE):
        histories = cases.histories[first : first + _SCORED_AT_ONCE]
        positives = torch.from_numpy(cases.positives[first : first + _SCORED_AT_ONCE]).long()
        positives = positives.to(embedding.device)[:, None]
        hidden = encode_last(network, histories, max_length)
        scores = torch.from_numpy(hidden).to(embedding.device) @ embedding.T  # (cases, items)
        wanted = scores.gather(1, positives)
        rows = np.repeat(np.arange(len(histories)), histories.lengths)
        scores[torch.from_numpy(rows), torch.from_numpy(histories.items).long()] = -torch.inf
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
    """Train until validation stops getting better; `network` ends with the best averaged weights.

    The learning rate falls linearly to zero over all epochs. Validated and kept is an exponential average of the
    weights over about the last two epochs: it ranks better than the weights themselves at every epoch.

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
    average = _copy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)
    progress, best = checkpoint.read(network, average, optimizer)
    gaps = read_gaps(network, histories)
    negatives = SharedNegatives.of(counts)
    run = _Run(network, average, optimizer, histories, gaps, negatives, plan, max_length)
    with ticker(description, total=(plan.epochs - progress.epochs) * targets) as shown:
        while progress.epochs < plan.epochs and not progress.is_stopped(plan.patience):
            loss = run.epoch(progress.epochs, shown)
            ndcg = validation_ndcg(settled(average, counts), cases, max_length) if len(cases) else None
            progress = progress.after_epoch(ndcg)
            logger.info(
                "%s: epoch %d, loss %.4f, validation NDCG@%d %s",
                description, progress.epochs, loss, NDCG_CUTOFF, "none" if ndcg is None else f"{ndcg:.4f}",
            )  # fmt: skip
            if progress.best_epoch == progress.epochs:
                best = {name: value.detach().clone() for name, value in average.state_dict().items()}
            checkpoint.write(network, average, optimizer, progress, best)
    network.load_state_dict(best)
    network.eval()
    return progress


@dataclass(frozen=True)
class _Run:
    """What stays the same from epoch to epoch.

    `gaps` are what :func:`read_gaps` gives.
    """

    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    histories: Histories
    gaps: npt.NDArray[np.int8] | None
    negatives: SharedNegatives
    plan: Plan
    max_length: int

    def epoch(self, number: int, shown: Ticker) -> float:
        """Pass over the data once; return the mean loss of a target."""
        generator = np.random.default_rng([self.plan.seed, number])
        windows = training_windows(self.histories.indptr, self.max_length, generator)
        batches = windows.batches(self.plan.batch_events, generator)
        self.network.train()
        total, done = 0.0, 0
        # Dropout draws from torch's global state, which is given back as it was.
        with torch.random.fork_rng():
            torch.manual_seed(int(generator.integers(2**63)))
            for step, batch in enumerate(batches):
                passed = (number + step / len(batches)) / self.plan.epochs
                for group in self.optimizer.param_groups:
                    group["lr"] = self.plan.learning_rate * (1 - passed)
                loss, targets = self._loss(batch, generator)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                self._follow(number * len(batches) + step, _EPOCHS_AVERAGED * len(batches))
                total += loss.item() * targets
                done += targets
                shown.advance(targets, f"epoch {number + 1}, loss {total / done:.2f}")
        return total / max(done, 1)

    def _loss(self, batch: Windows, generator: np.random.Generator) -> tuple[Tensor, int]:
        """Return the mean loss of a batch and its number of targets."""
        embedding = self.network.item_embedding
        device = embedding.weight.device
        inputs, filled = padded(self.histories.items, batch)
        following, _ = padded(self.histories.items, batch, shift=1)
        items, targets = torch.from_numpy(inputs).to(device), torch.from_numpy(following[filled]).to(device)
        positions = torch.from_numpy(filled).to(device)
        numbers = None
        if self.gaps is not None:
            numbers = torch.from_numpy(some_unknown(padded_gaps(self.gaps, batch), generator)).to(device)
        if self.plan.negatives is None:
            hidden = self.network(embedding(items), numbers)[positions]
            return F.cross_entropy(hidden @ embedding.table().T, targets), len(targets)
        drawn, log_expected = (
            torch.from_numpy(array).to(device)
            for array in self.negatives.draw(self.plan.negatives, generator)
        )
        # One lookup, because each one costs a gradient of the whole table.
        rows = embedding(torch.cat([items.ravel(), targets, drawn]))
        embedded, positive, negative = rows.split([items.numel(), len(targets), len(drawn)])
        hidden = self.network(embedded.view(*items.shape, -1), numbers)[positions]
        same = targets[:, None] == drawn
        return next_item_loss(hidden, positive, negative, same, log_expected), len(targets)

    @torch.no_grad()
    def _follow(self, step: int, horizon: int) -> None:
        """Move the average towards the weights; over the first steps it is nearly their plain mean."""
        share = max(1 / horizon, 9 / (10 + step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), share)


def _copy(network: Network) -> Network:
    """Copy weights but not the content, which never changes and may be large."""
    content = network.item_embedding.content
    return copy.deepcopy(network, {} if content is None else {id(content): content})
