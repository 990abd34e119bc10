"""The errors mmsrarec raises on purpose; the command line turns each into one line and exit code 2.

Every message says what was got, what is allowed, and what to do.
"""

from __future__ import annotations

__all__ = ["InputError", "MissingDependencyError", "MmsrarecError", "StoredFileError"]


class MmsrarecError(Exception):
    """Base of all errors raised on purpose."""


class InputError(MmsrarecError, ValueError):
    """An argument or an input row is not usable; the message names it, the value and the remedy."""


class StoredFileError(MmsrarecError):
    """A stored file or folder is missing, damaged, foreign, or written by a newer format."""


class MissingDependencyError(MmsrarecError, ImportError):
    """A package of an extra is not installed; the message is the command to type."""
