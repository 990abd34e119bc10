"""The keyword table: one row for each item content and summarizer, SQLite while running, Parquet when saved.

Stands between the summarizer, which writes rows as they come, and every later stage, which reads keywords
and never looks at an item's picture or text again. A row is keyed by the hash of the item's content and by
the fingerprint of the summarizer, so a changed item or a changed model is a row of its own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from mmsrarec.errors import StoredFileError
from mmsrarec.summarize.liveness import Liveness, is_alive
from mmsrarec.summarize.table_file import FORMAT_VERSION, read_rows, write_rows

__all__ = ["KeywordRow", "KeywordTable"]

_APPLICATION_ID = 0x6D6D7372  # "mmsr": tells our databases from any other SQLite file
_BUSY_SECONDS = 60.0
_CREATE = """
CREATE TABLE IF NOT EXISTS keywords (
    item_key TEXT NOT NULL,
    made_by TEXT NOT NULL,
    image_keywords TEXT NOT NULL,
    text_keywords TEXT NOT NULL,
    keywords TEXT NOT NULL,
    repaired INTEGER NOT NULL,
    PRIMARY KEY (item_key, made_by)
) WITHOUT ROWID
"""
# Who is at work on what. It may be missing from a file and is no part of what is saved, so it has no version.
_CREATE_CLAIMS = """
CREATE TABLE IF NOT EXISTS claims (
    item_key TEXT NOT NULL,
    made_by TEXT NOT NULL,
    worker TEXT NOT NULL,
    PRIMARY KEY (item_key, made_by)
) WITHOUT ROWID
"""
# Answers of items that have no row yet. Like claims: no part of what is saved.
_CREATE_ANSWERS = """
CREATE TABLE IF NOT EXISTS answers (
    item_key TEXT NOT NULL,
    made_by TEXT NOT NULL,
    prompt TEXT NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (item_key, made_by, prompt)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class KeywordRow:
    """The keywords of one item.

    Attributes
    ----------
    item_key
        Hash of the item's content (``ItemContent.key``).
    image_keywords, text_keywords
        What each modality's prompt gave; empty where the item lacks the modality.
    keywords
        The merged list.
    repaired
        How many of the item's answers (0, 1 or 2) were malformed and repaired.
    """

    item_key: str
    image_keywords: tuple[str, ...]
    text_keywords: tuple[str, ...]
    keywords: tuple[str, ...]
    repaired: int = 0


class KeywordTable:
    """Keywords by item content and summarizer, in one SQLite file.

    Every call of :meth:`put_many` is one transaction in write-ahead mode: a process killed at any moment
    leaves all rows of the transactions before, and none of the one it was in. Several processes may use
    one file of one machine; :meth:`claim` shares the work between them.

    Parameters
    ----------
    path
        The file, made if it is missing (with its folder). ``None``: in memory.

    Raises
    ------
    StoredFileError
        If the file is not a keyword table, is damaged, or was written by a newer format.

    Examples
    --------
    >>> table = KeywordTable(None)
    >>> table.put_many([KeywordRow("a1", ("red",), ("mug",), ("mug", "red"))], made_by="f0")
    >>> table.get_many(["a1", "b2"], made_by="f0")["a1"].keywords
    ('mug', 'red')
    >>> table.get_many(["a1"], made_by="another summarizer")
    {}
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoredFileError(
                    f"{self.path.parent} could not be made: {error.strerror or error}. Choose a writable folder."
                ) from error
        with self._naming_the_file():
            self._database = sqlite3.connect(
                str(self.path or ":memory:"), timeout=_BUSY_SECONDS, isolation_level=None
            )
            self._open()
        self._liveness: Liveness | None = None  # of this table, once it has claimed something

    def _open(self) -> None:
        execute = self._database.execute
        # One look at all three, or another process that makes the file between two of them makes it look foreign.
        execute("BEGIN")
        (application,) = execute("PRAGMA application_id").fetchone()
        (version,) = execute("PRAGMA user_version").fetchone()
        (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        execute("COMMIT")
        if tables and application != _APPLICATION_ID:
            raise StoredFileError(f"{self.path} is an SQLite file of another program; choose another path.")
        if version > FORMAT_VERSION:
            raise StoredFileError(
                f"{self.path} has keyword table version {version}, this mmsrarec reads up to "
                f"{FORMAT_VERSION}; install a newer mmsrarec."
            )
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        if not tables:
            # One transaction, so that another process opening the same new file waits for all of it.
            execute("BEGIN IMMEDIATE")
            execute(_CREATE)
            execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            execute("COMMIT")
        execute(_CREATE_CLAIMS)
        execute(_CREATE_ANSWERS)

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoredFileError(
                f"{self.path} is not a usable keyword table ({error}). Delete it to summarize again."
            ) from error

    def get_many(self, keys: Sequence[str], *, made_by: str) -> dict[str, KeywordRow]:
        """Look up many items in one query.

        Parameters
        ----------
        keys
            Hashes of item contents.
        made_by
            Fingerprint of the summarizer.

        Returns
        -------
        dict
            Row by key, for the keys that are there.
        """
        query = (
            "SELECT item_key, image_keywords, text_keywords, keywords, repaired FROM keywords "
            "JOIN (SELECT DISTINCT value FROM json_each(?)) ON item_key = value WHERE made_by = ?"
        )
        with self._naming_the_file():
            found = self._database.execute(query, (json.dumps(list(keys)), made_by)).fetchall()
        return {row[0]: _decode(row) for row in found}

    def put_many(self, rows: Iterable[KeywordRow], *, made_by: str) -> None:
        """Write rows in one transaction; a row that is there already is replaced.

        Parameters
        ----------
        rows
            The rows.
        made_by
            Fingerprint of the summarizer.

        Raises
        ------
        StoredFileError
            If the file cannot be written, for example because the disk is full.
        """
        values = [
            (
                row.item_key,
                made_by,
                _encode(row.image_keywords),
                _encode(row.text_keywords),
                _encode(row.keywords),
                row.repaired,
            )
            for row in rows
        ]
        with self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO keywords VALUES (?, ?, ?, ?, ?, ?)", values)
            for done in ("claims", "answers"):
                self._database.executemany(
                    f"DELETE FROM {done} WHERE item_key = ? AND made_by = ?", [value[:2] for value in values]
                )

    def put_answer(self, key: str, prompt: str, answer: str, *, made_by: str) -> None:
        """Keep what the model answered about an item that has no row yet; gone when the row is there.

        Parameters
        ----------
        key
            Hash of the item's content.
        prompt
            Which of its prompts was answered.
        answer
            The answer as it was written.
        made_by
            Fingerprint of the summarizer.
        """
        with self._transaction():
            self._database.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (key, made_by, prompt, answer)
            )

    def get_answers(self, keys: Sequence[str], *, made_by: str) -> dict[tuple[str, str], str]:
        """Return the answers kept of items without a row, by key and prompt."""
        query = (
            "SELECT item_key, prompt, answer FROM answers "
            "JOIN (SELECT DISTINCT value FROM json_each(?)) ON item_key = value WHERE made_by = ?"
        )
        with self._naming_the_file():
            found = self._database.execute(query, (json.dumps(list(keys)), made_by)).fetchall()
        return {(key, prompt): answer for key, prompt, answer in found}

    def claim(self, keys: Sequence[str], *, made_by: str, count: int) -> tuple[list[str], list[str]]:
        """Take items on, so that no other process works on them until their rows are there or this table is closed.

        Parameters
        ----------
        keys
            Hashes of item contents, in the order in which they are wanted.
        made_by
            Fingerprint of the summarizer.
        count
            Most items to take on.

        Returns
        -------
        claimed : list of str
            The first `count` keys that have no row and that nobody alive has claimed.
        left : list of str
            The other keys that have no row, in order.
        """
        if self._liveness is None:
            self._liveness = Liveness(self.path)
        with self._transaction():
            done = self.get_many(keys, made_by=made_by)
            held = self._held(made_by)
            left = [key for key in keys if key not in done]
            claimed = [key for key in left if key not in held][:count]
            self._database.executemany(
                "INSERT INTO claims VALUES (?, ?, ?)",
                [(key, made_by, self._liveness.name) for key in claimed],
            )
        taken = set(claimed)
        return claimed, [key for key in left if key not in taken]

    def _held(self, made_by: str) -> set[str]:
        """Return what is claimed by the living, after giving back what the dead had claimed."""
        workers = [row[0] for row in self._database.execute("SELECT DISTINCT worker FROM claims").fetchall()]
        own = self._liveness.name if self._liveness is not None else None
        for worker in workers:
            if worker != own and not (self.path is not None and is_alive(self.path, worker)):
                self._database.execute("DELETE FROM claims WHERE worker = ?", (worker,))
        found = self._database.execute("SELECT item_key FROM claims WHERE made_by = ?", (made_by,))
        return {row[0] for row in found.fetchall()}

    def give_back(self) -> None:
        """Give back what this table has claimed and not done."""
        if self._liveness is not None:
            with self._transaction():
                self._database.execute("DELETE FROM claims WHERE worker = ?", (self._liveness.name,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do all or nothing, alone."""
        with self._naming_the_file():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def __len__(self) -> int:
        """Number of rows, of all summarizers."""
        with self._naming_the_file():
            return int(self._database.execute("SELECT count(*) FROM keywords").fetchone()[0])

    def count(self, made_by: str) -> int:
        """Return the number of rows of one summarizer."""
        with self._naming_the_file():
            query = "SELECT count(*) FROM keywords WHERE made_by = ?"
            return int(self._database.execute(query, (made_by,)).fetchone()[0])

    def save_parquet(self, path: str | Path, *, made_by: str | None = None) -> None:
        """Write the rows as a Parquet file that is whole or absent, in key order.

        Parameters
        ----------
        path
            The file; replaced if it exists.
        made_by
            Only the rows of this summarizer; ``None``: all.
        """
        query = "SELECT * FROM keywords WHERE ?1 IS NULL OR made_by = ?1 ORDER BY item_key, made_by"
        with self._naming_the_file():
            write_rows(path, self._database.execute(query, (made_by,)).fetchall())

    @classmethod
    def load_parquet(cls, path: str | Path, into: str | Path | None = None) -> KeywordTable:
        """Read a table that :meth:`save_parquet` wrote.

        Parameters
        ----------
        path
            The Parquet file.
        into
            SQLite file to fill; ``None``: in memory.

        Returns
        -------
        KeywordTable
            The table, with the rows of the file added.

        Raises
        ------
        StoredFileError
            If the file is missing, damaged, not a keyword table, or written by a newer format.
        """
        by_summarizer: dict[str, list[KeywordRow]] = {}
        for row in read_rows(path):
            by_summarizer.setdefault(row["made_by"], []).append(
                KeywordRow(
                    row["item_key"],
                    tuple(row["image_keywords"]),
                    tuple(row["text_keywords"]),
                    tuple(row["keywords"]),
                    row["repaired"],
                )
            )
        table = cls(into)
        for made_by, rows in by_summarizer.items():
            table.put_many(rows, made_by=made_by)
        return table

    def close(self) -> None:
        """Close the file and give back what was claimed and not done; further use of this object is an error."""
        self._database.close()
        if self._liveness is not None:
            self._liveness.end()

    def __enter__(self) -> KeywordTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _encode(keywords: Sequence[str]) -> str:
    return json.dumps(list(keywords), ensure_ascii=False)


def _decode(row: tuple[str, str, str, str, int]) -> KeywordRow:
    key, image, text, merged, repaired = row
    return KeywordRow(
        key, tuple(json.loads(image)), tuple(json.loads(text)), tuple(json.loads(merged)), repaired
    )
