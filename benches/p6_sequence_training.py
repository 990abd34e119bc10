"""P6: how long SASRec takes to its best validation NDCG@10 over the catalogue, ours, RecTools' and RecBole's.

One after the other on the same cases, in processes of their own, with the same number of threads; times are of training
alone. Needs the peers' environment (``make peers`` makes it first). RecBole learns from each prefix of a history as a
sequence of its own, which takes hours on M; it is left out there.

    python -m benches P6 --data ../shared/data --sets P
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benches.quality_data import SETS, item_vectors, load_split
from mmsrarec.progress import logger
from mmsrarec.retrieve import SequenceModel

PEERS = ("sasrec", "esasrec", "recbole")
OURS = "ours"


def main(words: Sequence[str]) -> int:
    """Run ours and the peers, print one table a set."""
    parser = argparse.ArgumentParser(prog="python -m benches P6", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", default=["P"], choices=list(SETS))
    parser.add_argument("--peers", type=Path, default=Path("build/peers"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.ours:
        train_ours(arguments.sets[0], arguments.data, arguments.ours, arguments.threads)
        return 0
    for name in arguments.sets:
        item_vectors(load_split(name, arguments.data))  # made before anything is timed
        with tempfile.TemporaryDirectory() as folder:
            asked = [who for who in (OURS, *PEERS) if (who, name) != ("recbole", "M")]
            curves = {who: run(who, name, arguments, Path(folder)) for who in asked}
        Console(width=120).print(compare(name, curves))
    return 0


def run(who: str, name: str, arguments: argparse.Namespace, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Train in a process of its own; return seconds and validation NDCG@10 after each epoch."""
    output = folder / f"{who}.npz"
    if who == OURS:
        command = [
            sys.executable, "-m", "benches", "P6", "--sets", name, "--data", str(arguments.data),
            "--threads", str(arguments.threads), "--ours", str(output),
        ]  # fmt: skip
    else:
        command = [
            str(arguments.peers / "venv/bin/python"), "benches/peers/measure.py", str(arguments.peers / f"{name}.npz"),
            who, "--output", str(output), "--threads", str(arguments.threads), "--epochs", "200", *options(who, name),
        ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    kept = np.load(output)
    return kept["seconds"], kept["validation_ndcg"]


def options(who: str, name: str) -> list[str]:
    """Return what ``make peers`` runs a peer with."""
    if who == "recbole":
        return ["--patience", "10", "--batch-size", "2048", "--max-length", "50"]
    return ["--max-length", "20"] if name == "M" else ["--patience", "20", "--batch-size", "16"]


def train_ours(name: str, data: Path, output: Path, threads: int) -> None:
    """Fit with the defaults and write the curve; an epoch ends when it is logged, after its validation."""
    torch.set_num_threads(threads)
    split = load_split(name, data)
    content, ends = item_vectors(split), [time.perf_counter()]

    class Clock(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "validation NDCG" in record.getMessage():
                ends.append(time.perf_counter())

    logger.addHandler(Clock())
    logger.setLevel(logging.INFO)
    histories, validation = split.sequences
    model = SequenceModel().fit(histories, split.n_items, content=content, validation=validation)
    with output.open("wb") as file:
        np.savez(file, seconds=np.asarray(ends[1:]) - ends[0], validation_ndcg=model.validation_ndcg_)


def compare(name: str, curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> Table:
    """Say when each was at its best, and when ours was as good as the peer's best."""
    table = Table(
        "who", "epochs to best", "best NDCG@10", "seconds to best", "ours as good after", "ratio", title=name
    )
    seconds, ndcg = curves[OURS]
    for who, (took, curve) in curves.items():
        best = int(curve.argmax())
        reached = np.flatnonzero(ndcg >= curve.max())
        as_good = f"{seconds[reached[0]]:.1f} s" if len(reached) else "never"
        ratio = f"{took[best] / seconds[reached[0]]:.2f}" if len(reached) else ""
        table.add_row(who, str(best + 1), f"{100 * curve.max():.2f}", f"{took[best]:.1f}", as_good, ratio)
    return table
