"""Pictures of items: found inside one folder, checked by their header, decoded only when asked for.

Stands beside the tables of a :class:`~mmsrarec.data.Dataset`. Names come from data, so they are not
trusted: nothing outside the folder is ever opened, and no picture is decoded before its size is known.
"""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from PIL import Image, ImageOps

from mmsrarec.errors import InputError

__all__ = ["ImageFolder", "Picture"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 50_000_000
MAX_BYTES = 64 << 20
_TAIL_BYTES = 64

MISSING = "image missing"
OUTSIDE = "image outside the folder"
REMOTE = "image is a URL"
UNREADABLE = "image unreadable"
TRUNCATED = "image truncated"
TOO_LARGE = "image too large"


class ImageFolder:
    """The folder that all pictures of a dataset lie in.

    Parameters
    ----------
    root
        An existing folder.
    max_pixels
        Pictures with more pixels (width × height) are refused before they are decoded; so are, in any case,
        those that Pillow takes for a decompression bomb (more than 178,956,970 pixels).
    max_bytes
        Files with more bytes are refused before they are read.

    Raises
    ------
    InputError
        If `root` is not a folder or a limit is not positive.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (4, 3), "red").save(root / "a.png")
    >>> folder = ImageFolder(root)
    >>> folder.picture("a.png").load().size
    (4, 3)
    >>> folder.picture("../a.png") is None, folder.problem("../a.png")
    (True, 'image outside the folder')
    """

    def __init__(
        self, root: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
    ) -> None:
        path = Path(root)
        if not path.is_dir():
            raise InputError(f"images must be an existing folder, got {str(root)!r}.")
        for name, limit in (("max_pixels", max_pixels), ("max_bytes", max_bytes)):
            if limit < 1:
                raise InputError(f"{name} must be 1 or more, got {limit}.")
        self.root = Path(os.path.realpath(path))
        self.max_pixels = max_pixels
        self.max_bytes = max_bytes
        self._pictures: dict[str, Picture] = {}

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.root)!r})"

    def picture(self, name: str | None) -> Picture | None:
        """Give the picture of this name, or ``None`` if the name is empty, leads outside or is no file.

        Parameters
        ----------
        name
            Path relative to the folder.

        Returns
        -------
        Picture or None
            The same object for the same name, so that its hash is computed once.
        """
        if not name:
            return None
        known = self._pictures.get(name)
        if known is None:
            path = self._locate(name)
            if isinstance(path, str):
                return None
            known = self._pictures[name] = Picture(self, name)
        return known

    def forget(self, name: str) -> None:
        """Read the file of this name anew when it is asked for next; pictures given out before stay what they were."""
        self._pictures.pop(name, None)

    def problem(self, name: str) -> str | None:
        """Say why a picture cannot be used, from its path and header, without decoding it.

        Parameters
        ----------
        name
            Path relative to the folder.

        Returns
        -------
        str or None
            A short reason such as ``"image missing"``; ``None`` if nothing is wrong.
        """
        path = self._locate(name)
        if isinstance(path, str):
            return path
        return self._header_problem(path)

    def size(self, name: str | None) -> int | None:
        """Give the size of a picture's file in bytes; ``None`` if there is no such file inside the folder."""
        path = self._locate(name) if name else MISSING
        return None if isinstance(path, str) else path.stat().st_size

    def _locate(self, name: str) -> Path | str:
        """Return the real path of a regular file inside the root, or the reason there is none."""
        if name.lower().startswith(("http://", "https://")):
            return REMOTE
        parts = name.replace("\\", "/").split("/")
        if os.path.isabs(name) or parts[0] == "" or ":" in parts[0] or ".." in parts:
            return OUTSIDE
        try:
            real = os.path.realpath(self.root / name)
            mode = os.stat(real).st_mode
        except (OSError, ValueError):
            return MISSING
        if os.path.commonpath([real, self.root]) != str(self.root):
            return OUTSIDE
        # A pipe or a device would block or never end: only regular files are opened.
        return Path(real) if stat.S_ISREG(mode) else UNREADABLE

    def _header_problem(self, path: Path) -> str | None:
        try:
            if path.stat().st_size > self.max_bytes:
                return TOO_LARGE
            with _quiet_about_size(), Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > self.max_pixels:
                    return TOO_LARGE
                kind = image.format
        except Image.DecompressionBombError:
            return TOO_LARGE
        # Decoders raise many kinds of exception on damaged files (struct.error, zlib.error, SyntaxError …).
        except Exception:
            return UNREADABLE
        if _ends_whole(path, kind):
            return None
        try:
            _decode(path)
        except Exception:
            return TRUNCATED
        return None


class Picture:
    """One picture file inside an :class:`ImageFolder`; made by :meth:`ImageFolder.picture`.

    Nothing is read until :meth:`load` or :attr:`key` is used.
    """

    def __init__(self, folder: ImageFolder, name: str) -> None:
        self.folder = folder
        self.name = name

    def __repr__(self) -> str:
        return f"Picture({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Picture) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def path(self) -> Path:
        """Full path of the file."""
        return self.folder.root / self.name

    @cached_property
    def key(self) -> str:
        """SHA-256 of the file's bytes, 64 hexadecimal digits; computed once.

        Raises
        ------
        InputError
            If the file is gone, too large, or no longer inside the folder.
        """
        return hashlib.sha256(self.read_bytes()).hexdigest()

    def read_bytes(self) -> bytes:
        """Return the file's bytes, at most ``folder.max_bytes``.

        Raises
        ------
        InputError
            If the file is gone, too large, or no longer inside the folder.
        """
        path = self._located()
        with open(path, "rb") as handle:
            content = handle.read(self.folder.max_bytes + 1)
        if len(content) > self.folder.max_bytes:
            raise self._error(TOO_LARGE, f"more than {self.folder.max_bytes} bytes")
        return content

    def load(self) -> Image.Image:
        """Decode the picture.

        Returns
        -------
        PIL.Image.Image
            Mode RGB, turned upright by its EXIF orientation; transparent parts are white.

        Raises
        ------
        InputError
            If the file is gone, outside the folder, over a limit, damaged or truncated; the message
            names the file and the reason.
        """
        path = self._located()
        problem = self.folder._header_problem(path)
        if problem is not None:
            raise self._error(problem)
        try:
            return _decode(path)
        except Exception as error:
            raise self._error(UNREADABLE, str(error)) from error

    def _located(self) -> Path:
        path = self.folder._locate(self.name)
        if isinstance(path, str):
            raise self._error(path)
        return path

    def _error(self, reason: str, detail: str = "") -> InputError:
        limits = f"{self.folder.max_pixels} pixels, {self.folder.max_bytes} bytes"
        detail = f" ({detail})" if detail else ""
        return InputError(
            f"{self.name!r}: {reason}{detail}. Pictures must be whole {', '.join(FORMATS)} files inside "
            f"{self.folder.root}, at most {limits}; replace the file or drop it from the items."
        )


@contextmanager
def _quiet_about_size() -> Iterator[None]:
    # Pillow warns at its own limit; ours is the one that counts, and it is checked before decoding.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _ends_whole(path: Path, kind: str | None) -> bool:
    """Tell by the last bytes that a file was not cut off; ``False`` means it must be decoded to know."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        head = handle.read(12)
        handle.seek(max(0, size - _TAIL_BYTES))
        tail = handle.read()
    if kind == "JPEG":
        return b"\xff\xd9" in tail
    if kind == "PNG":
        return b"IEND\xaeB`\x82" in tail
    if kind == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 <= size
    if kind == "BMP":
        return int.from_bytes(head[2:6], "little") <= size
    return tail.rstrip(b"\x00").endswith(b";")


def _decode(path: Path) -> Image.Image:
    with _quiet_about_size(), Image.open(path, formats=FORMATS) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256, "L")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    return image.convert("RGB")
