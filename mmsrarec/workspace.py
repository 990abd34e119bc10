"""The folder a fit works in: finished stages are kept, unfinished ones go on, one writer at a time.

A stage is ``fit(inputs) -> artefact``. :meth:`Workspace.stage` compares the fingerprint of the inputs with
the one in the manifest of what is already there: equal, and the stage is skipped. That one mechanism is
resume, caching and reproducibility.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.progress import logger
from mmsrarec.storage import (
    MANIFEST,
    exclusive_folder,
    read_artefact,
    read_json,
    replace_folder,
    seal_artefact,
    write_json,
)

__all__ = ["CHECKPOINT", "KEYWORDS", "Workspace"]

Artefact = TypeVar("Artefact")

CHECKPOINT = "checkpoint"
"""Folder inside an unfinished stage for what only a resumed run needs; removed when the stage is done."""

KEYWORDS = "keywords.sqlite"
"""The keyword table beside the stages; it outlives them, since a catalogue that grew costs only its new items."""

_MADE_FROM = "made_from.json"


class Workspace:
    """Stages of one fit in one folder, used as a context manager.

    Parameters
    ----------
    folder
        Made if it is missing. An existing folder must be empty or a workspace.
    shared
        Folders of other workspaces. A stage that is finished there, from the same inputs, is read there and not made
        again; nothing is written to them.

    Raises
    ------
    InputError
        If another process is writing in the folder, or if this process only reads a script again to become a worker.
    StoredFileError
        If the folder cannot be made or written to.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> def build(path): _ = (path / "answer.txt").write_text("42")
    >>> def load(path): return (path / "answer.txt").read_text()
    >>> with Workspace(folder) as workspace:
    ...     workspace.stage("answer", "f0", build, load)
    '42'
    >>> with Workspace(folder) as workspace:
    ...     _ = workspace.stage("answer", "f0", build, load)
    ...     workspace.kept
    ['answer']
    """

    def __init__(self, folder: str | Path, *, shared: Sequence[str | Path] = ()) -> None:
        self.folder = Path(folder)
        self.shared = [Path(other) for other in shared]
        self.kept: list[str] = []
        self.made: list[str] = []
        self._held = ExitStack()
        self._log: logging.Handler | None = None
        self._level = logging.NOTSET

    def __enter__(self) -> Workspace:
        # What Python itself looks at when a process is started here; without it every worker would fit again.
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise InputError(
                "workers read the script that started them, and this one fits as it is read; put what it does under "
                'if __name__ == "__main__":.'
            )
        self._held.enter_context(exclusive_folder(self.folder))
        self._log = logging.FileHandler(self.folder / "mmsrarec.log", encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(self._log)
        self._level = logger.level
        if logger.getEffectiveLevel() > logging.INFO:
            logger.setLevel(logging.INFO)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            logger.error("stopped by %s: %s", kind.__name__ if kind else "", error)
        if self._log is not None:
            logger.removeHandler(self._log)
            logger.setLevel(self._level)
            self._log.close()
            self._log = None
        self._held.close()

    def stage(
        self,
        name: str,
        made_from: str,
        build: Callable[[Path], Any],
        load: Callable[[Path], Artefact],
    ) -> Artefact:
        """Return the artefact of a stage, building it only if its inputs changed.

        Parameters
        ----------
        name
            Folder name of the artefact, and its kind in the manifest.
        made_from
            Fingerprint of everything the artefact depends on.
        build
            Fills a folder. What an interrupted run left there is still there, so that `build` can go
            on from it; what lies under :data:`CHECKPOINT` is removed at the end.
        load
            Reads the finished folder.

        Returns
        -------
        Artefact
            What `load` returns.
        """
        final = self.folder / name
        if self._is_done(final, name, made_from):
            self.kept.append(name)
            logger.info("stage %s: unchanged, kept", name)
            return load(final)
        sealed = self.folder / f"{name}.partial"
        if self._is_done(sealed, name, made_from):
            replace_folder(sealed, final)
            self.kept.append(name)
            return load(final)
        for other in self.shared:
            if self._is_done(other / name, name, made_from):
                self.kept.append(name)
                logger.info("stage %s: the one of %s is the same and used", name, other)
                return load(other / name)
        partial = self._open_partial(name, made_from)
        logger.info("stage %s: started", name)
        started = time.monotonic()
        build(partial)
        shutil.rmtree(partial / CHECKPOINT, ignore_errors=True)
        seconds = round(time.monotonic() - started, 1)
        (partial / _MADE_FROM).unlink()
        seal_artefact(partial, name, made_from)
        replace_folder(partial, final)
        self.made.append(name)
        # Times differ from run to run and must not make equal artefacts differ, so they stand beside them.
        self._record(name, seconds)
        logger.info("stage %s: done in %.1f s", name, seconds)
        return load(final)

    def timings(self) -> dict[str, dict[str, float]]:
        """Return, for each finished stage, its seconds and the peak memory of the process (MiB) at its end."""
        path = self.folder / "stages.json"
        return read_json(path) if path.exists() else {}

    def _is_done(self, final: Path, name: str, made_from: str) -> bool:
        if not (final / MANIFEST).exists():
            return False
        try:
            return read_artefact(final, name)["made_from"] == made_from
        except StoredFileError as error:
            logger.warning("stage %s is made again: %s", name, error)
            return False

    def _open_partial(self, name: str, made_from: str) -> Path:
        partial = self.folder / f"{name}.partial"
        marker = partial / _MADE_FROM
        if partial.exists():
            try:
                same = read_json(marker) == made_from
            except StoredFileError:
                same = False
            if same:
                logger.info("stage %s: goes on where it was interrupted", name)
                return partial
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        write_json(marker, made_from)
        return partial

    def _record(self, name: str, seconds: float) -> None:
        timings = self.timings()
        peak_mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        timings[name] = {"seconds": seconds, "peak_memory_mebibytes": round(peak_mebibytes, 1)}
        write_json(self.folder / "stages.json", timings)
