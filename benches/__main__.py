"""Runs benchmarks and prints ours beside each peer: ``python -m benches [P1 P4 ...]``.

Each file is one id of the targets. Within it, tests of one group do the same work; ``test_ours`` is the library, the
others are peers, run turn by turn in the same process. Ratios are what counts: absolute times depend on the machine.

What a test puts in ``benchmark.extra_info`` comes into the table: ``target``, how many times as long as ours the peer
should take, and ``figures``, a dict from a name to a value and the most that it should be (None: no target).
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
    """Print, for each group, how many times as long as ours each peer takes, and the figures beside."""
    table = Table("id", "peer", "ours, median s", "peer, median s", "peer / ours", "target", "holds")
    groups: dict[str, dict[str, dict]] = {}
    for measured in measurements:
        name = measured["name"].removeprefix("test_").split("[")[0]
        groups.setdefault(measured["group"], {})[name] = measured
    for group, tests in groups.items():
        ours = tests["ours"]["stats"]["median"]
        for peer, measured in tests.items():
            median, target = measured["stats"]["median"], measured["extra_info"].get("target")
            wanted, holds = ("", "") if target is None else (f"≥ {target:g}", yes_no(median >= target * ours))
            if peer != "ours":
                table.add_row(
                    group, peer, f"{ours:.4g}", f"{median:.4g}", f"{median / ours:.2f}", wanted, holds
                )
            for name, (value, most) in measured["extra_info"].get("figures", {}).items():
                wanted, holds = ("", "") if most is None else (f"≤ {most:g}", yes_no(value <= most))
                table.add_row(group, name, f"{value:.4g}", "", "", wanted, holds)
    console = Console()
    Console(width=max(console.width, 130)).print(table)


def yes_no(holds: bool) -> str:
    """Return what the last column says."""
    return "yes" if holds else "no"


if __name__ == "__main__":
    sys.exit(main())
