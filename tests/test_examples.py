"""Examples run as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_the_settings_of_one_gpu_run_on_a_tiny_model_of_the_family(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, EXAMPLES / "one_gpu.py", "--rehearse", "--workdir", tmp_path / "run"],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert shown.returncode == 0, shown.stderr[-2000:]
    assert "tuning: 0." in shown.stdout
    assert "a recommendation (21 candidates of 4 users)" in shown.stdout
    assert (tmp_path / "run" / "model" / "ranker" / "adapter_model.safetensors").is_file()
