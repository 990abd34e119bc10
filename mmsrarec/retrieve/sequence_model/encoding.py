"""Runs a trained network over histories: the last hidden state of each, or that of every event."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from mmsrarec.data import Histories
from mmsrarec.retrieve.sequence_model.networks import Network
from mmsrarec.retrieve.sequence_model.time_gaps import gap_numbers
from mmsrarec.retrieve.sequence_model.windows import Windows, padded, position_windows

__all__ = ["encode_last", "encode_positions", "padded_gaps", "read_gaps"]

# Positions in one forward pass: large enough to keep the cores busy, small enough to stay in cache.
_EVENTS_AT_ONCE = 4096


def encode_last(network: Network, histories: Histories, max_length: int) -> npt.NDArray[np.float32]:
    """Encode each history by its last position.

    Parameters
    ----------
    network
        In evaluation mode.
    histories
        Of these, the last `max_length` events are read, with their times where the network reads them.
    max_length
        Longest window.

    Returns
    -------
    numpy.ndarray
        float32 (users, dimension); zeros for an empty history.
    """
    users = np.flatnonzero(histories.lengths)
    length = np.minimum(histories.lengths[users], max_length)
    stop = histories.indptr[1:][users]
    windows = Windows(stop - length, length, length - 1)
    encoded = np.zeros((len(histories), network.item_embedding.weight.shape[1]), np.float32)
    by_event = _encode(network, histories, windows, stop - 1)
    encoded[users] = by_event
    return encoded


def encode_positions(network: Network, histories: Histories, max_length: int) -> npt.NDArray[np.float32]:
    """Encode every event by the history that ends with it; see ``position_windows`` for long histories.

    Returns
    -------
    numpy.ndarray
        float32 (events, dimension), aligned with ``histories.items``.
    """
    windows = position_windows(histories.indptr, max_length)
    return _encode(network, histories, windows, np.arange(len(histories.items)))


def read_gaps(network: Network, histories: Histories) -> npt.NDArray[np.int8] | None:
    """Number the time gaps of all events, int8 (2, events); ``None`` for a network that reads none."""
    if network.time_gaps is None:
        return None
    return gap_numbers(histories, network.time_gaps.edges)


def padded_gaps(gaps: npt.NDArray[np.int8], windows: Windows) -> npt.NDArray[np.int64]:
    """Lay gap numbers out as :func:`padded` does items, int64 (2, windows, longest)."""
    return np.stack([padded(numbers, windows)[0] for numbers in gaps])


@torch.inference_mode()
def _encode(
    network: Network, histories: Histories, windows: Windows, events: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the hidden states of the kept positions of `windows`, ordered as the ascending `events`."""
    device = network.item_embedding.weight.device
    gaps = read_gaps(network, histories)
    encoded = np.empty((len(events), network.item_embedding.weight.shape[1]), np.float32)
    for batch in windows.batches(_EVENTS_AT_ONCE):
        inputs, filled = padded(histories.items, batch)
        kept = filled & (np.arange(inputs.shape[1]) >= batch.kept_from[:, None])
        embedded = network.item_embedding(torch.from_numpy(inputs).to(device))
        numbers = None if gaps is None else torch.from_numpy(padded_gaps(gaps, batch)).to(device)
        hidden = network(embedded, numbers)[torch.from_numpy(kept).to(device)]
        places = (batch.start[:, None] + np.arange(inputs.shape[1]))[kept]
        encoded[np.searchsorted(events, places)] = hidden.cpu().numpy()
    return encoded
