"""What a fit held out, kept in its workdir so that the model can be judged on it later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmsrarec.errors import StoredFileError
from mmsrarec.storage import MANIFEST, fingerprint, read_artefact, write_artefact

if TYPE_CHECKING:
    from mmsrarec.data import Dataset

__all__ = ["FOLDER", "load_held_out", "save_held_out"]

FOLDER = "held_out"
_KIND = "held-out"
_FILE = "interactions.parquet"


def save_held_out(test: Dataset, workdir: Path, split: str, seed: int) -> None:
    """Write the events of the people a model is to be judged on; the last of each is what it has to find.

    Parameters
    ----------
    test
        Whole histories of those people.
    workdir
        Workdir of the fit.
    split, seed
        How they were chosen, for the report.
    """
    made_from = fingerprint(test.fingerprint, split, seed)
    folder = workdir / FOLDER
    if (folder / MANIFEST).exists() and read_artefact(folder, _KIND)["made_from"] == made_from:
        return
    events = test.interactions.select(
        test.user_ids.gather(test.interactions["user"]).alias("user_id"),
        test.item_ids.gather(test.interactions["item"]).alias("item_id"),
        "timestamp",
    )
    details = {"split": split, "seed": seed, "users": test.n_users}
    write_artefact(folder, _KIND, made_from, lambda path: events.write_parquet(path / _FILE), details)


def load_held_out(workdir: Path, catalogue: Dataset) -> Dataset:
    """Read what :func:`save_held_out` wrote, over the catalogue of the fitted model.

    Raises
    ------
    StoredFileError
        If nothing was held out there, or it is damaged.
    """
    import polars as pl

    folder = workdir / FOLDER
    if not folder.is_dir():
        raise StoredFileError(
            f"{workdir} holds no {FOLDER}/: it is not the workdir of mmsrarec fit. "
            "Give the --workdir the model was fitted in."
        )
    read_artefact(folder, _KIND)
    return catalogue.with_interactions(pl.read_parquet(folder / _FILE))
