"""What each part of the method is worth: the same fit with one part left out at a time, on the same people.

Rows share what they have in common: a stage that two of them make from the same inputs is made once. Everything goes on
where it was interrupted, an evaluation as well as a fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mmsrarec.errors import InputError
from mmsrarec.evaluate.recommender_evaluation import BLEND, PROBABILITY, evaluate_recommender
from mmsrarec.evaluate.table import EvaluationTable
from mmsrarec.progress import logger, track
from mmsrarec.recommender.ablation import PARTS, check_without
from mmsrarec.storage import atomic_path, fingerprint
from mmsrarec.workspace import Workspace

if TYPE_CHECKING:
    from mmsrarec.data import Dataset
    from mmsrarec.recommender import Recommender

__all__ = ["evaluate_ablations", "row_name"]

FOLDER = "ablations"
_STAGE = "ablation_evaluation"
_FILE = "per_user.parquet"


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
        ``compare`` tests two of them, paired by user.

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
    frames: list[pl.DataFrame] = []
    folders: list[Path] = []
    for name in track(["", *names], "evaluating ablations"):
        folder = workdir / FOLDER / name if name else workdir
        logger.info("ablation: %s", row_name(name) if name else "the whole")
        parameters = recommender.get_params()
        without = sorted({*recommender.without, name} - {""})
        row = type(recommender)(**parameters | {"without": without})
        row.fit(train, validation, workdir=folder, shared=folders)
        folders.append(folder)
        asked = fingerprint(row.made_from_, test.fingerprint, users, negatives, seed, full_catalogue)

        def measure(path: Path, row: Recommender = row) -> None:
            table = evaluate_recommender(
                row, test, users=users, negatives=negatives, seed=seed, full_catalogue=full_catalogue
            )
            with atomic_path(path / _FILE) as temporary:
                table.per_user.write_parquet(temporary)

        with Workspace(folder) as workspace:
            frame = workspace.stage(_STAGE, asked, measure, lambda path: pl.read_parquet(path / _FILE))
        frames.append(_named(frame, name) if name else frame)
    return EvaluationTable(pl.concat(frames), n_items=train.n_items, seed=seed)


def _named(frame: pl.DataFrame, part: str) -> pl.DataFrame:
    """Keep the rows that leaving a part out can change, under its name."""
    names = {row: row_name(part, row) for row in (BLEND, PROBABILITY)}
    return frame.filter(pl.col("model").is_in(list(names))).with_columns(pl.col("model").replace(names))
