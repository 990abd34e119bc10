"""Parameters and arguments, and checks of them: each error names one, what was got and what would be right."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Self

import narwhals as nw
import numpy as np
import polars as pl

from mmsrarec.errors import InputError

__all__ = [
    "HasParameters",
    "as_list",
    "check_choice",
    "check_flag",
    "check_integer",
    "check_weights",
    "to_kind",
]


class HasParameters:
    """What scikit-learn expects of an object whose constructor stores its parameters as they are given."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters as given to the constructor.

        Parameters
        ----------
        deep
            Taken for scikit-learn's sake; there are no nested parameters.
        """
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> Self:
        """Change parameters; takes effect with the next ``fit``.

        Raises
        ------
        InputError
            If a name is not a parameter.
        """
        known = self.get_params()
        for name, value in parameters.items():
            if name not in known:
                raise InputError(f"{name!r} is not a parameter; there are {sorted(known)}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value is not defaults[name].default and value != defaults[name].default
        ]
        return f"Recommender({', '.join(changed)})"


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
