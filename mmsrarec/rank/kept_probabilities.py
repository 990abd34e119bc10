"""What the language model said of prompts, kept as it comes, so that long scoring goes on where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmsrarec.errors import StoredFileError

__all__ = ["KeptProbabilities"]


class KeptProbabilities:
    """p(yes) by a prompt's key, in a file that is only appended to: a line of JSON a prompt.

    A process killed at any moment leaves at most one broken line, which is passed over.

    Parameters
    ----------
    path
        The file, made with its folder once there is something to keep.

    Raises
    ------
    StoredFileError
        If the file cannot be read or written to.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "probabilities.jsonl"
    >>> KeptProbabilities(path).add(["a", "b"], np.float32([0.25, 0.1]))
    >>> kept = KeptProbabilities(path)
    >>> kept.missing(["b", "c"]), kept.of(["b", "a"]).tolist() == np.float32([0.1, 0.25]).tolist()
    ([1], True)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._known: dict[str, float] = {}
        try:
            text = self.path.read_text("utf-8", "replace") if self.path.exists() else ""
        except OSError as error:
            raise self._unusable(error) from error
        for line in text.splitlines():
            try:
                key, probability = json.loads(line)
                self._known[str(key)] = float(probability)
            except (ValueError, TypeError):
                continue

    def __len__(self) -> int:
        return len(self._known)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Return the places of keys that nothing is known of, each key once."""
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        return sorted(place for key, place in first.items() if key not in self._known)

    def add(self, keys: Sequence[str], probabilities: npt.NDArray[np.floating]) -> None:
        """Keep probabilities, float32 (n,); they are on their way to the disk when this returns."""
        new = dict(zip(keys, map(float, probabilities), strict=True))
        # A line that a kill has broken ends here, not in the first of the new ones.
        lines = "\n" + "".join(json.dumps(pair) + "\n" for pair in new.items())
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(lines)
        except OSError as error:
            raise self._unusable(error) from error
        self._known |= new

    def of(self, keys: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return what is known of keys, float32 (n,)."""
        return np.array([self._known[key] for key in keys], np.float32)

    def _unusable(self, error: OSError) -> StoredFileError:
        return StoredFileError(
            f"{self.path} cannot be used: {error.strerror or error}. Choose a writable folder."
        )
