"""What the values of a column mean: ids, times, ratings, texts, categories.

Each function takes one raw column of a :class:`~mmsrarec.data.tables.Table` and gives a clean one plus, where
rows can be bad, the reason for each row (null where it is fine).
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mmsrarec.data.bad_rows import add_reason, no_problems, reason_codes
from mmsrarec.errors import InputError

__all__ = ["read_categories", "read_ids", "read_moments", "read_ratings", "read_text", "read_timestamps"]

MIXED = "mixed id types"
_INTEGER = r"^(0|-?[1-9]\d{0,17})$"
_EXACT_FLOAT = float(2**53)
_MISSING_WORDS = ("", "nan", "null", "none", "na", "nat")
_DAY_SECONDS = 86_400.0
# Units of time by size of the typical value: seconds until the year 5138, then milli-, micro-, nanoseconds.
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (-math.inf, 1.0))

Read = tuple[pl.Series, pl.Series]


def read_ids(column: pl.Series, name: str, *, is_text: bool, like: pl.DataType | None = None) -> Read:
    """Read ids, integers or strings.

    Parameters
    ----------
    column
        Raw values.
    name
        ``"user_id"`` or ``"item_id"``.
    is_text
        The column comes from a text file: if all values are whole numbers, the ids are integers.
    like
        The type that the ids must have because another table fixed it.

    Returns
    -------
    ids : polars.Series
        An integer dtype or String; null where there is a problem.
    problems : polars.Series
        UInt8: the code of the reason, or null.

    Raises
    ------
    InputError
        If the column holds neither integers nor strings, or the other kind than `like`.
    """
    missing = f"missing {name}"
    if column.dtype == pl.Object:
        return _ids_from_objects(column, missing, like)
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.Null:
        column = column.cast(like or pl.String)
    if column.dtype.is_float():
        return _ids_from_floats(column, name, missing, like)
    if column.dtype == pl.String:
        column = column.set(column == "", None)
        empty = column.is_null()
        wants_integer = like.is_integer() if like is not None else bool(column.str.contains(_INTEGER).all())
        if is_text and wants_integer and not empty.all():
            column = column.cast(pl.Int64, strict=False)
        problems = _reasons(empty, missing)
        # With a catalogue of integers, text that is no integer names no item of it.
        problems = add_reason(problems, column.is_null(), "unknown item")
    elif column.dtype.is_integer():
        problems = _reasons(column.is_null(), missing)
    else:
        raise InputError(f"{name} must hold integers or strings, got {column.dtype}; cast it.")
    if like is not None and like.is_integer() != column.dtype.is_integer() and column.is_not_null().any():
        raise _differs(name, column.dtype, like)
    return column, problems


def _ids_from_floats(column: pl.Series, name: str, missing: str, like: pl.DataType | None) -> Read:
    """Read integers that became floats because some are missing, as pandas does."""
    column = column.fill_nan(None)
    present = column.drop_nulls()
    if not (present.is_finite() & (present == present.round(0)) & (present.abs() <= _EXACT_FLOAT)).all():
        raise InputError(f"{name} must hold integers or strings, got {column.dtype} with fractions; cast it.")
    ids = column.cast(pl.Int64)
    if like is not None and not like.is_integer() and len(present):
        raise _differs(name, column.dtype, like)
    return ids, _reasons(ids.is_null(), missing)


def _ids_from_objects(column: pl.Series, missing: str, like: pl.DataType | None) -> Read:
    """Read a column of mixed Python objects: the kind of `like`, or of most, is kept; the others are bad."""
    values = [_plain_id(value) for value in column.to_list()]
    if like is not None:
        kind: type = int if like.is_integer() else str
    else:
        texts = sum(type(value) is str for value in values)
        kind = str if texts > sum(type(value) is int for value in values) else int
    problems = [missing if value is None else None if type(value) is kind else MIXED for value in values]
    kept = [value if type(value) is kind else None for value in values]
    ids = pl.Series(column.name, kept, dtype=pl.Int64 if kind is int else pl.String)
    return ids, reason_codes(problems)


def _plain_id(value: Any) -> int | str | bytes | None:
    """Give an id as int or str; ``None`` if it is missing; ``b""`` if it can be neither."""
    if _is_missing(value) or (isinstance(value, str) and not value):
        return None
    if isinstance(value, str):
        return _clean_unicode(str(value))
    if isinstance(value, bool | np.bool_):
        return b""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(value, int | np.integer) and -(2**63) <= int(value) < 2**63:
        return int(value)
    return b""


def read_timestamps(column: pl.Series, *, now: float | None = None) -> Read:
    """Read times of events.

    Parameters
    ----------
    column
        Numbers (Unix time in seconds, milli-, micro- or nanoseconds, or positions), dates, datetimes
        (without a zone they are UTC), or text of one of these.
    now
        Unix time in seconds after which, plus one day, an event is in the future. The unit is told by the
        median of the column.

    Returns
    -------
    timestamps : polars.Series
        Int64 if all are whole, else Float64; dates and datetimes become seconds. Null where there is a
        problem.
    problems : polars.Series
        UInt8: the code for a missing, unparseable, negative or future timestamp, or null.

    Raises
    ------
    InputError
        If the dtype cannot hold times.
    """
    if column.dtype == pl.Object:
        column = pl.Series(column.name, [_time_as_text(value) for value in column.to_list()], dtype=pl.String)
    missing = column.is_null()
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        missing = missing | _says_missing(column)
        values = _times_from_text(column)
    elif column.dtype in (pl.Datetime, pl.Date):
        values = _epoch_seconds(column.cast(pl.Datetime("us")))
    elif column.dtype.is_numeric() or column.dtype == pl.Null:
        if column.dtype.is_float():
            missing = missing | column.is_nan().fill_null(True)
        values = column.cast(pl.Int64, strict=False) if column.dtype.is_integer() else column.cast(pl.Float64)
    else:
        raise InputError(f"timestamp must hold numbers, dates or text, got {column.dtype}; cast it.")
    if values.dtype == pl.Float64:
        values = values.set(~values.is_finite().fill_null(False), None)
    limit = _latest(values, time.time() if now is None else now)
    problems = _reasons(missing, "missing timestamp")
    problems = add_reason(problems, values.is_null(), "unparseable timestamp")
    problems = add_reason(problems, (values < 0).fill_null(False), "negative timestamp")
    problems = add_reason(problems, (values > limit).fill_null(False), "future timestamp")
    values = values.set(problems.is_not_null(), None)
    present = values.drop_nulls()
    if values.dtype == pl.Float64 and ((present == present.round(0)) & (present < _EXACT_FLOAT)).all():
        values = values.cast(pl.Int64)
    return values, problems


def _time_as_text(value: Any) -> str | None:
    if _is_missing(value):
        return None
    if isinstance(value, str):
        return _clean_unicode(value)
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return str(value) if is_number else "no time"


def _times_from_text(text: pl.Series) -> pl.Series:
    """Parse numbers, or ISO 8601 where more values are that."""
    whole = text.cast(pl.Int64, strict=False)
    numbers = whole if whole.null_count() == text.null_count() else text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return numbers
    zoned = text.str.replace(r"(?i)z$", "+00:00")
    has_zone = zoned.str.contains(r"\d{2}:\d{2}.*[+-]\d{2}:?\d{2}$")
    plain = zoned.set(has_zone.fill_null(False), None)
    moments = plain.str.to_datetime(strict=False, time_unit="us", format="%Y-%m-%d %H:%M:%S%.f")
    for pattern in ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"):
        moments = _either(moments, plain.str.to_datetime(pattern, strict=False, time_unit="us"))
    moments = _either(moments, plain.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")))
    for pattern in ("%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%.f%:z"):
        aware = zoned.str.to_datetime(pattern, strict=False, time_unit="us", time_zone="UTC")
        moments = _either(moments, aware.dt.replace_time_zone(None))
    dates = _epoch_seconds(moments)
    return dates if dates.null_count() < numbers.null_count() else numbers


def _epoch_seconds(moments: pl.Series) -> pl.Series:
    return moments.dt.epoch("us") / 1e6


def _latest(values: pl.Series, now: float) -> float:
    return (now + _DAY_SECONDS) * _per_second(values)


def _per_second(values: pl.Series) -> float:
    """Tell the unit of timestamps by their median."""
    typical = values.median()
    typical = float(typical) if isinstance(typical, int | float) else 0.0
    return next(factor for size, factor in _UNITS if typical >= size)


def read_moments(name: str, given: Sequence[Any], timestamps: pl.Series) -> npt.NDArray[np.float64]:
    """Read moments in the unit of timestamps that were read before.

    Parameters
    ----------
    name
        Of the argument, for errors.
    given
        Numbers in that unit, dates, datetimes (without a zone they are UTC), or texts of any of these.
    timestamps
        From :func:`read_timestamps`.

    Returns
    -------
    numpy.ndarray
        float64 (n,).

    Raises
    ------
    InputError
        If one of them is none of these.

    Examples
    --------
    >>> milliseconds = pl.Series([1_700_000_000_000, 1_700_000_100_000])
    >>> read_moments("at", ["2023-11-14", 1_700_000_000_500], milliseconds).tolist()
    [1699920000000.0, 1700000000500.0]
    """
    moments = np.array([_as_number(value) for value in given], np.float64)
    other = np.isnan(moments)
    if other.any():
        dates = [value for value, is_other in zip(given, other, strict=True) if is_other]
        seconds, _ = read_timestamps(pl.Series("", dates, dtype=pl.Object), now=np.inf)
        moments[other] = seconds.cast(pl.Float64).to_numpy() * _per_second(timestamps)
    if not np.isfinite(moments).all():
        wrong = given[int(np.flatnonzero(~np.isfinite(moments))[0])]
        raise InputError(
            f"{name} must hold times: numbers as in the training data, dates, or ISO 8601 text, got {wrong!r}."
        )
    return moments


def _as_number(value: Any) -> float:
    """Return a number, also one in a text, as it is, and NaN for anything else."""
    try:
        return math.nan if isinstance(value, bool | dt.date | np.datetime64) else float(value)
    except (TypeError, ValueError):
        return math.nan


def read_ratings(column: pl.Series) -> Read:
    """Read ratings.

    Parameters
    ----------
    column
        Numbers, or text of numbers; missing ones are allowed.

    Returns
    -------
    ratings : polars.Series
        Float32, null where there is none.
    problems : polars.Series
        UInt8: the code for ``"unparseable rating"`` (also for infinities), or null.
    """
    if column.dtype == pl.Object:
        texts = [None if _is_missing(value) else _clean_unicode(str(value)) for value in column.to_list()]
        column = pl.Series(column.name, texts, dtype=pl.String)
    if column.dtype == pl.String:
        column = column.str.strip_chars()
        column = column.set(_says_missing(column), None)
    elif not (column.dtype.is_numeric() or column.dtype == pl.Null):
        raise InputError(f"rating must hold numbers, got {column.dtype}; cast it.")
    numbers = column.cast(pl.Float32, strict=False).fill_nan(None)
    bad = (column.is_not_null() & numbers.is_null()) | numbers.is_infinite().fill_null(False)
    if column.dtype.is_float():
        bad = bad & ~column.is_nan().fill_null(False)
    return numbers.set(bad, None), _reasons(bad, "unparseable rating")


def read_text(column: pl.Series | None, height: int) -> pl.Series:
    """Read titles or descriptions: anything as text, ``""`` where it is missing."""
    if column is None:
        return pl.Series([""], dtype=pl.String).new_from_index(0, height)
    if column.dtype == pl.Object:
        values = ["" if _is_missing(value) else _clean_unicode(str(value)) for value in column.to_list()]
        return pl.Series(column.name, values, dtype=pl.String)
    if column.dtype.is_float():
        column = column.fill_nan(None)
    try:
        if isinstance(column.dtype, pl.List):
            column = column.cast(pl.List(pl.String)).list.join(" ", ignore_nulls=True)
        return column.cast(pl.String).fill_null("")
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{column.name} must hold text, got {column.dtype} ({error}); cast it.") from None


def read_categories(column: pl.Series | None, height: int) -> pl.Series:
    """Read categories: lists of names, or text with ``|`` between them.

    Returns
    -------
    polars.Series
        List of String, never null; names stripped, empty and repeated ones left out.
    """
    names = pl.List(pl.String)
    if column is None:
        return pl.Series([[]], dtype=names).new_from_index(0, height)
    if column.dtype == pl.Object:
        lists = [_category_names(value) for value in column.to_list()]
        column = pl.Series(column.name, lists, dtype=names)
    elif isinstance(column.dtype, pl.List | pl.Array):
        try:
            column = column.cast(names)
        except pl.exceptions.PolarsError:
            raise InputError(f"categories must hold lists of text, got {column.dtype}; cast it.") from None
    else:
        column = read_text(column, height).str.split("|")
    stripped = pl.element().str.strip_chars()
    return column.list.eval(stripped.filter(stripped != "").unique(maintain_order=True)).fill_null([])


def _category_names(value: Any) -> list[str]:
    if _is_missing(value):
        return []
    parts = value.split("|") if isinstance(value, str) else value if np.iterable(value) else [value]
    return [_clean_unicode(str(part)) for part in parts if not _is_missing(part)]


def _is_missing(value: Any) -> bool:
    # pandas has markers of its own for a missing value.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def _says_missing(text: pl.Series) -> pl.Series:
    return text.str.to_lowercase().is_in(_MISSING_WORDS).fill_null(False)


def _reasons(bad: pl.Series, reason: str) -> pl.Series:
    return add_reason(no_problems(len(bad)), bad, reason)


def _differs(name: str, dtype: pl.DataType, like: pl.DataType) -> InputError:
    return InputError(
        f"{name} is {dtype} here and {like} in the table that lists them; cast one so that both are the same."
    )


def _clean_unicode(text: str) -> str:
    """Replace lone surrogates, which no file and no tokenizer can hold, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _either(first: pl.Series, second: pl.Series) -> pl.Series:
    return first.zip_with(first.is_not_null(), second)
