"""Runs benchmarks and prints ours beside each peer: ``python -m benches [P1 P4 ...]``.

Each file is one id of the targets, or several that share their contenders (P2 and P2b). Within it, tests of one group
do the same work; ``test_ours`` is the library, the others are peers, run turn by turn in the same process. Ratios are
what counts: absolute times depend on the machine. A file with a function ``table`` has nothing to time and is printed
as it is. One with a function ``main`` measures quality, has arguments of its own (``python -m benches Q5 --help``) and
runs only when it is asked for.

What a test puts in ``benchmark.extra_info`` comes into the table: ``target``, how many times as long as ours the peer
should take; ``figures``, a dict from a name to a value and the most that it should be (None: no target);
``contender``, another name for the row; anything else as it is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def main() -> int:
    """Run the chosen benchmarks; exit code of pytest."""
    files = {
        name.upper(): path
        for path in sorted(HERE.glob("[pq]*_*.py"))
        for name in re.findall(r"[pq]\d+[a-e]?", path.stem.split("_")[0])
    }
    first = sys.argv[1].upper() if len(sys.argv) > 1 else ""
    if first in files and "def main(" in files[first].read_text("utf-8"):
        return load(files[first]).main(sys.argv[2:])
    files = {name: path for name, path in files.items() if "def main(" not in path.read_text("utf-8")}
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("ids", nargs="*", help=f"of {', '.join(files)}; all by default")
    parser.add_argument("--json", type=Path, help="where to write every measurement as well")
    arguments = parser.parse_args()
    # P2b without a file of its own stands in that of P2.
    ids = [name.upper() for name in arguments.ids] or list(files)
    chosen = list(dict.fromkeys(name if name in files else name.rstrip("ABCD") for name in ids))
    unknown = [name for name in chosen if name not in files]
    if unknown:
        parser.error(f"ids must be of {', '.join(files)}, got {', '.join(unknown)}")
    timed = []
    for name in chosen:
        if "def table(" in files[name].read_text("utf-8"):
            print_table(files[name])
        else:
            timed.append(str(files[name]))
    if not timed:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        output = arguments.json or Path(folder) / "benchmarks.json"
        code = pytest.main(
            [
                *timed,
                "-q", "-p", "no:cacheprovider", "--import-mode=importlib",
                "--benchmark-only", "--benchmark-disable-gc", "--benchmark-columns=median,rounds",
                f"--benchmark-json={output}",
            ]
        )  # fmt: skip
        if code == 0:
            print_ratios(json.loads(output.read_text())["benchmarks"])
    return int(code)


def load(file: Path) -> ModuleType:
    """Import a benchmark."""
    return importlib.import_module(f"benches.{file.stem}")


def print_table(file: Path) -> None:
    """Print what a benchmark without times has to show."""
    module = load(file)
    Console(width=150).print(
        f"{file.stem.split('_')[0].upper()}: {module.__doc__.splitlines()[0]}", module.table()
    )


def print_ratios(measurements: list[dict]) -> None:
    """Print, for each group, how many times as long as ours each contender takes, and what else was measured."""
    table = Table("id", "who", "median s", "times ours", "also measured", "target", "holds")
    groups: dict[str, dict[str, tuple[float, dict]]] = {}
    for measured in measurements:
        more = measured["extra_info"]
        name = more.pop("contender", measured["name"].removeprefix("test_").split("[")[0])
        groups.setdefault(measured["group"], {})[name] = (measured["stats"]["median"], more)
    for group, contenders in groups.items():
        ours, _ = contenders["ours"]
        for name, (median, more) in sorted(contenders.items(), key=lambda pair: pair[0] != "ours"):
            target, figures = more.pop("target", None), more.pop("figures", {})
            wanted, holds = (
                ("", "") if target is None else (f"≥ {target:.3g}", yes_no(median >= target * ours))
            )
            also = ", ".join(f"{what} {value}" for what, value in more.items())
            table.add_row(group, name, f"{median:.4g}", f"{median / ours:.2f}", also, wanted, holds)
            for figure, (value, most) in figures.items():
                wanted, holds = ("", "") if most is None else (f"≤ {most:g}", yes_no(value <= most))
                table.add_row(group, f"{name}: {figure}", "", "", f"{value:.4g}", wanted, holds)
    console = Console()
    Console(width=max(console.width, 150)).print(table)


def yes_no(holds: bool) -> str:
    """Return what the last column says."""
    return "yes" if holds else "no"


if __name__ == "__main__":
    sys.exit(main())
