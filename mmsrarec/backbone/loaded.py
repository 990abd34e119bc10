"""A loaded model and what is known of it: tokens, budgets, identity, and what is kept about pictures.

Stands under :class:`~mmsrarec.backbone.backbone.Backbone`, which adds the verbs; the functions of the modules
beside it read these facts.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from mmsrarec.backbone.adapters import AdapterSet
from mmsrarec.backbone.chat import Chat
from mmsrarec.backbone.families import Family, family_of
from mmsrarec.backbone.identity import model_fingerprint, weights_version
from mmsrarec.backbone.pictures import FEATURE_BYTES, PictureReader, RecentlyUsed
from mmsrarec.backbone.prompt import Prompt

__all__ = ["LoadedModel"]

# Tokens in one forward pass. Beyond a few thousand a CPU gains nothing from more; a GPU still does.
_BATCH_TOKENS = {"cpu": 4096}
_BATCH_TOKENS_ELSEWHERE = 32768


class LoadedModel:
    """A model, its processor, and the facts that encoding, scoring and generating need of them.

    Parameters
    ----------
    model
        A transformers model that generates text.
    processor
        Its processor, or the tokenizer of a text-only model.
    name
        How to call it in messages.
    """

    def __init__(self, model: PreTrainedModel, processor: Any, name: str) -> None:
        self.name = name
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.hf = model
        self.has_images = self.tokenizer is not processor
        self.family: Family | None = family_of(model.config) if self.has_images else None
        self.chat = Chat(processor, self.tokenizer, with_pictures=self.has_images)
        self.features: RecentlyUsed[torch.Tensor] = RecentlyUsed(FEATURE_BYTES, lambda kept: kept.nbytes)
        self.spellings: dict[str, list[int]] = {}
        self._adapters = AdapterSet(model)
        self._fingerprints: dict[int, str] = {}
        self._warned: set[str] = set()

    @property
    def model(self) -> PreTrainedModel | PeftModel:
        """The model to train or to look at: PEFT's wrapper if there is an adapter, else the base model."""
        return self._adapters.model

    @property
    def inner(self) -> PreTrainedModel:
        """The base model without its output layer."""
        return self.hf.base_model

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.hf.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's weights."""
        return self.hf.dtype

    @property
    def depth(self) -> int:
        """Number of layers of the language model."""
        return int(self.hf.config.get_text_config().num_hidden_layers)

    @functools.cached_property
    def image_token_id(self) -> int | None:
        """Id of the placeholder that is repeated for each feature of a picture."""
        found = getattr(self.processor, "image_token_id", None)
        return getattr(self.hf.config, "image_token_id", None) if found is None else found

    @property
    def picture_id(self) -> int:
        """:attr:`image_token_id` of a model that takes pictures."""
        assert self.image_token_id is not None
        return self.image_token_id

    @functools.cached_property
    def reader(self) -> PictureReader:
        """Makes and remembers what the processor makes of a picture."""
        placeholder = getattr(self.processor, "image_token", "<image>")
        fixed_size = self.family is not None and self.family.fixed_size
        return PictureReader(
            self.processor, getattr(placeholder, "content", placeholder), fixed_size=fixed_size
        )

    @functools.cached_property
    def pad_token_id(self) -> int:
        """Id that fills short rows; masked everywhere."""
        pad = self.tokenizer.pad_token_id
        return self.chat.end_of_turn if pad is None else int(pad)

    @functools.cached_property
    def stop_ids(self) -> list[int]:
        """Ids that end a generated answer: the chat's end of turn and the model's own."""
        own = getattr(self.hf.generation_config, "eos_token_id", None)
        own = own if isinstance(own, list) else [own]
        found = {self.chat.end_of_turn, self.tokenizer.eos_token_id, *own} - {None}
        return sorted(int(token_id) for token_id in found)

    @property
    def batch_tokens(self) -> int:
        """Default budget of one forward pass in tokens, for the device at hand."""
        return _BATCH_TOKENS.get(self.device.type, _BATCH_TOKENS_ELSEWHERE)

    @property
    def fingerprint(self) -> str:
        """Identity of configuration, weights, vocabulary and chat template; adapters are not part of it.

        The weights are hashed once and again only after one was written to.
        """
        version = weights_version(self.hf)
        if version not in self._fingerprints:
            self._fingerprints = {version: model_fingerprint(self.hf, self.tokenizer, self.chat.template)}
        return self._fingerprints[version]

    @property
    def vision_marker(self) -> tuple[Any, ...]:
        """What picture features depend on besides the picture: vision weights, and an adapter that sits on them."""
        active = self._adapters.active
        named = list(self._named_vision_weights())
        # An adapter's own weights count only while it is the active one.
        versions = tuple(
            weight._version for name, weight in named if "lora_" not in name or f".{active}." in name
        )
        touched = any(f".{active}." in name for name, _ in named)
        return (hash(versions), active if touched else None)

    def vision_weights(self) -> Iterator[torch.nn.Parameter]:
        """Parameters of everything that turns pixels into features, adapters on it included."""
        return (weight for _, weight in self._named_vision_weights())

    def _named_vision_weights(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for part in self.family.vision_parts if self.family else ():
            yield from getattr(self.inner, part).named_parameters()

    def without_pictures(self, prompt: Prompt) -> Prompt:
        """Drop pictures if the model is text-only, with one warning a backbone; else return `prompt` unchanged."""
        if self.has_images or not prompt.pictures:
            return prompt
        self.warn_once(
            f"backbone {self.name!r} reads text only; pictures are left out. Choose an image-text-to-text "
            "model to use them, or build prompts without pictures to silence this."
        )
        return Prompt((prompt.text,), prompt.system)

    def warn_once(self, message: str) -> None:
        """Give a warning the first time that it is asked for."""
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, stacklevel=5)
