"""Whether a process is still there: a locked file that the kernel unlocks when its owner ends, however it ends.

Stands under the claims of the keyword table, which belong to processes. A number of a process would be given to another
one day, and a time limit would make the living wait for the dead.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

__all__ = ["Liveness", "is_alive"]


class Liveness:
    """A mark of this object's life, beside a file that several processes work on.

    Parameters
    ----------
    beside
        The file; ``None`` makes a mark that nobody else can see.

    Attributes
    ----------
    name
        The mark: what :func:`is_alive` is asked about.
    """

    def __init__(self, beside: Path | None) -> None:
        self.name = uuid.uuid4().hex
        self._path: Path | None = None
        if beside is not None:
            self._path = _mark(beside, self.name)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def end(self) -> None:
        """Take the mark away."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._path = None


def is_alive(beside: Path, name: str) -> bool:
    """Whether the owner of a mark still lives; the mark of a dead one is removed.

    Parameters
    ----------
    beside
        The file that both work on.
    name
        :attr:`Liveness.name` of the other.
    """
    path = _mark(beside, name)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    path.unlink(missing_ok=True)
    return False


def _mark(beside: Path, name: str) -> Path:
    return beside.with_name(f"{beside.name}.worker-{name}")
