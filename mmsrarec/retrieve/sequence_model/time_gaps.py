"""What time tells: how long ago the event before came, and how long after an event the next one is asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmsrarec.data import Histories

__all__ = ["EDGES", "TimeGaps", "gap_edges", "gap_numbers", "some_unknown"]

BUCKETS = 12
EDGES = "time_gaps.edges"
"""Name of the buckets' edges among a network's weights."""
UNKNOWN = 0
_SHORTEST_QUANTILE = 0.05
# Of windows without any time, and of single gaps ahead: people are also asked about without times, or without now.
_UNKNOWN_SHARE = 0.1


class TimeGaps(nn.Module):
    """Two vectors an event: one for the time since the event before, one for the time until the next item is asked for.

    Within a history the latter is the time until the event that followed, at its end the time until now. Both are
    looked up by the number of a bucket (:func:`gap_numbers`), and zero before training.

    Parameters
    ----------
    dimension
        Width of item embeddings.
    edges
        float64 (11,), between buckets, from :func:`gap_edges`.
    """

    edges: Tensor

    def __init__(self, dimension: int, edges: Tensor) -> None:
        super().__init__()
        self.register_buffer("edges", edges)
        self.behind = nn.Embedding(BUCKETS + 1, dimension)
        self.ahead = nn.Embedding(BUCKETS + 1, dimension)
        nn.init.zeros_(self.behind.weight)
        nn.init.zeros_(self.ahead.weight)

    def forward(self, numbers: Tensor) -> Tensor:
        """Map int64 (2, …) from :func:`gap_numbers` to vectors, (…, dimension)."""
        return self.behind(numbers[0]) + self.ahead(numbers[1])


def gap_edges(histories: Histories) -> Tensor | None:
    """Divide the gaps of training users into buckets, evenly by their logarithm, whatever the unit of time.

    Returns
    -------
    torch.Tensor or None
        float64 (11,), rising; ``None`` where times tell nothing: unknown, or all gaps alike, as of positions.

    Examples
    --------
    >>> days = Histories(np.array([0, 3]), np.array([4, 5, 6], np.int32), np.array([0, 1, 1025]))
    >>> edges = gap_edges(days)
    >>> len(edges), round(edges[0].item()), round(edges[-1].item())
    (11, 52, 1024)
    >>> gap_edges(Histories(np.array([0, 3]), np.array([4, 5, 6], np.int32), np.array([0, 1, 2])))
    """
    behind, _ = _gaps(histories)
    known = behind[behind > 0]
    if not len(known):
        return None
    shortest, longest = np.quantile(known, [_SHORTEST_QUANTILE, 1])
    if shortest == longest:
        return None
    return torch.from_numpy(np.geomspace(shortest, longest, BUCKETS - 1))


def gap_numbers(histories: Histories, edges: Tensor) -> npt.NDArray[np.int8]:
    """Number the buckets of the gaps behind and ahead of every event.

    Returns
    -------
    numpy.ndarray
        int8 (2, events): 0 where a gap is unknown, else 1 to 12; before the previous event counts as at once.
    """
    gaps = np.stack(_gaps(histories))
    numbers = 1 + np.searchsorted(edges.cpu().numpy(), gaps, side="right")
    return np.where(np.isnan(gaps), UNKNOWN, numbers).astype(np.int8)


def some_unknown(numbers: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Hide the gaps of a tenth of the windows, and a tenth of the gaps ahead; (2, windows, length)."""
    behind, ahead = numbers
    of_window = generator.random(len(behind))[:, None] < _UNKNOWN_SHARE
    single = generator.random(ahead.shape) < _UNKNOWN_SHARE
    return np.stack([np.where(of_window, UNKNOWN, behind), np.where(of_window | single, UNKNOWN, ahead)])


def _gaps(histories: Histories) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the gaps behind and ahead of every event, NaN where unknown."""
    times = histories.timestamps.astype(np.float64)
    behind = np.diff(times, prepend=np.nan)
    filled = histories.lengths > 0
    behind[histories.indptr[:-1][filled]] = np.nan
    ahead = np.full(len(times), np.nan)
    ahead[:-1] = behind[1:]
    last = histories.indptr[1:][filled] - 1
    ahead[last] = np.nan if histories.asked_at is None else histories.asked_at[filled] - times[last]
    return behind, ahead
