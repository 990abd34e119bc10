"""Several tables over one file never take on the same item, and what the dead held is given back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

from mmsrarec.summarize.claims import ClaimedBatches
from mmsrarec.summarize.table import KeywordRow, KeywordTable

KEYS = [f"item {number:03d}" for number in range(50)]


def rows(keys: list[str]) -> list[KeywordRow]:
    return [KeywordRow(key, (), (), ("tea",)) for key in keys]


def test_one_process_gets_everything_in_order() -> None:
    table = KeywordTable(None)
    table.put_many(rows(KEYS[3:5]), made_by="f")
    got = []
    for batch in ClaimedBatches(table, KEYS, made_by="f", size=8):
        got += batch
        table.put_many(rows(batch), made_by="f")
    assert got == KEYS[:3] + KEYS[5:]
    assert list(ClaimedBatches(table, KEYS, made_by="f", size=8)) == []
    assert len(next(ClaimedBatches(table, KEYS, made_by="another", size=8))) == 8


def test_two_tables_share_the_work_and_what_is_closed_is_given_back(tmp_path: Path) -> None:
    first, second = (KeywordTable(tmp_path / "keywords.sqlite") for _ in range(2))
    assert first.claim(KEYS, made_by="f", count=10) == (KEYS[:10], KEYS[10:])
    assert second.claim(KEYS, made_by="f", count=3) == (KEYS[10:13], KEYS[:10] + KEYS[13:])
    assert second.claim(KEYS, made_by="g", count=1)[0] == KEYS[:1]
    first.put_many(rows(KEYS[:4]), made_by="f")
    first.close()
    assert second.claim(KEYS, made_by="f", count=6)[0] == KEYS[4:10]
    second.give_back()
    assert second.claim(KEYS, made_by="f", count=60)[0] == KEYS[4:]
    second.close()
    assert [path.name for path in tmp_path.iterdir()] == ["keywords.sqlite"]


def test_threads_with_a_table_each_do_every_item_once(tmp_path: Path) -> None:
    done: list[str] = []

    def work() -> None:
        with KeywordTable(tmp_path / "keywords.sqlite") as table:
            for batch in ClaimedBatches(table, KEYS, made_by="f", size=4):
                done.extend(batch)
                table.put_many(rows(batch), made_by="f")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(done) == KEYS


def test_what_a_killed_process_held_comes_back_in_the_same_batches(tmp_path: Path) -> None:
    path = tmp_path / "keywords.sqlite"
    script = textwrap.dedent(
        """
        import sys, time
        from mmsrarec.summarize.table import KeywordTable
        table = KeywordTable(sys.argv[1])
        print(*table.claim(sys.argv[2:], made_by="f", count=8)[0], sep=",", flush=True)
        time.sleep(600)
        """
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(path), *KEYS], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == ",".join(KEYS[:8])
    with KeywordTable(path) as table:
        batches = ClaimedBatches(table, KEYS, made_by="f", size=8)
        assert next(batches) == KEYS[8:16]
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert next(batches) == KEYS[:8]
        assert next(batches) == KEYS[16:24]


def test_all_that_is_left_is_waited_for_while_its_holder_lives(tmp_path: Path) -> None:
    path = tmp_path / "keywords.sqlite"
    holder = KeywordTable(path)
    holder.claim(KEYS[:2], made_by="f", count=2)
    looked: list[int] = []

    def waiting() -> None:
        looked.append(1)
        if len(looked) == 2:
            holder.put_many(rows(KEYS[:2]), made_by="f")

    with KeywordTable(path) as table:
        assert list(ClaimedBatches(table, KEYS[:2], made_by="f", size=8, waiting=waiting)) == []
    assert len(looked) == 2
    holder.close()
