"""Numeric hot spots, one folder an operation; installed as ``mmsrarec.kernels``.

``reference.py`` of each is its definition, in plain torch; ``cpu.py`` and ``triton.py`` are faster and held to it.
:mod:`mmsrarec.kernels.dispatch` picks by device, or by the environment variable ``MMSRAREC_KERNELS`` (``reference``,
``cpu`` or ``triton``).
"""

from __future__ import annotations

import torch
from mmsrarec.kernels.dispatch import choose
from mmsrarec.kernels.group_reward import GroupReward, group_reward
from mmsrarec.kernels.sequence_nll import sequence_nll

__all__ = ["GroupReward", "backend", "group_reward", "sequence_nll"]


def backend(device: str | torch.device | None = None) -> dict[str, str]:
    """Say which implementation of each operation runs.

    Parameters
    ----------
    device
        Of the tensors; by default the GPU if torch sees one, else the CPU.

    Returns
    -------
    dict
        Name of the operation → ``"reference"``, ``"cpu"`` or ``"triton"``.

    Raises
    ------
    InputError
        If ``MMSRAREC_KERNELS`` asks for something unknown, or for what cannot run there.

    Examples
    --------
    >>> sorted(backend())
    ['group_reward', 'sequence_nll']
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = choose(torch.device(device).type)
    return {"sequence_nll": chosen, "group_reward": chosen}
