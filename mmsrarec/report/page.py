"""The report page: its sections from plain data, in the look of the explanations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals as nw
from markupsafe import Markup

from mmsrarec.errors import InputError
from mmsrarec.explain import Explanation, page_environment, plain
from mmsrarec.explain.page import explanation_view
from mmsrarec.explain.wording import number
from mmsrarec.report.curves import draw_curve
from mmsrarec.report.gains import draw_gains
from mmsrarec.report.reliability import draw_reliability
from mmsrarec.storage import atomic_path

__all__ = ["StageTime", "render_report", "write_report"]

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_ROWS = 200


@dataclass(frozen=True)
class StageTime:
    """What one stage of a fit cost.

    Attributes
    ----------
    name
        Name of the stage.
    seconds
        Wall time.
    peak_memory_mebibytes
        Peak memory of the process at the end of the stage, if it was measured.
    """

    name: str
    seconds: float
    peak_memory_mebibytes: float | None = None


def render_report(
    *,
    title: str = "Recommender report",
    facts: Mapping[str, object] | None = None,
    stages: Sequence[StageTime | tuple[str, float]] = (),
    curves: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    evaluation: Any = None,
    gains: Any = None,
    reliability: Mapping[str, Sequence[tuple[float, float, int]]] | None = None,
    tables: Mapping[str, Any] | None = None,
    recommendations: Any = None,
    explanations: Sequence[Explanation] = (),
) -> str:
    """Write the report of a run as one self-contained HTML page.

    Parameters
    ----------
    title
        Title of the page.
    facts
        Short name → value, shown at the top: users, items, backbone, seed and the like.
    stages
        Cost of each stage, in the order they ran.
    curves
        Name → pairs of step and value, one small drawing each.
    evaluation
        A frame that narwhals accepts, or an object whose ``to_html()`` gives a fragment. **The fragment is
        trusted**: it goes into the page as it is.
    gains
        A frame of what each part of the method adds, as :func:`mmsrarec.evaluate.ablation_gains` gives it, one
        drawing a metric and model.
    reliability
        Whose probability → bins: mean probability, share that came true, number of candidates.
    tables
        Further titled tables, of the same kinds as `evaluation`.
    recommendations
        A frame with ``user_id, item_id, rank, score`` and, if there is one, ``title``.
    explanations
        One section each.

    Returns
    -------
    str
        The page. It makes no request and runs no script; every text is escaped. Sections without data
        are left out.

    Raises
    ------
    InputError
        If a table is of no known kind, or a column is missing.

    Examples
    --------
    >>> loss = [(0, 2.0), (1, 1.5)]
    >>> page = render_report(title="A <b>run</b>", stages=[("keywords", 12.5)], curves={"loss": loss})
    >>> "A &lt;b&gt;run" in page, "12.5 s" in page
    (True, True)
    """
    sections: dict[str, Any] = {
        "facts": [(plain(name), _cell(value)) for name, value in (facts or {}).items()],
        "stages": _stage_rows(stages),
        "total": _duration(sum(stage.seconds for stage in map(_as_stage, stages))),
        "with_memory": any(_as_stage(stage).peak_memory_mebibytes is not None for stage in stages),
        "curves": [draw_curve(name, points) for name, points in (curves or {}).items()],
        "evaluation": _table("evaluation", evaluation),
        "gains": [draw_gains(name, parts) for name, parts in _gains_by_metric(gains).items()],
        "reliability": [draw_reliability(name, bins) for name, bins in (reliability or {}).items()],
        "tables": [(plain(name), _table(name, table)) for name, table in (tables or {}).items()],
        "users": _recommendations_by_user(recommendations),
        "views": [explanation_view(explanation) for explanation in explanations],
    }
    template = page_environment(_TEMPLATES).get_template("report.html.j2")
    return template.render(title=plain(title), **sections)


def write_report(path: str | Path, **sections: Any) -> Path:
    """Write the page of :func:`render_report` to a file, atomically.

    Parameters
    ----------
    path
        Where to; its folder is made if it is missing.
    **sections
        As in :func:`render_report`.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    StoredFileError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> write_report(Path(tempfile.mkdtemp()) / "report.html", title="A run").name
    'report.html'
    """
    page = render_report(**sections)
    with atomic_path(path) as temporary:
        temporary.write_text(page, "utf-8")
    return Path(path)


def _as_stage(stage: StageTime | tuple[str, float]) -> StageTime:
    return stage if isinstance(stage, StageTime) else StageTime(*stage)


def _stage_rows(stages: Sequence[StageTime | tuple[str, float]]) -> list[dict[str, Any]]:
    listed = [_as_stage(stage) for stage in stages]
    longest = max((stage.seconds for stage in listed), default=0.0)
    return [
        {
            "name": plain(stage.name.replace("_", " "), limit=60),
            "share": round(100 * stage.seconds / longest, 1) if longest > 0 else 0,
            "time": _duration(stage.seconds),
            "memory": ""
            if stage.peak_memory_mebibytes is None
            else f"{number(stage.peak_memory_mebibytes, 0)} MiB",
        }
        for stage in listed
    ]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{number(seconds, 1)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return number(value, 4)
    return (
        f"{value:,}".replace(",", "\u202f") if type(value) is int and abs(value) >= 10_000 else plain(value)
    )


def _frame(name: str, value: Any) -> nw.DataFrame | None:
    try:
        frame = nw.from_native(value, eager_only=True)
    except TypeError:
        return None
    if len(frame) > _MOST_ROWS:
        raise InputError(
            f"{name} has {len(frame)} rows, a report shows up to {_MOST_ROWS}; give fewer users."
        )
    return frame


def _table(name: str, value: Any) -> dict[str, Any] | None:
    """Give the columns, which of them are numbers, and the rows of a frame; or a ready fragment."""
    if value is None:
        return None
    frame = _frame(name, value)
    if frame is None:
        if not hasattr(value, "to_html"):
            raise InputError(f"{name} must be a frame or have to_html(), got {type(value).__name__}.")
        return {"fragment": Markup(value.to_html())}
    numeric = [frame[column].dtype.is_numeric() for column in frame.columns]
    return {
        "fragment": None,
        "columns": [plain(column) for column in frame.columns],
        "numeric": numeric,
        "rows": [[_cell(value) for value in row] for row in frame.rows()],
    }


def _rows(name: str, value: Any, needed: Sequence[str]) -> list[dict[str, Any]]:
    """Give the rows of a frame that must have some columns; none where there is no frame."""
    if value is None:
        return []
    frame = _frame(name, value)
    missing = [column for column in needed if frame is None or column not in frame.columns]
    if frame is None or missing:
        raise InputError(
            f"{name} must be a frame with the columns {', '.join(needed)}; missing: {', '.join(missing)}."
        )
    return list(frame.iter_rows(named=True))


def _gains_by_metric(value: Any) -> dict[str, list[tuple[str, float, float, float]]]:
    needed = ("part", "model", "protocol", "metric", "gain", "low", "high")
    drawn: dict[str, list[tuple[str, float, float, float]]] = {}
    for row in _rows("gains", value, needed):
        measured = f"{row['metric']}, {row['protocol']} negatives: {row['model']}"
        drawn.setdefault(measured, []).append((row["part"], row["gain"], row["low"], row["high"]))
    return drawn


def _recommendations_by_user(value: Any) -> list[dict[str, Any]]:
    users: dict[Any, list[dict[str, Any]]] = {}
    for row in _rows("recommendations", value, ("user_id", "item_id", "rank", "score")):
        users.setdefault(row["user_id"], []).append(row)
    return [
        {"name": f"user {plain(user, limit=60)}", "rows": [_recommendation(row) for row in rows]}
        for user, rows in users.items()
    ]


def _recommendation(row: Mapping[str, Any]) -> dict[str, Any]:
    score = float(row["score"]) if row["score"] is not None else math.nan
    return {
        "rank": row["rank"],
        "name": plain(row.get("title") or f"item {row['item_id']}"),
        "score": number(score),
        "share": round(100 * min(max(score, 0.0), 1.0), 1) if math.isfinite(score) else 0,
    }
