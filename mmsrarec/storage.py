"""Files that are whole or absent: atomic writes, fingerprints, and artefact folders with a manifest.

An *artefact* is a folder with a ``manifest.json`` that names its kind, its format version, the
fingerprint of all it was made from, and the size and SHA-256 of every file in it. It is written under
a temporary name, fsynced and renamed, so a name that exists is complete. No pickle anywhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmsrarec.errors import InputError, StoredFileError

__all__ = [
    "MANIFEST",
    "atomic_path",
    "exclusive_folder",
    "file_sha256",
    "fingerprint",
    "read_artefact",
    "read_json",
    "seal_artefact",
    "write_artefact",
    "write_json",
]

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
_LOCK = ".lock"
_CHUNK_BYTES = 1 << 20


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends without an error.

    Parameters
    ----------
    path
        Final name of the file. Its folder is made if it is missing.

    Yields
    ------
    pathlib.Path
        Where to write. It is fsynced and renamed on success, removed on failure.

    Raises
    ------
    StoredFileError
        If the folder cannot be written to or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    except OSError as error:
        raise StoredFileError(
            f"{path} could not be written: {error.strerror or error}. Free space or choose a writable folder."
        ) from error
    finally:
        # Where the name itself is impossible there is nothing to remove, and the error above says so.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Make a folder to work in, and keep other processes out of it while the block runs.

    However the block ends, also by a kill, the next one may come in.

    Raises
    ------
    InputError
        If another process is in it.
    StoredFileError
        If the folder cannot be made or written to.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with exclusive_folder(folder), exclusive_folder(folder):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    mmsrarec.errors.InputError: workdir ... is in use by another process; wait for it or choose another folder.
    """
    path = folder / _LOCK
    descriptor = _locked(path, folder)
    while not _is_at(descriptor, path):
        # Whoever was in there has taken the file away since it was opened.
        os.close(descriptor)
        descriptor = _locked(path, folder)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path, folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoredFileError(
            f"workdir {folder} cannot be written to ({error.strerror}); choose a writable folder."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InputError(
            f"workdir {folder} is in use by another process; wait for it or choose another folder."
        ) from None
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as JSON, atomically.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_json(target, {"k": 1}); read_json(target)
    {'k': 1}
    """
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", "utf-8"
        )


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    StoredFileError
        If the file is missing or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise StoredFileError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise StoredFileError(f"{path} is not readable JSON ({error}); it is damaged or foreign.") from error


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(*parts: Any) -> str:
    """Hash what an artefact is made from: equal parts give an equal fingerprint in any process.

    Parameters
    ----------
    *parts
        Strings, numbers, ``None``, bytes, NumPy arrays, and lists, tuples and dictionaries of these.
        The order of dictionary keys does not matter.

    Returns
    -------
    str
        32 hexadecimal digits (128 bits of a SHA-256).

    Examples
    --------
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    >>> fingerprint([1, 2]) == fingerprint([12])
    False
    """
    digest = hashlib.sha256()

    def feed(part: Any) -> None:
        if isinstance(part, np.ndarray):
            digest.update(f"array {part.dtype} {part.shape};".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, bytes):
            digest.update(f"bytes {len(part)};".encode())
            digest.update(part)
        elif isinstance(part, dict):
            digest.update(f"map {len(part)};".encode())
            for key in sorted(part, key=str):
                feed(str(key))
                feed(part[key])
        elif isinstance(part, list | tuple):
            digest.update(f"list {len(part)};".encode())
            for element in part:
                feed(element)
        elif part is None or isinstance(part, str | bool | int | float | np.generic):
            value = part.item() if isinstance(part, np.generic) else part
            text = repr(value).encode("utf-8", "surrogatepass")
            digest.update(f"{type(value).__name__} {len(text)};".encode())
            digest.update(text)
        else:
            raise TypeError(f"fingerprint takes plain values and arrays, got {type(part).__name__}.")

    feed(list(parts))
    return digest.hexdigest()[:32]


def seal_artefact(folder: Path, kind: str, made_from: str, details: dict[str, Any] | None = None) -> None:
    """Write the manifest of a finished folder; the last step before it gets its final name.

    Parameters
    ----------
    folder
        Folder whose files are complete.
    kind
        What it holds, for example ``"sequence-model"``.
    made_from
        Fingerprint of all it was made from.
    details
        Further plain values to keep in the manifest.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            _fsync(path)
            files[path.relative_to(folder).as_posix()] = {
                "bytes": path.stat().st_size,
                "sha256": file_sha256(path),
            }
    write_json(
        folder / MANIFEST,
        {
            "format": "mmsrarec",
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "made_from": made_from,
            "details": details or {},
            "files": files,
        },
    )


def write_artefact(
    folder: str | Path,
    kind: str,
    made_from: str,
    write: Callable[[Path], None],
    details: dict[str, Any] | None = None,
) -> None:
    """Write a folder that is whole or absent.

    Parameters
    ----------
    folder
        Final name. An artefact that stands there is replaced once the new one is complete.
    kind, made_from, details
        As in :func:`seal_artefact`.
    write
        Called with an empty folder to fill.

    Raises
    ------
    StoredFileError
        If `folder` exists and is not an artefact, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "model"
    >>> write_artefact(target, "demo", "f0", lambda path: write_json(path / "a.json", 1))
    >>> read_artefact(target, "demo")["made_from"]
    'f0'
    """
    folder = Path(folder)
    if folder.exists() and not (folder / MANIFEST).exists() and any(folder.iterdir()):
        raise StoredFileError(
            f"{folder} exists and holds no {MANIFEST}; it is not overwritten. Choose another folder."
        )
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        seal_artefact(temporary, kind, made_from, details)
        replace_folder(temporary, folder)
    except OSError as error:
        raise StoredFileError(
            f"{folder} could not be written: {error.strerror or error}. Free space or choose a writable folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Give a complete folder its final name, moving an older one out of the way first."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(source, target)
    _fsync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def read_artefact(
    folder: str | Path, kind: str, *, verify: bool = True, unread: Collection[str] = ()
) -> dict[str, Any]:
    """Read and check the manifest of an artefact folder.

    Parameters
    ----------
    folder
        The artefact.
    kind
        The kind it must be.
    verify
        Compare size and SHA-256 of every file; ``False`` compares sizes only.
    unread
        Files and folders at its top that the caller does not read; they are not looked at and may be missing.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    StoredFileError
        If the folder is missing, is not an artefact of this kind, was written by a newer format, or a
        file in it is missing or changed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StoredFileError(f"{folder} is not a folder; expected a saved {kind}.")
    if not (folder / MANIFEST).exists():
        raise StoredFileError(f"{folder} holds no {MANIFEST}; it is not a saved {kind}.")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != "mmsrarec":
        raise StoredFileError(f"{folder / MANIFEST} was not written by mmsrarec.")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoredFileError(
            f"{folder} has format version {version}, this mmsrarec reads up to {FORMAT_VERSION}; "
            "install a newer mmsrarec."
        )
    if manifest.get("kind") != kind:
        raise StoredFileError(f"{folder} holds a {manifest.get('kind')!r}, expected a {kind!r}.")
    for name, expected in manifest.get("files", {}).items():
        if PurePosixPath(name).parts[0] in unread:
            continue
        path = folder / name
        if not path.is_file():
            raise StoredFileError(f"{path} is missing; the saved {kind} is incomplete.")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise StoredFileError(f"{path} has {size} bytes, expected {expected['bytes']}; it is damaged.")
        if verify and file_sha256(path) != expected["sha256"]:
            raise StoredFileError(f"{path} does not match its checksum; it is damaged.")
    return manifest
