"""From what a user names to a model and its processor.

Stands at the room's entrance. Nothing here needs a network unless the name is a hub id that is not in the
local cache, and no code of the model's repository runs unless asked for.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2_5_VLProcessor,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.utils import is_torchvision_available
from transformers.utils import logging as transformers_logging

from mmsrarec.errors import InputError, MissingDependencyError, StoredFileError

__all__ = ["PictureOnlyQwenProcessor", "load_pair"]

_EMBEDDED = "embedded"
_QWEN_TYPES = ("qwen2_vl", "qwen2_5_vl")
# What from_pretrained raises for a file that is there and cannot be read.
_DAMAGE = (
    safetensors.SafetensorError,
    json.JSONDecodeError,
    UnicodeDecodeError,
    EOFError,
    RuntimeError,
    KeyError,
)


class PictureOnlyQwenProcessor(Qwen2_5_VLProcessor):
    """Qwen2-VL's processor without its video half, which alone needs torchvision.

    Parameters
    ----------
    image_processor
        A Qwen2-VL image processor.
    tokenizer
        The model's tokenizer.
    chat_template
        Jinja source; ``None`` takes the tokenizer's.
    """

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template)

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> type:
        """Take the argument's own class; the inherited check looks it up among video classes."""
        return type(argument)


def load_pair(
    spec: Any,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, Any, str]:
    """Load a model and its processor.

    Parameters
    ----------
    spec
        ``"embedded"``, a folder, a hub id, or a pair of model and processor. A text-only causal LM comes
        with its tokenizer in the processor's place.
    device
        Where the model goes; by default a CUDA device if there is one, else the CPU. A given pair stays where
        it is unless a device is named.
    dtype
        Of the weights; by default float32 on the CPU and the checkpoint's own on a GPU. A given pair keeps its own
        unless a dtype is named.
    trust_remote_code
        Run code that comes with the model. Off by default.

    Returns
    -------
    model : transformers.PreTrainedModel
        In evaluation mode, no parameter requires a gradient.
    processor
        Its processor or tokenizer.
    name : str
        How to call it in messages.

    Raises
    ------
    InputError
        If nothing usable stands under that name, or it cannot be reached.
    StoredFileError
        If a folder is there and a file in it is missing or damaged.
    MissingDependencyError
        If the model needs a package that is not installed.
    """
    if isinstance(spec, tuple | list):
        model, processor, name = _checked_pair(spec)
    elif isinstance(spec, str | Path):
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dtype is None:
            dtype = torch.float32 if torch.device(device).type == "cpu" else "auto"
        model, processor = _load_named(str(spec), _checked_dtype(dtype), trust_remote_code)
        name = Path(spec).name if Path(spec).is_dir() else str(spec)
        dtype = None
    else:
        raise InputError(
            f"backbone must be 'embedded', a hub id, a folder or a pair (model, processor), got {type(spec).__name__}."
        )
    if device is not None or dtype is not None:
        model = model.to(device=device, dtype=None if dtype is None else _checked_dtype(dtype))
    return model.eval().requires_grad_(False), processor, name


def _checked_dtype(dtype: str | torch.dtype) -> Any:
    if isinstance(dtype, torch.dtype) or dtype == "auto":
        return dtype
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else None
    if not isinstance(found, torch.dtype):
        raise InputError(f"dtype must be a torch dtype or its name, such as 'bfloat16', got {dtype!r}.")
    return found


def _checked_pair(spec: Any) -> tuple[PreTrainedModel, Any, str]:
    if len(spec) != 2 or not isinstance(spec[0], PreTrainedModel):
        raise InputError(
            "backbone as a pair must be (model, processor) with a transformers model first, got "
            f"{tuple(type(part).__name__ for part in spec)}."
        )
    model, processor = spec
    if not isinstance(processor, PreTrainedTokenizerBase) and not hasattr(processor, "tokenizer"):
        raise InputError(
            f"processor must be a transformers processor or tokenizer, got {type(processor).__name__}."
        )
    return model, processor, model.config.name_or_path or model.config.model_type


def _load_named(spec: str, dtype: Any, trust_remote_code: bool) -> tuple[PreTrainedModel, Any]:
    if spec == _EMBEDDED:
        embedded = importlib.import_module("mmsrarec.backbone.embedded")
        model, processor = embedded.load_embedded()
        return (model if dtype == "auto" else model.to(dtype)), processor
    folder = Path(spec).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and (folder.is_absolute() or spec.startswith((".", "~")) or spec.count("/") != 1):
        raise InputError(
            f"backbone={spec!r} is neither a folder nor a hub id such as 'Qwen/Qwen2.5-VL-3B-Instruct'; check the path."
        )
    _register_embedded()
    source = str(folder) if is_folder else spec
    verbosity = transformers_logging.get_verbosity()
    # What it would warn of, such as missing weights, is an error here.
    transformers_logging.set_verbosity_error()
    try:
        return _from_pretrained(source, dtype, trust_remote_code)
    except (InputError, StoredFileError, MissingDependencyError):
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"backbone={spec!r} needs a package that is not installed: {_line(error)}"
        ) from error
    except _DAMAGE as error:
        raise StoredFileError(
            f"backbone={spec!r} has a damaged or foreign file: {_line(error)} Save or download the model again."
        ) from error
    except (OSError, ValueError) as error:
        if is_folder:
            raise StoredFileError(
                f"backbone={spec!r} is not a complete transformers model: {_line(error)} Save or download it again."
            ) from error
        raise InputError(
            f"backbone={spec!r} could not be loaded from the hub or its cache: {_line(error)} Check the name and the "
            "network, give the folder of a downloaded model, or use backbone='embedded'."
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def _register_embedded() -> None:
    """Make the embedded image tower known to the Auto classes, where its packages are there."""
    try:
        importlib.import_module("mmsrarec.backbone.embedded")
    except ImportError:
        return


def _from_pretrained(source: str, dtype: Any, trust_remote_code: bool) -> tuple[PreTrainedModel, Any]:
    shared = {"trust_remote_code": trust_remote_code}
    config = AutoConfig.from_pretrained(source, **shared)
    remote = getattr(config, "auto_map", {}) or {}
    if (
        config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        or "AutoModelForImageTextToText" in remote
    ):
        model_class: Any = AutoModelForImageTextToText
        processor = _load_processor(source, config.model_type, shared)
    elif config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or "AutoModelForCausalLM" in remote:
        model_class = AutoModelForCausalLM
        processor = AutoTokenizer.from_pretrained(source, **shared)
    else:
        raise InputError(
            f"backbone={source!r} is a {config.model_type!r} model; only image-text-to-text models and causal "
            "language models can be used."
        )
    model, report = model_class.from_pretrained(
        source, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **shared
    )
    if missing := sorted(report["missing_keys"]):
        raise StoredFileError(
            f"backbone={source!r} lacks {len(missing)} weights, the first is {missing[0]!r}; save or download it again."
        )
    return model, processor


def _load_processor(source: str, model_type: str, shared: dict[str, Any]) -> Any:
    if model_type in _QWEN_TYPES and not is_torchvision_available():
        return PictureOnlyQwenProcessor.from_pretrained(source)
    return AutoProcessor.from_pretrained(source, **shared)


def _line(error: BaseException) -> str:
    """The first sentence of a library's message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:240] + ("…" if len(text) > 240 else "") + ("" if text.endswith(".") else ".")
