"""A summarizer as a folder: adapters of each training step (safetensors), settings and logs (JSON).

Stands under :meth:`Summarizer.save <mmsrarec.summarize.Summarizer.save>` and ``load``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmsrarec.errors import StoredFileError
from mmsrarec.storage import read_artefact, read_json, write_artefact, write_json
from mmsrarec.summarize.training import TrainedAdapters

__all__ = ["read_stored", "write_stored"]

_KIND = "summarizer"
_LOGS = ("warm_start_log.json", "reward_log.json")
Log = list[dict[str, float]]


def write_stored(
    folder: str | Path,
    *,
    settings: dict[str, Any],
    adapters: Mapping[str, Callable[[Path], object]],
    logs: tuple[Log, Log] = ([], []),
    images_admitted: bool,
    made_from: str,
    details: dict[str, Any],
) -> None:
    """Write a summarizer's folder, whole or absent.

    Parameters
    ----------
    folder
        Where to.
    settings
        Its settings, as JSON can hold them.
    adapters
        What writes the adapter of each training step, in order.
    logs
        Of the warm start and of GRPO.
    images_admitted
        Whether answers about pictures have a say.
    made_from
        Fingerprint of the settings that decide what is learned.
    details
        What else the manifest shall hold.

    Raises
    ------
    StoredFileError
        If `folder` exists and is something else, or cannot be written.
    """
    learned = {"steps": list(adapters), "images_admitted": images_admitted}

    def write(path: Path) -> None:
        for step, write_adapter in adapters.items():
            write_adapter(path / step)
        write_json(path / "settings.json", {**settings, **learned})
        for name, log in zip(_LOGS, logs, strict=True):
            write_json(path / name, log)

    write_artefact(folder, _KIND, made_from, write, details)


def read_stored(folder: str | Path) -> tuple[dict[str, Any], TrainedAdapters]:
    """Read what :func:`write_stored` wrote; the adapters stay where they are.

    Parameters
    ----------
    folder
        The folder.

    Returns
    -------
    settings : dict
        The settings.
    trained : TrainedAdapters
        Adapter folders by step, and logs.

    Raises
    ------
    StoredFileError
        If the folder is not a saved summarizer, or is damaged.
    """
    folder = Path(folder)
    read_artefact(folder, _KIND)
    settings = read_json(folder / "settings.json")
    try:
        steps = settings.pop("steps")
        folders = {step: folder / step for step in steps}
        # What was saved before this was decided heard pictures always.
        images_admitted = settings.pop("images_admitted", True)
    except (AttributeError, KeyError, TypeError) as error:
        raise StoredFileError(f"{folder / 'settings.json'} is damaged: {error}") from error
    warm_start_log, reward_log = (read_json(folder / name) for name in _LOGS)
    return settings, TrainedAdapters(folders, warm_start_log, reward_log, images_admitted)
