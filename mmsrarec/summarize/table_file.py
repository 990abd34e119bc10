"""The rows of a keyword table as a Parquet file.

Stands under :class:`~mmsrarec.summarize.KeywordTable`, which is SQLite while it is being filled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmsrarec.errors import StoredFileError
from mmsrarec.storage import atomic_path

__all__ = ["FORMAT_VERSION", "read_rows", "write_rows"]

FORMAT_VERSION = 1
_FORMAT_KEY = b"mmsrarec.keyword_table"
_SCHEMA = pa.schema(
    [
        ("item_key", pa.string()),
        ("made_by", pa.string()),
        ("image_keywords", pa.list_(pa.string())),
        ("text_keywords", pa.list_(pa.string())),
        ("keywords", pa.list_(pa.string())),
        ("repaired", pa.int32()),
    ],
    metadata={_FORMAT_KEY: str(FORMAT_VERSION).encode()},
)


def write_rows(path: str | Path, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows as the database has them, lists as JSON; the file is whole or absent.

    Parameters
    ----------
    path
        The file; replaced if it exists.
    rows
        In the order of the schema.
    """
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(_SCHEMA)
    arrays = [
        pa.array(
            [json.loads(text) for text in column] if pa.types.is_list(field.type) else column, field.type
        )
        for field, column in zip(_SCHEMA, columns, strict=True)
    ]
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(arrays, schema=_SCHEMA), temporary, compression="zstd")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read what :func:`write_rows` wrote, a dictionary a row.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    StoredFileError
        If the file is missing, damaged, not a keyword table, or written by a newer format.
    """
    path = Path(path)
    try:
        stored = pq.read_table(path)
    except FileNotFoundError:
        raise StoredFileError(f"{path} does not exist; expected a saved keyword table.") from None
    except (OSError, pa.ArrowException) as error:
        raise StoredFileError(f"{path} is not a readable Parquet file ({error}).") from error
    version = (stored.schema.metadata or {}).get(_FORMAT_KEY)
    if version is None or stored.schema.names != _SCHEMA.names:
        raise StoredFileError(f"{path} is not a saved keyword table of mmsrarec.")
    if int(version) > FORMAT_VERSION:
        raise StoredFileError(
            f"{path} has keyword table version {int(version)}, this mmsrarec reads up to "
            f"{FORMAT_VERSION}; install a newer mmsrarec."
        )
    return list(stored.to_pylist())
