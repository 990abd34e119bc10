"""The keywords of a whole catalogue: claimed batch by batch, each answer kept as it comes, by one process or several.

Stands between :class:`~mmsrarec.summarize.Summarizer`, which knows how to ask about a batch, and the keyword table.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmsrarec.backbone.embedded.weights import quiet_loading
from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError, MmsrarecError
from mmsrarec.progress import Ticker, logger, set_progress
from mmsrarec.summarize.answers import AnswersSoFar, AskBatch, longest_first
from mmsrarec.summarize.claims import ClaimedBatches
from mmsrarec.summarize.table import KeywordRow, KeywordTable

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from multiprocessing.queues import Queue

    from mmsrarec.summarize.summarizer import Summarizer

__all__ = ["fill_table", "fill_table_by_workers"]

_LOOK_SECONDS = 0.5


def fill_table(
    ask: AskBatch,
    to_rows: Callable[[Sequence[Any]], list[KeywordRow]],
    contents: Sequence[ItemContent],
    table: KeywordTable,
    *,
    made_by: str,
    batch_items: int,
    progress: Ticker,
) -> None:
    """Ask about the items that have no row, batch by batch; answers are kept as they come, rows with their batch.

    A batch that is taken up again after a kill is the same batch, and only what was not answered yet is asked.

    Parameters
    ----------
    ask
        Asks about the items of a batch.
    to_rows
        From answers to rows.
    contents
        The items, each content once.
    table
        Where the rows go; other processes may be filling it at the same time.
    made_by
        Fingerprint of the summarizer.
    batch_items
        Items of a batch.
    progress
        Advanced by the items that this process has done.
    """
    ordered = {content.key: content for content in longest_first(contents)}
    batches = ClaimedBatches(
        table,
        list(ordered),
        made_by=made_by,
        size=batch_items,
        waiting=partial(progress.advance, 0, "(waiting for other processes)"),
    )
    try:
        for keys in batches:
            so_far = AnswersSoFar(
                table.get_answers(keys, made_by=made_by), partial(table.put_answer, made_by=made_by)
            )
            table.put_many(to_rows(ask([ordered[key] for key in keys], so_far)), made_by=made_by)
            progress.advance(len(keys))
    finally:
        table.give_back()


def fill_table_by_workers(
    summarizer: Summarizer,
    contents: Sequence[ItemContent],
    path: Path | None,
    *,
    made_by: str,
    workers: int,
    progress: Ticker,
) -> None:
    """Let several processes fill one table, each with a share of the threads, or with a GPU of its own.

    Model and summarizer are written to a temporary folder that all of them read, so that their weights are in
    memory once where the operating system can share them.

    Parameters
    ----------
    summarizer
        A fitted summarizer.
    contents
        The items, each content once.
    path
        File of the table.
    made_by
        Fingerprint of the summarizer.
    workers
        Number of processes.
    progress
        Advanced by the items that are done.

    Raises
    ------
    InputError
        If the table is in memory, where no other process can see it.
    MmsrarecError
        If a process ended early and items are left. What was done is in the table.
    """
    if path is None:
        raise InputError(
            "workers above 1 need a table in a file, got one in memory; give KeywordTable a path."
        )
    context = multiprocessing.get_context("spawn")
    threads = max(torch.get_num_threads() // workers, 1)
    with tempfile.TemporaryDirectory(prefix="mmsrarec-workers-") as name:
        folder = Path(name)
        with quiet_loading():
            summarizer.backbone.save_pretrained(folder / "backbone")
            if summarizer.encoder is not None:
                summarizer.encoder.model.save(str(folder / "encoder"))
        summarizer.save(folder / "summarizer")
        # Through a queue, which a thread of its own feeds: a process that starts reads its arguments only when it has
        # loaded everything, and until then the one that starts it would stand still.
        work = context.Queue()
        started: list[BaseProcess] = [
            context.Process(
                target=_work,
                args=(folder, work, path, made_by, _device(summarizer, number), threads),
                daemon=True,
            )
            for number in range(workers)
        ]
        for process in started:
            work.put(list(contents))
            process.start()
        try:
            _watch(started, contents, path, made_by, progress)
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.join()
            work.cancel_join_thread()


def _device(summarizer: Summarizer, number: int) -> str:
    device = summarizer.backbone.device
    return f"cuda:{number % torch.cuda.device_count()}" if device.type == "cuda" else str(device)


def _watch(
    started: Sequence[BaseProcess],
    contents: Sequence[ItemContent],
    path: Path,
    made_by: str,
    progress: Ticker,
) -> None:
    """Show how far the processes are until all of them have ended."""
    keys = [content.key for content in contents]
    with KeywordTable(path) as table:
        before = shown = table.count(made_by)
        while any(process.is_alive() for process in started):
            time.sleep(_LOOK_SECONDS)
            done = table.count(made_by)
            progress.advance(done - shown)
            shown = done
        progress.advance(table.count(made_by) - shown)
        left = len(keys) - len(table.get_many(keys, made_by=made_by))
        logger.info("%d processes wrote %d rows", len(started), table.count(made_by) - before)
    ended = [process.exitcode for process in started if process.exitcode]
    if left:
        raise MmsrarecError(
            f"{len(ended)} of {len(started)} workers ended early (exit codes {ended}) and {left} items are left; "
            "what they said of it stands above. Run the same again to go on, with fewer workers if memory ran out."
        )
    if ended:
        logger.warning("workers ended early (exit codes %s); the others did their items", ended)


def _work(
    folder: Path, work: Queue[list[ItemContent]], path: Path, made_by: str, device: str, threads: int
) -> None:
    """Fill the table; the whole of a worker process."""
    from mmsrarec.backbone import Backbone, SentenceEncoder
    from mmsrarec.summarize.summarizer import Summarizer

    _end_with_parent(folder)
    set_progress(False)
    torch.set_num_threads(threads)
    encoder = folder / "encoder"
    with quiet_loading():
        backbone = Backbone.load(folder / "backbone", device=device)
    summarizer = Summarizer.load(
        folder / "summarizer",
        backbone=backbone,
        encoder=SentenceEncoder.load(encoder, device=device) if encoder.is_dir() else None,
    )
    with KeywordTable(path) as table:
        summarizer.fill(work.get(), table, made_by=made_by)


def _end_with_parent(folder: Path) -> None:
    """End this process, and remove the folder of weights, when the process that started it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
