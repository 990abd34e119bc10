"""Numeric hot spots, one folder an operation; installed as ``mmsrarec.kernels``.

``reference.py`` of each is its definition, in plain torch; the package's ``__init__.py`` has the signature and picks
what runs.
"""

from __future__ import annotations

from mmsrarec.kernels.group_reward import GroupReward, group_reward
from mmsrarec.kernels.sequence_nll import sequence_nll

__all__ = ["GroupReward", "backend", "group_reward", "sequence_nll"]


def backend() -> dict[str, str]:
    """Say which implementation of each operation runs here.

    Returns
    -------
    dict
        Name of the operation → name of the module in its folder.

    Examples
    --------
    >>> sorted(backend())
    ['group_reward', 'sequence_nll']
    """
    return {"sequence_nll": "reference", "group_reward": "reference"}
