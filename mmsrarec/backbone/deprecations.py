"""Warnings of one library to another, which are nothing that a user can act on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["old_names_allowed"]


@contextmanager
def old_names_allowed() -> Iterator[None]:
    """Keep still about names that PEFT and TRL still use where transformers has new ones.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     with old_names_allowed():
    ...         warnings.warn("`gradient_checkpointing` is deprecated", FutureWarning)
    ...         warnings.warn("something else is, too", FutureWarning)
    >>> [str(warning.message) for warning in seen]
    ['something else is, too']
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing`", FutureWarning)
        yield
