"""Runs benchmarks and prints ours beside each peer: ``python -m benches [P1 P4 ...]``.

Each file is one id of the targets. Within it, tests of one group do the same work; the one whose name ends in
``ours`` is the library, the others are peers, run turn by turn in the same process. Ratios are what counts: absolute
times depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def main() -> int:
    """Run the chosen benchmarks; exit code of pytest."""
    files = {path.stem.split("_")[0].upper(): path for path in sorted(HERE.glob("p*_*.py"))}
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("ids", nargs="*", help=f"of {', '.join(files)}; all by default")
    parser.add_argument("--json", type=Path, help="where to write every measurement as well")
    arguments = parser.parse_args()
    chosen = [name.upper() for name in arguments.ids] or list(files)
    unknown = [name for name in chosen if name not in files]
    if unknown:
        parser.error(f"ids must be of {', '.join(files)}, got {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        output = arguments.json or Path(folder) / "benchmarks.json"
        code = pytest.main(
            [
                *(str(files[name]) for name in chosen),
                "-q", "-p", "no:cacheprovider", "--import-mode=importlib",
                "--benchmark-only", "--benchmark-disable-gc", "--benchmark-columns=median,rounds",
                f"--benchmark-json={output}",
            ]
        )  # fmt: skip
        if code == 0:
            print_ratios(json.loads(output.read_text())["benchmarks"])
    return int(code)


def print_ratios(measurements: list[dict]) -> None:
    """Print, for each group, how many times as long as ours each peer takes."""
    table = Table("id", "peer", "ours, median s", "peer, median s", "peer / ours")
    groups: dict[str, dict[str, float]] = {}
    for measured in measurements:
        name = measured["name"].removeprefix("test_").split("[")[0]
        groups.setdefault(measured["group"], {})[name] = measured["stats"]["median"]
    for group, medians in groups.items():
        ours = medians.pop("ours")
        for peer, median in medians.items():
            table.add_row(group, peer, f"{ours:.4g}", f"{median:.4g}", f"{median / ours:.2f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
