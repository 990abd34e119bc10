"""The application: its commands, and what becomes of errors, warnings and Ctrl-C."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from mmsrarec import __version__, progress
from mmsrarec.cli.ablating import ablate
from mmsrarec.cli.asking import explain, predict, recommend, search
from mmsrarec.cli.demonstration import demo
from mmsrarec.cli.fitting import fit
from mmsrarec.cli.growing import add_items, update
from mmsrarec.cli.information import info
from mmsrarec.cli.judging import evaluate, report
from mmsrarec.cli.options import Verbose
from mmsrarec.errors import MmsrarecError

__all__ = ["app", "main", "run"]

BAD_INPUT = 2
INTERRUPTED = 130
_ENVIRONMENT = {
    # Threads that wait by spinning take the cores from whatever else runs; asleep, they cost an idle machine nothing
    # that can be seen. Read once, when torch is loaded.
    "OMP_WAIT_POLICY": "PASSIVE",
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


class Interrupted(Exception):  # noqa: N818  (it is no error)
    """Ctrl-C was pressed in a command."""


class _Commands(TyperGroup):
    """Turns Ctrl-C into an exception of our own before Typer makes an exit code of it without a word."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            raise Interrupted from None


app = typer.Typer(
    name="mmsrarec",
    cls=_Commands,
    help="The recommender whose reasons are words. Start with: mmsrarec demo",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmsrarec {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    verbose: Verbose = False,
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_version, is_eager=True
    ),
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _command(function: Any, example: str, help_text: str) -> None:
    name = function.__name__.replace("_", "-")
    app.command(name, help=help_text, epilog=f"Example: {example}")(function)


_command(
    demo,
    "mmsrarec demo --workdir runs/demo",
    "Generate a small shop, fit on it, recommend, explain, evaluate, and write a report page.",
)
_command(
    fit,
    "mmsrarec fit --data my-shop/ --workdir runs/shop --preset quick",
    "Learn from a catalogue and its interactions; an interrupted fit goes on where it was.",
)
_command(
    predict,
    "mmsrarec predict runs/shop/model --user 17 --item 42 --item 43",
    "Print the probability that an item is a person's next one.",
)
_command(
    recommend,
    "mmsrarec recommend runs/shop/model --user 17 --user 42 -k 10",
    "Recommend items out of the whole catalogue.",
)
_command(
    explain,
    "mmsrarec explain runs/shop/model --user 17 --html why.html",
    "Say why an item stands where it stands for a person; without an item, for the first recommendation.",
)
_command(
    search,
    'mmsrarec search runs/shop/model "cosy autumn knitwear" -k 20',
    "Find items by words.",
)
_command(
    add_items,
    "mmsrarec add-items runs/shop/model new-items.csv --workdir runs/shop",
    "Take new items into a model without a fit: summarized, and recommendable at once.",
)
_command(
    update,
    "mmsrarec update runs/shop/model new-interactions.csv",
    "Take new events and new users into a model without a fit.",
)
_command(
    evaluate,
    "mmsrarec evaluate runs/shop/model --workdir runs/shop",
    "Measure a fitted model on the people or events that its fit held out, beside simple baselines.",
)
_command(
    ablate,
    "mmsrarec ablate --data my-shop/ --workdir runs/shop --preset quick --part paths --part image",
    "Measure what each part of the method is worth: fit and judge with one left out at a time.",
)
_command(
    report,
    "mmsrarec report runs/shop/model --workdir runs/shop --html report.html",
    "Write one page on a run: cost, curves, quality, recommendations and explanations.",
)
_command(info, "mmsrarec info", "Show versions, threads, active kernels, and what is missing.")


class _StderrHandler(logging.Handler):
    """Shows records above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.levelname.lower() if record.levelno >= logging.WARNING else "", record.getMessage())


def _say(kind: str, message: object) -> None:
    text = f"{kind}: {message}" if kind else str(message)
    progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show warnings of this package as one text; those of other packages go to the log."""
    if category.__module__.startswith("mmsrarec") or Path(__file__).parents[1] in Path(filename).parents:
        _say("warning", message)
    else:
        progress.logger.debug("%s: %s (%s:%d)", category.__name__, message, filename, lineno)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        Words after ``mmsrarec``; those of this process by default.

    Returns
    -------
    int
        Exit code: 0; 2 after bad input, which is told in one line on standard error; 130 after Ctrl-C.

    Examples
    --------
    >>> run(["--version"])
    mmsrarec 0.1.0
    0
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    progress.logger.setLevel(logging.INFO)
    handler = _StderrHandler(logging.WARNING)
    progress.logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return _invoke(arguments)
    finally:
        progress.logger.removeHandler(handler)


def _invoke(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return app(args=words, prog_name="mmsrarec", standalone_mode=False) or 0
    except Interrupted:
        _say("", "interrupted; run the same command again to go on")
        return INTERRUPTED
    except MmsrarecError as error:
        message = str(error)
        _trace()
    except OSError as error:
        message = " ".join(str(error).split()) or type(error).__name__
        _trace()
    except Exception as error:
        # Typer's usage errors have no common public base over its versions, but all can say what is wrong.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "mmsrarec"
        wrong = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
        message = f"{wrong}. Type: {command} --help"
    _say("error", message)
    return BAD_INPUT


def _trace() -> None:
    if progress.logger.isEnabledFor(logging.DEBUG):
        progress.console.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command of this process and exit with its code; the console script's entry."""
    sys.exit(run())
