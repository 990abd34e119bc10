"""Killed at twenty seeded moments and started again: summarizing and GRPO end as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmsrarec.summarize.reward_log import read_log

KILLS = 20
_COMMON = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from mmsrarec import testing
from mmsrarec.backbone import Backbone
from mmsrarec.data import ItemContent
from mmsrarec.progress import set_progress
from mmsrarec.summarize import KeywordTable, Summarizer
set_progress(False)
work = Path(sys.argv[1])
contents = [
    ItemContent(
        f"Lamp {n}",
        f"A lamp of {n % 7} arms, " * (1 + n % 5),
        ("Home",),
        testing.TinyPicture((n % 256, 9 * n % 256, 0)),
    )
    for n in range(600)
]
backbone = Backbone.load(testing.tiny_llava(), device="cpu")
"""
SUMMARIZE = _COMMON + textwrap.dedent(
    """
    summarizer = Summarizer(backbone=backbone, encoder=None, warm_start_items=0, grpo_steps=0)
    made_by = summarizer.fingerprint
    print("ready", flush=True)
    with KeywordTable(work / "keywords.sqlite") as table:
        summarizer.summarize(contents, table, workers=int(sys.argv[2]))
        table.save_parquet(work / "table.parquet")
    """
)
LEARN = _COMMON + textwrap.dedent(
    """
    from trl import GRPOConfig
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from mmsrarec.backbone import SentenceEncoder
    from mmsrarec.testing.tiny_models import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    embedding = StaticEmbedding(tokenizer.backend_tokenizer, embedding_weights=torch.randn(len(tokenizer), 16))
    encoder = SentenceEncoder(SentenceTransformer(modules=[embedding], device="cpu"), "tiny")
    config = GRPOConfig(
        output_dir=str(work), per_device_train_batch_size=4, gradient_accumulation_steps=2, steps_per_generation=1,
        num_generations=2, max_completion_length=6, max_steps=80, save_steps=1, learning_rate=1e-2, use_cpu=True,
        bf16=False, gradient_checkpointing=False,
    )
    summarizer = Summarizer(
        backbone=backbone, encoder=encoder, warm_start_items=6, grpo=config, text_tokens=12, answer_tokens=8
    )
    print("ready", flush=True)
    summarizer.fit(contents[:20], workdir=work / "run")
    summarizer.save(work / "saved")
    with KeywordTable(None) as table:
        summarizer.summarize(contents[:30], table)
        table.save_parquet(work / "table.parquet")
    (work / "fingerprint").write_text(summarizer.fingerprint)
    """
)


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a script in a session of its own, so that its workers die with it."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise AssertionError(process.communicate()[1][-2000:])
    return process


def finish(script: str, *arguments: str) -> float:
    """Run a script to its end; returns its seconds after loading."""
    process = start(script, *arguments)
    began = time.monotonic()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return time.monotonic() - began


def kill_again_and_again(script: str, seconds: float, *arguments: str) -> int:
    """Kill a script at seeded moments, each counted from a new start; returns how often it was still at work."""
    moments = np.random.default_rng(7).uniform(0.0, 1.5 * seconds / KILLS, KILLS)
    killed = 0
    for moment in moments:
        process = start(script, *arguments)
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
        if (Path(arguments[0]) / "table.parquet").exists():
            break
    return killed


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_catalogue_ends_as_an_undisturbed_one(workers: str, tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    seconds = finish(SUMMARIZE, str(tmp_path / "whole"), "1")
    assert kill_again_and_again(SUMMARIZE, seconds, str(tmp_path / "killed"), workers) >= KILLS // 2
    finish(SUMMARIZE, str(tmp_path / "killed"), workers)
    tables = [(tmp_path / name / "table.parquet").read_bytes() for name in ("whole", "killed")]
    assert tables[0] == tables[1]
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [
        "keywords.sqlite",
        "table.parquet",
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_of_a_killed_process_end_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It alone is killed, as where memory runs out, and not its session."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    for name in ("temporary", "work"):
        (tmp_path / name).mkdir()
    process = start(SUMMARIZE, str(tmp_path / "work"), "2")
    marks = "keywords.sqlite.worker-*"
    wait_until(lambda: len(list((tmp_path / "work").glob(marks))) == 2)
    assert list((tmp_path / "temporary").glob("mmsrarec-workers-*/backbone"))
    process.kill()
    process.communicate(timeout=60)  # pipes end when no worker holds them
    assert not list((tmp_path / "temporary").glob("mmsrarec-workers-*"))
    assert not (tmp_path / "work" / "table.parquet").exists()


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    """Look again and again until something is so."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def kill_while_learning(work: Path) -> list[int]:
    """Kill learning at drawn moments of drawn steps of GRPO; returns how many steps were done at each kill.

    Not at moments of the clock: how long it takes to get back to work differs, and all kills could fall into that.
    """
    log = work / "run" / "grpo_run" / "rewards.jsonl"
    generator = np.random.default_rng(7)
    killed = []
    for further, seconds in zip(
        generator.integers(0, 5, KILLS), generator.uniform(0.0, 0.3, KILLS), strict=True
    ):
        process = start(LEARN, str(work))
        goal = len(read_log(log)) + further
        while process.poll() is None and len(read_log(log)) < goal:
            time.sleep(0.05)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed.append(len(read_log(log)))
    return killed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_learning_ends_as_undisturbed_learning(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, cut):
        folder.mkdir()
    finish(LEARN, str(whole))
    killed = kill_while_learning(cut)
    print("steps of GRPO done when it was killed:", killed)
    assert len({steps for steps in killed if 0 < steps < 80}) >= KILLS // 4
    if not (cut / "fingerprint").exists():
        finish(LEARN, str(cut))
    adapters = [Path("run") / step / "adapter_model.safetensors" for step in ("warm_start", "grpo")]
    for name in (*adapters, "fingerprint", "table.parquet", "saved/reward_log.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
