"""Arguments of the compiled structures, checked and converted at the border.

Values that C++ looks at anyway (ranges of ids, weights) are checked there; here is what only Python can see.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmsrarec.errors import InputError

__all__ = ["dense_array", "whole_number"]

Number = TypeVar("Number", np.int64, np.int32, np.float32)


def dense_array(name: str, values: ArrayLike, dtype: type[Number]) -> NDArray[Number]:
    """Convert to one contiguous dimension of `dtype`, or say what is wrong with `values`.

    Parameters
    ----------
    name
        Of the argument, for the message.
    values
        What was given.
    dtype
        ``numpy.int64``, ``numpy.int32`` or ``numpy.float32``.

    Returns
    -------
    numpy.ndarray
        Shape (n,); `values` itself where it fits as it is.

    Raises
    ------
    InputError
        If there is another number of dimensions, another kind of number, or an id that is negative or beyond
        `dtype`.

    Examples
    --------
    >>> dense_array("keywords", [3, 1], np.int32)
    array([3, 1], dtype=int32)
    """
    array = np.asarray(values)
    if array.ndim == 1 and array.dtype == dtype and array.flags.c_contiguous:
        return array
    if array.ndim != 1:
        raise InputError(f"{name} must have one dimension, got shape {array.shape}.")
    integers = np.issubdtype(dtype, np.integer)
    if array.size and array.dtype.kind not in ("iu" if integers else "iuf"):
        kind = "integers" if integers else "numbers"
        raise InputError(f"{name} must hold {kind}, got {array.dtype}; convert it first.")
    if integers and array.size and not np.can_cast(array.dtype, dtype):
        largest = np.iinfo(dtype.__name__).max
        outside = (array < 0) | (array > largest)
        if outside.any():
            position = int(np.argmax(outside))
            raise InputError(f"{name}[{position}] must lie in 0..{largest}, got {array[position]}.")
    with np.errstate(over="ignore"):  # a weight beyond float32 becomes infinite, which is refused by name
        return np.ascontiguousarray(array, dtype)


def whole_number(name: str, value: int) -> int:
    """Return `value` as an int of 0 or more that fits 64 bits.

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> whole_number("k", np.int32(5))
    5
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**63:
        raise InputError(f"{name} must be an integer of 0 or more, got {value!r}.")
    return int(value)
