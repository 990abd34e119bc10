"""What each part of the method is worth: the same fit with one part left out at a time, on the same people.

Rows share what they have in common: a stage that two of them make from the same inputs is made once. Everything goes on
where it was interrupted, an evaluation as well as a fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mmsrarec.errors import InputError
from mmsrarec.evaluate.recommender_evaluation import BLEND, PROBABILITY, evaluate_recommender
from mmsrarec.evaluate.table import EvaluationTable
from mmsrarec.progress import logger, track
from mmsrarec.recommender.ablation import PARTS, check_without
from mmsrarec.storage import fingerprint
from mmsrarec.workspace import CHECKPOINT, Workspace

if TYPE_CHECKING:
    from mmsrarec.data import Dataset
    from mmsrarec.recommender import Recommender

__all__ = ["ablation_gains", "evaluate_ablations", "row_name"]

FOLDER = "ablations"
METRICS = (("uniform", "NDCG@5"), ("uniform", "AUC"), ("popularity", "NDCG@5"))
"""Protocols and metrics that parts are judged by."""

_STAGE = "ablation_evaluation"


def row_name(part: str, row: str = BLEND) -> str:
    """Name the row of a part that is left out.

    Examples
    --------
    >>> row_name("paths"), row_name("paths", "p(yes) alone")
    ('without paths', 'without paths: p(yes) alone')
    """
    return f"without {part}" if row == BLEND else f"without {part}: {row}"


def evaluate_ablations(
    recommender: Recommender,
    train: Dataset,
    test: Dataset,
    *,
    validation: Dataset | None = None,
    ablate: Sequence[str] = tuple(PARTS),
    workdir: str | Path,
    users: int | None = None,
    negatives: int = 20,
    seed: int = 0,
    full_catalogue: bool = False,
) -> EvaluationTable:
    """Fit and measure a recommender whole, and again with each part left out.

    Parameters
    ----------
    recommender
        Its parameters are taken; it need not be fitted, and is left as it is. What it does `without` is left out
        of all rows.
    train, validation
        As :meth:`mmsrarec.Recommender.fit` takes them.
    test, users, negatives, seed, full_catalogue
        As :func:`evaluate_recommender` takes them.
    ablate
        Parts to leave out, one a row, of :data:`mmsrarec.recommender.ablation.PARTS`; all by default.
    workdir
        Workdir of the whole fit; the others lie under ``ablations/`` in it.

    Returns
    -------
    EvaluationTable
        The rows of the whole recommender, then ``without PART`` and ``without PART: p(yes) alone`` for each part;
        :func:`ablation_gains` compares them, paired by user. With the reliability of the whole.

    Raises
    ------
    InputError
        If a part is unknown, or the backbone is an object in memory, which one fit would change under the next.
    """
    names = [name for name in ablate if check_without([name]) - check_without(recommender.without)]
    if not isinstance(recommender.backbone, str | Path):
        raise InputError(
            "backbone must be a name or a folder, which every row loads afresh, got a loaded one; save it to a "
            "folder with save_pretrained."
        )
    workdir = Path(workdir)
    tables: list[EvaluationTable] = []
    folders: list[Path] = []
    for name in track(["", *names], "evaluating ablations"):
        folder = workdir / FOLDER / name if name else workdir
        logger.info("ablation: %s", row_name(name) if name else "the whole")
        parameters = recommender.get_params()
        without = sorted({*recommender.without, name} - {""})
        row = type(recommender)(**parameters | {"without": without})
        row.fit(train, validation, workdir=folder, shared=folders)
        asked = fingerprint(row.made_from_, test.fingerprint, users, negatives, seed, full_catalogue)

        def measure(path: Path, row: Recommender = row) -> None:
            evaluate_recommender(
                row,
                test,
                users=users,
                negatives=negatives,
                seed=seed,
                full_catalogue=full_catalogue,
                workdir=path / CHECKPOINT,
            ).save(path)

        with Workspace(folder, shared=folders) as workspace:
            tables.append(workspace.stage(_STAGE, asked, measure, EvaluationTable.load))
        folders.append(folder)
    whole, *ablated = tables
    frames = [_named(table.per_user, name) for table, name in zip(ablated, names, strict=True)]
    return replace(whole, per_user=pl.concat([whole.per_user, *frames]))


def ablation_gains(table: EvaluationTable, ablate: Sequence[str]) -> pl.DataFrame:
    """Say what each part adds, paired by user.

    Parameters
    ----------
    table
        Of :func:`evaluate_ablations`.
    ablate
        The parts that were left out of it.

    Returns
    -------
    polars.DataFrame
        One row a part, model and metric of :data:`METRICS`: ``part``, ``model`` (``mmsrarec`` or
        ``p(yes) alone``), ``protocol``, ``metric``, ``gain`` (the whole minus the rest, a share), ``low`` and ``high``
        (its 95 % bootstrap interval), ``p_value`` (two-sided, of one comparison: of twenty without any effect one is
        below 0.05).
    """
    rows = []
    for protocol, metric in METRICS:
        for model in (BLEND, PROBABILITY):
            for part in ablate:
                if (rest := row_name(part, model)) in table.models:
                    test = table.compare(model, rest, protocol, metric)
                    gain = test.difference, test.low, test.high, test.p_value
                    rows.append((part, model, protocol, metric, *gain))
    names = ("part", "model", "protocol", "metric"), ("gain", "low", "high", "p_value")
    schema = dict.fromkeys(names[0], pl.String) | dict.fromkeys(names[1], pl.Float64)
    return pl.DataFrame(rows, schema=schema, orient="row")


def _named(frame: pl.DataFrame, part: str) -> pl.DataFrame:
    """Keep the rows that leaving a part out can change, under its name."""
    names = {row: row_name(part, row) for row in (BLEND, PROBABILITY)}
    return frame.filter(pl.col("model").is_in(list(names))).with_columns(pl.col("model").replace(names))
