"""``mmsrarec evaluate`` and ``report``: how good a fitted model is, and one page on all of a run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsrarec.cli.asking import load_model, recommendation_frame
from mmsrarec.cli.fitting import stage_order
from mmsrarec.cli.held_out import load_held_out
from mmsrarec.cli.ids import user_ids
from mmsrarec.cli.options import Backbone, Device, Format, Images, Model, OutputFormat, Seed, Users, Verbose
from mmsrarec.cli.output import print_frame, print_rich, say
from mmsrarec.errors import InputError
from mmsrarec.storage import fingerprint, read_artefact, write_artefact

if TYPE_CHECKING:
    from mmsrarec.evaluate import EvaluationTable
    from mmsrarec.recommender import Recommender

__all__ = ["evaluate", "load_evaluation", "read_curves", "report", "save_evaluation", "write_run_report"]

EVALUATION = "evaluation"
_UNFINISHED = "evaluation.unfinished"
_KIND = "evaluation"
_REWARDS_TITLE = "Keywords of items that were set aside, before and after training"
_REWARDS = ("total", "information", "reconstruction", "length")
# A policy's loss says nothing of how well it does; its rewards do.
_DRAWN = (*_REWARDS, "loss")
# How a policy changes, and whether it cheats.
_SIGNS = ("held_out_total", "kl", "groups_without_spread", "most_common_keyword")
_UNTOLD_WORDS = {"run", "steps", "rewards"}
_USERS_SHOWN = 3

Workdir = Annotated[Path, typer.Option(help="Workdir the model was fitted in.", show_default=False)]


def evaluate(
    model: Model,
    workdir: Workdir,
    users: Annotated[
        int | None,
        typer.Option(help="A seeded sample of this many users; all by default.", show_default=False),
    ] = None,
    negatives: Annotated[int, typer.Option(help="Items a user that the held-out one is ranked among.")] = 20,
    full_catalogue: Annotated[
        bool, typer.Option("--full-catalogue/--sampled-only", help="Rank the whole catalogue as well.")
    ] = True,
    seed: Seed = 0,
    format: Format = OutputFormat.TABLE,
    backbone: Backbone = None,
    images: Images = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Measure a fitted model on what its fit held out; an interrupted evaluation goes on where it was."""
    recommender = load_model(model, backbone, images, device)
    test = load_held_out(workdir, recommender.parts_.catalogue)
    from mmsrarec.evaluate import evaluate_recommender

    unfinished = workdir / _UNFINISHED
    table = evaluate_recommender(
        recommender,
        test,
        users=users,
        negatives=negatives,
        seed=seed,
        full_catalogue=full_catalogue,
        workdir=unfinished,
    )
    save_evaluation(table, workdir)
    shutil.rmtree(unfinished, ignore_errors=True)
    if format is OutputFormat.TABLE:
        print_rich(table)
    else:
        print_frame(table.to_frame(), format)


def save_evaluation(table: EvaluationTable, workdir: Path) -> None:
    """Keep an evaluation in the workdir, for the report."""
    made_from = fingerprint(table.n_items, table.seed, str(table.rows))
    write_artefact(workdir / EVALUATION, _KIND, made_from, table.save)


def load_evaluation(workdir: Path) -> EvaluationTable | None:
    """Read what :func:`save_evaluation` kept; ``None`` if there is nothing."""
    folder = workdir / EVALUATION
    if not folder.exists():
        return None
    read_artefact(folder, _KIND)
    from mmsrarec.evaluate import EvaluationTable

    return EvaluationTable.load(folder)


def report(
    model: Model,
    workdir: Workdir,
    html: Annotated[
        Path | None, typer.Option(help="Where to; WORKDIR/report.html by default.", show_default=False)
    ] = None,
    user: Users = None,
    k: Annotated[int, typer.Option("-k", "--top", help="Recommendations a user.")] = 5,
    backbone: Backbone = None,
    images: Images = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Write one page on a run."""
    if not workdir.is_dir():
        raise InputError(f"--workdir must be the folder of a fit, got {workdir}, which does not exist.")
    recommender = load_model(model, backbone, images, device)
    shown = user_ids(recommender, user) if user else typical_users(recommender)
    evaluation = load_evaluation(workdir)
    if evaluation is None:
        say(
            f"no evaluation yet; to have one in the page, type: mmsrarec evaluate {model} --workdir {workdir}"
        )
    path = html or workdir / "report.html"
    write_run_report(recommender, workdir, path, shown, k=k, evaluation=evaluation)
    say(f"the report is {path}")


def typical_users(recommender: Recommender) -> list[Any]:
    """Choose the known users with the shortest, the middle and the longest history."""
    known = recommender.parts_.users
    order = sorted(range(len(known)), key=lambda user: (len(known.histories[user]), user))
    places = sorted({0, len(order) // 2, len(order) - 1})[:_USERS_SHOWN]
    return known.ids[[order[place] for place in places]].to_list()


def write_run_report(
    recommender: Recommender,
    workdir: Path,
    path: Path,
    users: Sequence[Any],
    *,
    k: int,
    evaluation: EvaluationTable | None,
) -> None:
    """Gather what a run left behind and write its page.

    Parameters
    ----------
    recommender
        The fitted model.
    workdir
        Workdir of its fit.
    path
        The page.
    users
        Ids of the users shown.
    k
        Recommendations a user; at most the size of the catalogue.
    evaluation
        Shown if there is one.
    """
    from mmsrarec.progress import track
    from mmsrarec.report import StageTime, write_report
    from mmsrarec.workspace import Workspace

    parts = recommender.parts_
    k = min(k, parts.catalogue.n_items)
    preset = recommender.preset
    write_report(
        path,
        title=f"Run {workdir.resolve().name}",
        facts={
            "items": parts.catalogue.n_items,
            "known users": len(parts.users),
            "training events": int(parts.popularity.sum()),
            "backbone": parts.require_language_model().backbone.name,
            **_student(recommender),
            "preset": preset if isinstance(preset, str) else "custom",
            "history": recommender.history,
            "similar users": recommender.similar_users,
            "seed": recommender.seed,
        },
        stages=[
            StageTime(name, times["seconds"], times.get("peak_memory_mebibytes"))
            for name, times in stage_order(Workspace(workdir).timings())
        ],
        curves=read_curves(workdir),
        evaluation=evaluation,
        reliability=evaluation.reliability_by_model() if evaluation else None,
        tables=_held_out_rewards(workdir),
        recommendations=recommendation_frame(recommender, recommender.recommend(users, k=k)),
        explanations=[recommender.explain(user) for user in track(users, "explaining")],
    )


def _student(recommender: Recommender) -> dict[str, str]:
    """Say how well the language model is guessed where it is not asked."""
    student = recommender.parts_.student
    if student is None:
        return {}
    return {
        "student's R²": f"{student.explained_:.2f} ± {student.explained_error_:.2f}",
        "student's rank correlation": f"{student.rank_correlation_:.2f}",
    }


def _held_out_rewards(workdir: Path) -> dict[str, Any]:
    """Read what the fit measured of keywords on items it set aside; empty for presets that set none aside."""
    import polars as pl

    path = workdir / "summarizer" / "held_out_rewards.parquet"
    return {_REWARDS_TITLE: pl.read_parquet(path)} if path.exists() else {}


def read_curves(workdir: Path) -> dict[str, list[tuple[float, float]]]:
    """Read what the stages of a fit logged: files ``logs/<stage>-<run>.jsonl``, one JSON object a step.

    Returns
    -------
    dict
        ``"stage: number"`` → pairs of step and value. A line that is not such an object is left out.
    """
    logs = {path.stem: path for path in (workdir / "logs").glob("*.jsonl")}
    by_stage: dict[str, dict[str, list[str]]] = {}
    for name in sorted(logs):
        by_stage.setdefault(name.partition("-")[0], {}).setdefault("logs", []).append(name)
    curves: dict[str, list[tuple[float, float]]] = {}
    for name in [name for _, stage in stage_order(by_stage) for name in stage["logs"]]:
        what = " ".join(word for word in re.split("[-_]", name) if word not in _UNTOLD_WORDS)
        for entry in _entries(logs[name]):
            for number in (*_REWARDS, *_SIGNS) if "total" in entry else _DRAWN:
                if isinstance(entry.get(number), int | float):
                    kind = f"{number} reward" if "total" in entry and number not in _SIGNS else number
                    curves.setdefault(f"{what}: {kind}", []).append((entry["step"], entry[number]))
    return curves


def _entries(path: Path) -> list[dict[str, Any]]:
    entries = []
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int | float):
            entries.append(entry)
    return entries
