"""The border: files and frames of any kind come in, named Polars columns go on.

:class:`Table` finds the columns that a dataset needs, under their standard names or mapped ones, and says
where a value came from when it turns out to be bad. What the values mean is decided in ``columns.py``.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pyarrow as pa

from mmsrarec.data.bad_rows import MAX_EXAMPLES, BadRows, Reason, show_row
from mmsrarec.errors import InputError

__all__ = ["INTERACTION_COLUMNS", "ITEM_COLUMNS", "STANDARD_COLUMNS", "Table"]

INTERACTION_COLUMNS = ("user_id", "item_id", "timestamp", "rating")
ITEM_COLUMNS = ("item_id", "title", "description", "categories", "image")
STANDARD_COLUMNS = tuple(dict.fromkeys(INTERACTION_COLUMNS + ITEM_COLUMNS))
_REQUIRED = {"interactions": ("user_id", "item_id", "timestamp"), "items": ("item_id",)}
_WANTED = {"interactions": INTERACTION_COLUMNS, "items": ITEM_COLUMNS}
MALFORMED = "malformed line"
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass
class Table:
    """Raw columns under their standard names, and the bad rows found in them so far.

    Parameters
    ----------
    name
        ``"interactions"`` or ``"items"``.
    columns
        Standard name → values. A column that Polars cannot type has dtype ``pl.Object``.
    is_text
        The values come from a text file: numbers in them are still to be parsed.
    reasons
        Bad rows found so far.
    """

    name: str
    columns: dict[str, pl.Series]
    is_text: bool = False
    reasons: list[Reason] = field(default_factory=list)

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.columns["item_id"])

    def reject(self, name: str, rows: pl.Series, effect: str = "dropped") -> None:
        """Count the rows where `rows` is true under a reason, with the first of them as examples."""
        indices = rows.arg_true()
        if len(indices) == 0:
            return
        examples = tuple(
            show_row(row, ((column, values[row]) for column, values in self.columns.items()))
            for row in indices.head(MAX_EXAMPLES).to_list()
        )
        self.reasons.append(Reason(self.name, name, len(indices), effect, examples))

    @property
    def bad_rows(self) -> BadRows:
        """All bad rows found so far."""
        return BadRows(tuple(self.reasons))

    @classmethod
    def read(cls, source: Any, name: str, columns: Mapping[str, str] | None) -> Table:
        """Take the needed columns out of a frame, or out of the Parquet, CSV or TSV file at a path.

        Raises
        ------
        InputError
            As the readers of one kind.
        """
        if not isinstance(source, str | os.PathLike):
            return cls.from_frame(source, name, columns)
        if Path(source).suffix == ".parquet":
            return cls.from_parquet(source, name, columns)
        return cls.from_csv(source, name, columns)

    @classmethod
    def from_frame(cls, frame: Any, name: str, columns: Mapping[str, str] | None) -> Table:
        """Take the needed columns out of any frame that narwhals accepts.

        Raises
        ------
        InputError
            If it is not a frame or a needed column is not there.
        """
        try:
            narwhal = nw.from_native(frame)
        except TypeError:
            raise InputError(
                f"{name} must be a pandas, Polars or PyArrow frame, got {type(frame).__name__}; "
                "for files use from_csv or from_parquet."
            ) from None
        if isinstance(narwhal, nw.LazyFrame):
            narwhal = narwhal.collect()
        found = _find_columns(narwhal.columns, name, columns)
        return cls(name, {standard: _to_polars(narwhal[theirs]) for standard, theirs in found.items()})

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], name: str, columns: Mapping[str, str] | None) -> Table:
        """Read the needed columns of a CSV or TSV file, compressed or not.

        Raises
        ------
        InputError
            If the file is missing, empty or not a table, or a needed column is not there.
        """
        frame, malformed = read_delimited(path, name)
        return cls.from_text_frame(frame, name, columns, malformed)

    @classmethod
    def from_text_frame(
        cls,
        frame: pl.DataFrame,
        name: str,
        columns: Mapping[str, str] | None = None,
        malformed: Sequence[str] = (),
    ) -> Table:
        """Take the needed columns of a frame whose values are all text; `malformed` describes lost lines."""
        found = _find_columns(frame.columns, name, columns)
        table = cls(name, {standard: frame[theirs] for standard, theirs in found.items()}, is_text=True)
        if malformed:
            examples = tuple(malformed[:MAX_EXAMPLES])
            table.reasons.append(Reason(name, MALFORMED, len(malformed), "dropped", examples))
        return table

    @classmethod
    def from_parquet(
        cls, path: str | os.PathLike[str], name: str, columns: Mapping[str, str] | None
    ) -> Table:
        """Read the needed columns of a Parquet file.

        Raises
        ------
        InputError
            If the file is missing, damaged or foreign, or a needed column is not there.
        """
        path = existing_file(path, name)
        try:
            found = _find_columns(list(pl.read_parquet_schema(path)), name, columns)
            frame = pl.read_parquet(path, columns=list(dict.fromkeys(found.values())))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{name}: {path} is not a readable Parquet file ({error}).") from error
        return cls(name, {standard: frame[theirs] for standard, theirs in found.items()})


def frame_kind(frame: Any) -> str:
    """Tell what a frame is: ``"pandas"``, ``"pyarrow"``, and ``"polars"`` for all others."""
    implementation = nw.from_native(frame).implementation
    known = (nw.Implementation.PANDAS, nw.Implementation.PYARROW)
    return str(implementation.value) if implementation in known else "polars"


def existing_file(path: str | os.PathLike[str], name: str) -> Path:
    """Return `path` if a file stands there; else an InputError that names the argument."""
    try:
        path = Path(path)
    except TypeError:
        raise InputError(f"{name} must be the path of a file, got {type(path).__name__}.") from None
    if not path.is_file():
        raise InputError(f"{name} must be an existing file, got {str(path)!r}.")
    return path


def read_delimited(
    path: str | os.PathLike[str],
    name: str,
    *,
    separator: str | None = None,
    header: Sequence[str] | None = None,
) -> tuple[pl.DataFrame, list[str]]:
    """Read a delimited text file with every value as text.

    Parameters
    ----------
    path
        The file; gzip and zstd are recognized by content.
    name
        Argument to name in errors.
    separator
        Between values; by default a tab for ``.tsv`` and a comma otherwise.
    header
        Names of the columns, if the first line does not hold them.

    Returns
    -------
    frame : polars.DataFrame
        All columns as text. Bytes that are not UTF-8 become U+FFFD.
    malformed : list of str
        Lines with more values than columns, described; they are not in `frame`.
    """
    path = existing_file(path, name)
    if separator is None:
        separator = "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes] else ","
    try:
        frame = pl.read_csv(
            path,
            separator=separator,
            has_header=header is None,
            new_columns=list(header) if header is not None else None,
            infer_schema=False,
            encoding="utf8-lossy",
        )
        malformed: list[str] = []
        if header is not None and frame.width != len(header):
            frame, malformed = _read_leniently(path, separator, header)
    except pl.exceptions.NoDataError:
        if header is None:
            raise InputError(f"{name}: {path} is empty; its first line must name the columns.") from None
        frame, malformed = pl.DataFrame(schema=dict.fromkeys(header, pl.String)), []
    except pl.exceptions.PolarsError:
        # One line with too many values stops the fast reader; the slow one sets such lines aside.
        frame, malformed = _read_leniently(path, separator, header)
    except OSError as error:
        raise InputError(f"{name}: {path} could not be read ({error}).") from error
    blank = pl.all_horizontal(pl.all().is_null())
    return frame.filter(~blank), malformed


def _read_leniently(
    path: Path, separator: str, header: Sequence[str] | None
) -> tuple[pl.DataFrame, list[str]]:
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        elif content.startswith(_ZSTD_MAGIC):
            content = pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} could not be read ({error}).") from error
    text = io.StringIO(content.decode("utf-8-sig", "replace"), newline="")
    rows: list[list[str | None]] = []
    malformed: list[str] = []
    try:
        with fields_of_any_size():
            lines = csv.reader(text, delimiter=separator)
            names = list(header) if header is not None else next(lines, [])
            for values in lines:
                if len(values) > len(names):
                    malformed.append(f"line {lines.line_num}: {len(values)} values for {len(names)} columns")
                elif values:
                    padding: list[str | None] = [None] * (len(names) - len(values))
                    rows.append([value or None for value in values] + padding)
    except csv.Error as error:
        raise InputError(f"{path} is not a table of text ({error}).") from error
    if len(set(names)) < len(names):
        raise InputError(f"{path} names a column twice: {names}; rename one.")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"), malformed


@contextmanager
def fields_of_any_size() -> Iterator[None]:
    """Lift the limit of the csv module, 131,072 characters a value, which descriptions can pass."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _find_columns(available: Sequence[str], name: str, columns: Mapping[str, str] | None) -> dict[str, str]:
    """Map each standard name to the column that holds it in this table."""
    found = {}
    for standard in _WANTED[name]:
        mapped = (columns or {}).get(standard)
        if mapped is not None and mapped in available:
            found[standard] = mapped
        elif standard in available:
            found[standard] = standard
        elif standard in _REQUIRED[name]:
            raise InputError(
                f"{name} has no column {mapped or standard!r}, only {list(available)}; name the right one "
                f"with columns={{{standard!r}: …}}."
            )
    return found


def check_mapping(columns: Mapping[str, str] | None, tables: Sequence[Table]) -> None:
    """Refuse mappings that do nothing: an unknown standard name, or a column that no table has."""
    for standard, mapped in (columns or {}).items():
        if standard not in STANDARD_COLUMNS:
            raise InputError(f"columns has the key {standard!r}; allowed are {', '.join(STANDARD_COLUMNS)}.")
        if not any(standard in table.columns for table in tables):
            raise InputError(f"columns maps {standard!r} to {mapped!r}, which no table has.")


def _to_polars(column: nw.Series[Any]) -> pl.Series:
    native = column.to_native()
    if isinstance(native, pl.Series):
        return native
    holds_objects = str(getattr(native, "dtype", "")) == "object"
    values = column.to_list() if holds_objects else None
    # Arrow bends mixed objects to one type (text to bytes, numbers to dates), so only uniform ones go to it.
    if values is None or len({type(value) for value in values} - {type(None)}) == 1:
        try:
            return pl.Series(pl.from_arrow(column.to_arrow()))
        # What Arrow cannot type or, being no Unicode, not hold.
        except (ValueError, TypeError, NotImplementedError, OverflowError):
            pass
    return pl.Series(column.name, column.to_list() if values is None else values, dtype=pl.Object)
