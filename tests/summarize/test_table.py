"""The keyword table finds what was put, survives a kill, and refuses what is not its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from mmsrarec.errors import StoredFileError
from mmsrarec.summarize.table import KeywordRow, KeywordTable


def row(name: str, *keywords: str) -> KeywordRow:
    return KeywordRow(name, keywords[:1], keywords[1:], keywords, 1)


def test_rows_come_back_as_they_were_put(tmp_path: Path) -> None:
    rows = [row("a", "red", 'mug\'s "best"'), row("b"), row("c", "コメディ", "犬")]
    with KeywordTable(tmp_path / "deep" / "keywords.sqlite") as table:
        table.put_many(rows, made_by="f0")
    with KeywordTable(tmp_path / "deep" / "keywords.sqlite") as table:
        assert table.get_many(["c", "a", "b", "a", "none"], made_by="f0") == {r.item_key: r for r in rows}
        assert table.get_many(["a"], made_by="f1") == {}
        assert table.get_many([], made_by="f0") == {}
        assert len(table) == 3


def test_a_row_belongs_to_its_summarizer_and_can_be_replaced() -> None:
    table = KeywordTable(None)
    table.put_many([row("a", "old")], made_by="f0")
    table.put_many([row("a", "other")], made_by="f1")
    table.put_many([row("a", "new")], made_by="f0")
    assert table.get_many(["a"], made_by="f0")["a"].keywords == ("new",)
    assert table.get_many(["a"], made_by="f1")["a"].keywords == ("other",)
    assert len(table) == 2


def test_many_thousand_keys_are_one_query(tmp_path: Path) -> None:
    statements: list[str] = []
    table = KeywordTable(tmp_path / "keywords.sqlite")
    keys = [f"{number:064d}" for number in range(50_000)]
    table.put_many((row(key, "tea") for key in keys), made_by="f0")
    table._database.set_trace_callback(statements.append)
    assert len(table.get_many(keys, made_by="f0")) == 50_000
    assert len(statements) == 1


def test_an_error_in_a_batch_leaves_nothing_of_it() -> None:
    table = KeywordTable(None)
    table.put_many([row("a", "tea")], made_by="f0")
    bad = KeywordRow("c", (), (), (), repaired=None)  # type: ignore[arg-type]
    with pytest.raises(StoredFileError):
        table.put_many([row("b", "mug"), bad], made_by="f0")
    assert set(table.get_many(["a", "b", "c"], made_by="f0")) == {"a"}
    table.put_many([row("b", "mug")], made_by="f0")
    assert len(table) == 2


def test_a_killed_writer_leaves_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "keywords.sqlite"
    script = textwrap.dedent(
        """
        import sys
        from mmsrarec.summarize.table import KeywordRow, KeywordTable
        table = KeywordTable(sys.argv[1])
        batch = 0
        while True:
            table.put_many([KeywordRow(f"{batch}-{n}", (), (), ("tea",)) for n in range(10)], made_by="f0")
            batch += 1
            if batch == 20:
                print("twenty", flush=True)
        """
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "twenty\n"
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    with KeywordTable(path) as table:
        assert len(table) >= 200
        assert len(table) % 10 == 0


def test_parquet_keeps_every_row_and_anyone_can_read_it(tmp_path: Path) -> None:
    table = KeywordTable(None)
    table.put_many([row("b", "red", "mug"), row("a")], made_by="f0")
    table.put_many([row("a", "other")], made_by="f1")
    table.save_parquet(tmp_path / "all.parquet")
    table.save_parquet(tmp_path / "one.parquet", made_by="f0")
    again = KeywordTable.load_parquet(tmp_path / "all.parquet", tmp_path / "copy.sqlite")
    assert again.get_many(["a", "b"], made_by="f0") == table.get_many(["a", "b"], made_by="f0")
    assert len(again) == 3
    frame = pl.read_parquet(tmp_path / "one.parquet")
    assert frame["item_key"].to_list() == ["a", "b"]
    assert frame["keywords"].to_list() == [[], ["red", "mug"]]
    assert [name for name in os.listdir(tmp_path) if ".tmp" in name] == []


def test_an_empty_table_is_saved_and_loaded(tmp_path: Path) -> None:
    KeywordTable(None).save_parquet(tmp_path / "empty.parquet")
    assert len(KeywordTable.load_parquet(tmp_path / "empty.parquet")) == 0


def test_foreign_damaged_and_newer_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, but long enough to be taken for one " * 20)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE other (a)")
    newer = tmp_path / "newer.sqlite"
    KeywordTable(newer).close()
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version = 99")
    for path, reason in [(text, "not a usable"), (foreign, "another program"), (newer, "version 99")]:
        with pytest.raises(StoredFileError, match=reason):
            KeywordTable(path)
    parquet = tmp_path / "a.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(parquet)
    with pytest.raises(StoredFileError, match="not a saved keyword table"):
        KeywordTable.load_parquet(parquet)
    parquet.write_bytes(parquet.read_bytes()[:20])
    with pytest.raises(StoredFileError, match="not a readable Parquet"):
        KeywordTable.load_parquet(parquet)
    with pytest.raises(StoredFileError, match="does not exist"):
        KeywordTable.load_parquet(tmp_path / "none.parquet")
