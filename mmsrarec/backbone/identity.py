"""What a model is, as a fingerprint: configuration, weights, vocabulary and chat template.

Stands beside ``loading``; artefacts of every later stage carry it, so that they are made anew when the model is
another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from transformers import PreTrainedModel

from mmsrarec.storage import fingerprint

__all__ = ["base_tensors", "config_text", "model_fingerprint", "tensor_digest", "weights_version"]

# Not part of what the model computes: where it was read from, by which version, how attention is run; and the
# dtype, which is hashed with each weight.
_INCIDENTAL = (
    "architectures",
    "transformers_version",
    "_name_or_path",
    "name_or_path",
    "_attn_implementation",
    "use_cache",
    "dtype",
    "torch_dtype",
)


def base_tensors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and tensor of the base model's weights; adapters inside it are left out."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        if "lora_" in name or ".modules_to_save." in name:
            continue
        yield name.replace(".base_layer.", ".").replace(".original_module.", "."), tensor


def weights_version(model: PreTrainedModel) -> int:
    """Return a number that changes when a weight is written to or replaced in this process."""
    return hash(tuple((name, tensor.data_ptr(), tensor._version) for name, tensor in base_tensors(model)))


def model_fingerprint(model: PreTrainedModel, tokenizer: Any, template: str | None) -> str:
    """Hash a model: equal bytes of weights give an equal fingerprint on any machine.

    Parameters
    ----------
    model
        The base model, with or without adapters in it.
    tokenizer
        Its tokenizer.
    template
        Source of its chat template.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    named = sorted(base_tensors(model), key=lambda pair: pair[0])
    with ThreadPoolExecutor() as threads:
        digests = list(threads.map(lambda pair: tensor_digest(pair[1]), named))
    weights = [[name, digest] for (name, _), digest in zip(named, digests, strict=True)]
    config = _without_incidental(json.loads(model.config.to_json_string(use_diff=False)))
    vocabulary = sorted(tokenizer.get_vocab().items())
    return fingerprint(json.dumps(config, sort_keys=True), weights, json.dumps(vocabulary), template)


def tensor_digest(tensor: torch.Tensor) -> str:
    """Return the SHA-256 of a tensor's dtype, shape and bytes, 64 hexadecimal digits."""
    plain = tensor.detach().to("cpu").contiguous()
    digest = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)};".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _without_incidental(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_incidental(value) for key, value in config.items() if key not in _INCIDENTAL}
    return config


# Where a run writes, what it prints and how often it saves do not change what it learns.
_BESIDE_TRAINING = (
    "output_dir",
    "run_name",
    "project",
    "report_to",
    "disable_tqdm",
    "local_rank",
    "peft_version",
)
_PREFIXES_BESIDE_TRAINING = (
    "logging_",
    "log_",
    "save_",
    "hub_",
    "push_to_hub",
    "dataloader_",
    "trackio_",
)


def config_text(config: Any) -> str | None:
    """Return a configuration of TRL or PEFT as text that is the same in any process; ``None`` for ``None``.

    Examples
    --------
    >>> from peft import LoraConfig
    >>> one, other = (LoraConfig(target_modules=names) for names in (["q_proj", "v_proj"], ["v_proj", "q_proj"]))
    >>> config_text(one) == config_text(other)
    True
    """
    if config is None:
        return None
    settings = {
        name: sorted(value) if isinstance(value, set) else value
        for name, value in config.to_dict().items()
        if name not in _BESIDE_TRAINING and not name.startswith(_PREFIXES_BESIDE_TRAINING)
    }
    return json.dumps(settings, sort_keys=True, default=str)
