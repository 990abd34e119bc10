"""Checks of the public arguments: each error names the argument, what was got and what would be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from mmsrarec.errors import InputError

__all__ = ["as_list", "check_choice", "check_flag", "check_integer", "check_weights", "to_kind"]


def check_integer(name: str, value: Any, lowest: int) -> None:
    """Raise unless `value` is a whole number of at least `lowest`.

    Examples
    --------
    >>> check_integer("similar_users", -1, 0)
    Traceback (most recent call last):
    ...
    mmsrarec.errors.InputError: similar_users must be a whole number of 0 or more, got -1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < lowest:
        raise InputError(f"{name} must be a whole number of {lowest} or more, got {value!r}.")


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise unless `value` is one of the allowed names."""
    if value not in allowed:
        raise InputError(f"{name} must be one of {list(allowed)}, got {value!r}.")


def check_flag(name: str, value: Any) -> None:
    """Raise unless `value` is true or false."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be True or False, got {value!r}.")


def check_weights(name: str, value: Any, count: int) -> None:
    """Raise unless `value` is `count` finite numbers."""
    try:
        fine = len(value) == count and bool(np.isfinite(np.asarray(value, float)).all())
    except (TypeError, ValueError):
        fine = False
    if not fine:
        raise InputError(f"{name} must be {count} finite numbers, got {value!r}.")


def as_list(name: str, value: Any) -> list[Any]:
    """Return ids or rows as a list; one string is a mistake, not a sequence of letters.

    Raises
    ------
    InputError
        If `value` is a string or cannot be iterated.
    """
    if isinstance(value, str | bytes):
        raise InputError(f"{name} must be a list, got the string {value!r}; write [{value!r}].")
    try:
        return (
            value.to_list()
            if hasattr(value, "to_list")
            else list(value.tolist() if isinstance(value, np.ndarray) else value)
        )
    except TypeError:
        raise InputError(f"{name} must be a list, got {value!r}; write [{value!r}].") from None


def to_kind(frame: pl.DataFrame, kind: str) -> Any:
    """Return a frame as the kind that came in: ``"polars"``, ``"pandas"`` or ``"pyarrow"``.

    Examples
    --------
    >>> type(to_kind(pl.DataFrame({"a": [1]}), "pyarrow")).__name__
    'Table'
    """
    if kind == "pandas":
        return nw.from_native(frame).to_pandas()
    return nw.from_native(frame).to_arrow() if kind == "pyarrow" else frame
