"""Runs the Triton tests: under the interpreter in a process of their own, and on a GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
FOLDER = Path(__file__).parent / "interpreted"


def run(interpret: str) -> None:
    """In a process of its own: Triton's own library is interpreted only if it was told so before it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider"]
    environment = os.environ | {"TRITON_INTERPRET": interpret, "MMSRAREC_TRITON_TESTS": "1"}
    shown = subprocess.run([*command, str(FOLDER)], env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout[-4000:] + shown.stderr[-2000:]
    assert " passed" in shown.stdout


def test_under_the_interpreter() -> None:
    run("1")


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    run("0")
