"""Named LoRA adapters on one base model, through PEFT.

Stands beside ``backbone``: ``summarize`` and ``tune`` each train an adapter of their own, and the base model's
outputs stay what they were whenever none is active.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from transformers import PreTrainedModel

from mmsrarec.backbone.deprecations import old_names_allowed
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.storage import MANIFEST, read_artefact, read_json, write_artefact, write_json

__all__ = ["AdapterSet"]

_KIND = "adapter"
_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


class AdapterSet:
    """The adapters of one base model, at most one of them active.

    Parameters
    ----------
    base
        The model; PEFT puts its layers into it while there is an adapter and takes them out with the last.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self._base = base
        self._peft: PeftModel | None = None
        self._active: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapters, in the order in which they were added."""
        return () if self._peft is None else tuple(self._peft.peft_config)

    @property
    def active(self) -> str | None:
        """Name of the active adapter; ``None`` while the base model stands alone."""
        return self._active

    @property
    def model(self) -> PreTrainedModel | PeftModel:
        """The PEFT model if there is any adapter, else the base model."""
        return self._base if self._peft is None else self._peft

    def add(self, name: str, config: LoraConfig) -> None:
        """Put a fresh adapter on the base model; it is not active yet.

        Raises
        ------
        InputError
            If the name is taken or is not made of letters, digits, ``-`` and ``_``, or no layer of the
            model fits the configuration.
        """
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise InputError(f"adapter name must be letters, digits, - and _, got {name!r}.")
        if name in self.names:
            raise InputError(f"adapter {name!r} is there already; remove it first, or choose another name.")
        try:
            with old_names_allowed():
                if self._peft is None:
                    self._peft = get_peft_model(self._base, config, adapter_name=name)
                else:
                    self._peft.add_adapter(name, config)
        except ValueError as error:
            if self._peft is not None and name in self._peft.peft_config:
                self.remove(name)
            raise InputError(f"lora_config does not fit this model: {error}") from error
        self._activate(self._active)

    def remove(self, name: str) -> None:
        """Take an adapter off; with the last one the base model is as it was before the first."""
        self.require(name)
        assert self._peft is not None
        if self._active == name:
            self._active = None
        if len(self.names) == 1:
            self._peft.unload()
            self._peft = None
            for attribute in ("peft_config", "_hf_peft_config_loaded"):
                self._base.__dict__.pop(attribute, None)
            self._base.requires_grad_(False)
        else:
            # PEFT warns where it has to choose itself which adapter takes the place of the one in use.
            self._peft.set_adapter(next(other for other in self.names if other != name))
            self._peft.delete_adapter(name)
        self._activate(self._active)

    def require(self, name: str) -> None:
        """Raise :class:`InputError` unless there is an adapter of that name."""
        if name not in self.names:
            raise InputError(
                f"adapter {name!r} is not there; there are {list(self.names)}. Add or load it first."
            )

    def _activate(self, name: str | None) -> None:
        self._active = name
        if self._peft is None:
            return
        if name is None:
            self._peft.base_model.disable_adapter_layers()
        else:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(name)
        # PEFT makes an adapter trainable when it sets it; here that is for `training` alone to do.
        self._peft.requires_grad_(False)
        self._peft.eval()

    @contextmanager
    def use(self, name: str | None) -> Iterator[None]:
        """Make one adapter active inside a block, or none, and go back to what was before."""
        if name is not None:
            self.require(name)
        before = self._active
        self._activate(name)
        try:
            yield
        finally:
            self._activate(before if before in self.names else None)

    @contextmanager
    def training(self, name: str) -> Iterator[PeftModel]:
        """Make one adapter active and trainable inside a block; afterwards all is frozen and as before.

        Yields
        ------
        peft.PeftModel
            In training mode, with gradients for this adapter's parameters only.
        """
        with self.use(name):
            model = self._peft
            assert model is not None
            model.set_adapter(name)
            model.train()
            kept_forward = model.__dict__.get("forward")
            use_cache = getattr(self._base.config, "use_cache", None)
            try:
                yield model
            finally:
                # A trainer may wrap forward for mixed precision and switch on checkpointing.
                if kept_forward is None:
                    model.__dict__.pop("forward", None)
                    model.__dict__.pop("_original_forward", None)
                if any(getattr(module, "gradient_checkpointing", False) for module in self._base.modules()):
                    _stop_checkpointing(self._base)
                if hasattr(self._base, "_require_grads_hook"):
                    self._base.disable_input_require_grads()
                if use_cache is not None:
                    self._base.config.use_cache = use_cache
                model.zero_grad(set_to_none=True)

    def weights(self, name: str) -> dict[str, np.ndarray]:
        """Return an adapter's weights, float32, by PEFT's names."""
        self.require(name)
        assert self._peft is not None
        state = get_peft_model_state_dict(self._peft, adapter_name=name, save_embedding_layers=False)
        return {key: value.detach().float().cpu().numpy() for key, value in state.items()}

    def save(self, name: str, folder: str | Path, made_from: str) -> None:
        """Write an adapter as a folder that PEFT itself can read: safetensors and JSON.

        Parameters
        ----------
        name
            The adapter.
        folder
            Where to; whole or absent.
        made_from
            Fingerprint of the base model.
        """
        self.require(name)
        assert self._peft is not None
        model = self._peft

        def write(path: Path) -> None:
            state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
            tensors = {key: value.detach().to("cpu").contiguous() for key, value in state.items()}
            safetensors.torch.save_file(tensors, path / _WEIGHTS, metadata={"format": "pt"})
            model.peft_config[name].save_pretrained(path)
            # PEFT keeps names in sets, whose order differs from process to process; equal adapters are equal files.
            config = read_json(path / _CONFIG)
            write_json(
                path / _CONFIG,
                {
                    key: sorted(value)
                    if isinstance(value, list) and all(isinstance(v, str) for v in value)
                    else value
                    for key, value in config.items()
                },
            )

        write_artefact(folder, _KIND, made_from, write)

    def load(self, name: str, folder: str | Path, made_from: str) -> None:
        """Read an adapter that :meth:`save` or PEFT wrote; it is not active yet.

        Parameters
        ----------
        name
            What to call it here.
        folder
            Where it lies.
        made_from
            Fingerprint of the base model; another one in the folder's manifest gives a warning.

        Raises
        ------
        StoredFileError
            If a file is missing, damaged, or does not fit the model.
        """
        folder = Path(folder)
        if (folder / MANIFEST).exists() and read_artefact(folder, _KIND)["made_from"] != made_from:
            warnings.warn(
                f"adapter in {folder} was trained on other weights than this backbone's; load the backbone that "
                "it was trained on.",
                stacklevel=3,
            )
        for file in (_CONFIG, _WEIGHTS):
            if not (folder / file).is_file():
                raise StoredFileError(f"{folder / file} is missing; {folder} is not a saved LoRA adapter.")
        try:
            config = LoraConfig.from_pretrained(str(folder))
            tensors = safetensors.torch.load_file(folder / _WEIGHTS)
        except (SafetensorError, ValueError, TypeError, OSError) as error:
            raise StoredFileError(f"{folder} holds a damaged adapter: {error}.") from error
        config.inference_mode = False
        # Fingerprints tell whether the model is the right one; PEFT goes by names, and warns of one that has moved.
        config.base_model_name_or_path = None
        self.add(name, config)
        self._fill(name, folder, tensors)

    def _fill(self, name: str, folder: Path, tensors: dict[str, Any]) -> None:
        assert self._peft is not None
        expected = get_peft_model_state_dict(self._peft, adapter_name=name, save_embedding_layers=False)
        wrong = sorted(
            key
            for key in expected.keys() | tensors.keys()
            if key not in expected or key not in tensors or expected[key].shape != tensors[key].shape
        )
        if wrong:
            self.remove(name)
            raise StoredFileError(
                f"adapter in {folder} does not fit this model: {len(wrong)} tensors differ, the first is {wrong[0]!r}; "
                "load the backbone that it was trained on."
            )
        set_peft_model_state_dict(self._peft, tensors, adapter_name=name)


def _stop_checkpointing(model: PreTrainedModel) -> None:
    newer = getattr(model, "activation_checkpointing_disable", None)
    (newer or model.gradient_checkpointing_disable)()
