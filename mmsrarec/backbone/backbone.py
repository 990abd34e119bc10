"""The backbone: one multimodal language model behind the few verbs that the other rooms need.

Stands between ``data`` and every stage that asks a language model something. The class holds the model and
what is cached about it; the work is done by the functions of the modules beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from peft import LoraConfig, PeftModel

from mmsrarec.backbone import encoding, first_token, generation, likelihood
from mmsrarec.backbone.identity import base_tensors
from mmsrarec.backbone.loaded import LoadedModel
from mmsrarec.backbone.loading import load_pair
from mmsrarec.backbone.output_head import OutputHead
from mmsrarec.backbone.prompt import Encoded, Prompt
from mmsrarec.backbone.readout import Readout

if TYPE_CHECKING:
    from mmsrarec.backbone.align import AlignResult
    from mmsrarec.backbone.constraint import AnswerRule
    from mmsrarec.data import ItemContent

__all__ = ["Backbone"]


class Backbone(LoadedModel):
    """A loaded model with its processor, ready to encode, generate, score and carry adapters.

    Made by :meth:`load`. The model is in evaluation mode, frozen, and the base model is active.

    Parameters
    ----------
    model
        A transformers model that generates text.
    processor
        Its processor, or the tokenizer of a text-only model.
    name
        How to call it in messages.
    """

    @classmethod
    def load(
        cls,
        spec: Any,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        trust_remote_code: bool = False,
    ) -> Backbone:
        """Load a backbone.

        Parameters
        ----------
        spec
            ``"embedded"``, a hub id, a folder, a pair ``(model, processor)``, or a :class:`Backbone`, which
            comes back as it is.
        device, dtype, trust_remote_code
            As in :func:`mmsrarec.backbone.loading.load_pair`: by default a GPU if there is one; float32 on
            the CPU, the checkpoint's dtype elsewhere; no code from the model's repository.

        Raises
        ------
        InputError, StoredFileError, MissingDependencyError
            One line on what is wrong with `spec` and what to do.

        Examples
        --------
        >>> from mmsrarec.testing import tiny_llama
        >>> backbone = Backbone.load(tiny_llama())
        >>> backbone.has_images
        False
        """
        if isinstance(spec, Backbone):
            return spec
        return cls(*load_pair(spec, device=device, dtype=dtype, trust_remote_code=trust_remote_code))

    def __repr__(self) -> str:
        return f"Backbone({self.name!r}, {self.hf.config.model_type}, {self.device}, adapters={list(self.adapters)})"

    def output_head(self) -> OutputHead:
        """Return the output layer, checked once against the model's own logits."""
        return self._checked_head

    @functools.cached_property
    def _checked_head(self) -> OutputHead:
        head = OutputHead.of(self.hf)
        head.check(self)
        return head

    def encode(self, prompts: Sequence[Prompt], answers: Sequence[str] | None = None) -> list[Encoded]:
        """Turn prompts, and answers if there are any, into token ids; see :func:`encoding.encode`.

        Examples
        --------
        >>> from mmsrarec.testing import tiny_llama
        >>> backbone = Backbone.load(tiny_llama())
        >>> one = backbone.encode([Prompt(("Will she like it?",))], ["yes"])[0]
        >>> backbone.tokenizer.decode(one.input_ids[one.answer_start :])
        'yes<|im_end|>'
        """
        return encoding.encode(self, prompts, answers)

    def collate(
        self, encoded: Sequence[Encoded], *, side: Literal["left", "right"] = "right"
    ) -> dict[str, torch.Tensor]:
        """Pad sequences to one batch of model inputs, with labels if any has an answer."""
        return encoding.collate(self, encoded, side=side)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int = 32,
        temperature: float = 0.0,
        seed: int = 0,
        rule: AnswerRule | None = None,
        batch_tokens: int | None = None,
        progress: str | None = None,
        answered: Callable[[int, str], None] | None = None,
    ) -> list[str]:
        """Let the model answer each prompt.

        Parameters
        ----------
        prompts
            Any number of prompts.
        max_new_tokens
            Longest answer, in tokens.
        temperature
            0 takes the likeliest token each time; above 0 tokens are drawn.
        seed
            Of the draws: same prompts, settings and seed, same answers.
        rule
            Which tokens an answer may go on with; ``None`` leaves it to the model.
        batch_tokens
            Budget of prompts that are read at once, in tokens; by default :attr:`batch_tokens`. Answers are written
            together for up to twice as many tokens.
        progress
            What to call the work on the progress bar; ``None`` shows none.
        answered
            Called with the place of a prompt and its answer as soon as that is whole, in any order.

        Returns
        -------
        list of str
            In the order of `prompts`, without control tokens, stripped.

        Raises
        ------
        InputError
            If a setting is out of range.

        Examples
        --------
        >>> from mmsrarec.testing import tiny_llama
        >>> backbone = Backbone.load(tiny_llama())
        >>> len(backbone.generate([Prompt(("Hello",))], max_new_tokens=4))
        1
        """
        return generation.generate(
            self,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            rule=rule,
            batch_tokens=batch_tokens or self.batch_tokens,
            progress=progress,
            answered=answered,
        )

    def first_token_probability(
        self,
        prompts: Sequence[Prompt],
        *,
        yes: str = "yes",
        no: str = "no",
        readout: Readout | None = None,
        share_prefix: bool = True,
        batch_tokens: int | None = None,
        progress: str | None = None,
        answered: Callable[[Sequence[int], np.ndarray], None] | None = None,
    ) -> np.ndarray:
        """Give ``p(yes) / (p(yes) + p(no))`` of the first answer token: the paper's score of a candidate.

        Every token that spells one of the words (``yes``, ``Yes``, ``YES``, each also with a leading space)
        counts, their probabilities added up.

        Parameters
        ----------
        prompts
            Any number of prompts; those of one user next to each other, so that what they share is run once.
        yes, no
            The two answers.
        readout
            Added to the log-odds, or read in their place from an earlier layer; ``None`` adds nothing.
        share_prefix
            ``False`` runs every prompt whole; the result is the same within 1e-5 in float32.
        batch_tokens
            Budget of one forward pass in tokens; by default :attr:`batch_tokens`.
        progress
            What to call the work on the progress bar; ``None`` shows none.
        answered
            Called with places of prompts and their probabilities as soon as a batch has been run, in any order.

        Returns
        -------
        numpy.ndarray
            float32, shape (n,), between 0 and 1.

        Raises
        ------
        InputError
            If the vocabulary spells one of the words with no single token.

        Examples
        --------
        >>> from mmsrarec.testing import tiny_llama
        >>> backbone = Backbone.load(tiny_llama())
        >>> backbone.first_token_probability([Prompt(("Will she like it?",))]).shape
        (1,)
        """
        return first_token.first_token_probability(
            self,
            prompts,
            yes=yes,
            no=no,
            readout=readout,
            share_prefix=share_prefix,
            batch_tokens=batch_tokens or self.batch_tokens,
            progress=progress,
            answered=answered,
        )

    def hidden_states(
        self,
        prompts: Sequence[Prompt],
        *,
        layers: Sequence[int] | None = None,
        share_prefix: bool = True,
        batch_tokens: int | None = None,
        progress: str | None = None,
    ) -> np.ndarray:
        """Give hidden states at the last position of each prompt.

        Parameters
        ----------
        prompts, share_prefix, batch_tokens, progress
            As in :meth:`first_token_probability`.
        layers
            After which layers, from 1 to :attr:`depth`, the state under the output matrix; no layer above the highest
            of them is run. ``None`` reads that last state alone.

        Returns
        -------
        numpy.ndarray
            float32, shape (n, hidden), or (n, layers, hidden) if `layers` are given.

        Raises
        ------
        InputError
            If a layer is not there.

        Examples
        --------
        >>> from mmsrarec.testing import tiny_llama
        >>> backbone = Backbone.load(tiny_llama())
        >>> backbone.hidden_states([Prompt(("Hello",))], layers=[1, backbone.depth]).shape
        (1, 2, 32)
        """
        return first_token.hidden_states(
            self,
            prompts,
            layers=layers,
            share_prefix=share_prefix,
            batch_tokens=batch_tokens or self.batch_tokens,
            progress=progress,
        )

    def mean_nll(
        self,
        contexts: Sequence[Prompt],
        targets: Sequence[str],
        *,
        adapter: str | None = None,
        batch_tokens: int | None = None,
        progress: str | None = None,
    ) -> np.ndarray:
        """Give the mean negative log-likelihood of each target's tokens as the answer to its context.

        Parameters
        ----------
        contexts
            One prompt a target.
        targets
            The texts to be predicted. The end-of-turn token does not count.
        adapter
            Adapter to use; ``None`` is the base model, whatever is active outside.
        batch_tokens, progress
            As in :meth:`first_token_probability`.

        Returns
        -------
        numpy.ndarray
            float32, shape (n,), natural logarithm; 0 for a target that is empty or only white space, of
            which there is nothing to predict.

        Raises
        ------
        InputError
            If the two lists differ in length, or the adapter is not there.
        """
        with self.adapter(adapter):
            return likelihood.mean_nll(
                self, contexts, targets, batch_tokens=batch_tokens or self.batch_tokens, progress=progress
            )

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters, in the order in which they were added."""
        return self._adapters.names

    @property
    def active_adapter(self) -> str | None:
        """Name of the adapter in use; ``None`` is the base model."""
        return self._adapters.active

    def add_adapter(self, name: str, lora_config: LoraConfig) -> None:
        """Put a fresh LoRA adapter on the model; the base model stays active.

        Parameters
        ----------
        name
            Letters, digits, ``-`` and ``_``.
        lora_config
            PEFT's own configuration.

        Raises
        ------
        InputError
            If the name is taken or unusable, or the configuration fits no layer.
        """
        self._adapters.add(name, lora_config)

    def load_adapter(self, name: str, folder: str | Path) -> None:
        """Read an adapter from a folder that :meth:`save_adapter` or PEFT wrote (safetensors only).

        Raises
        ------
        StoredFileError
            If a file is missing or damaged, or the adapter belongs to another architecture.
        """
        made_from = self.fingerprint if (Path(folder) / "manifest.json").exists() else ""
        self._adapters.load(name, folder, made_from)

    def save_adapter(self, name: str, folder: str | Path) -> None:
        """Write an adapter as a folder, whole or absent, that PEFT can read as well."""
        self._adapters.save(name, folder, self.fingerprint)

    def adapter_weights(self, name: str) -> dict[str, np.ndarray]:
        """Return an adapter's weights, float32, by PEFT's names."""
        return self._adapters.weights(name)

    def remove_adapter(self, name: str) -> None:
        """Take an adapter off the model; with the last one the model is as it was loaded."""
        self._adapters.remove(name)

    @contextmanager
    def adapter(self, name: str | None) -> Iterator[Backbone]:
        """Use an adapter inside a block; ``None`` uses the base model. What was active before comes back.

        Raises
        ------
        InputError
            If there is no adapter of that name.
        """
        with self._adapters.use(name):
            yield self

    @contextmanager
    def train_adapter(self, name: str) -> Iterator[PeftModel]:
        """Make an adapter trainable inside a block; afterwards everything is frozen and in evaluation mode.

        Yields
        ------
        peft.PeftModel
            :attr:`model`, in training mode, gradients for this adapter only: what TRL's trainers take.
        """
        with self._adapters.training(name) as model:
            yield model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write base model and processor as transformers does, to be loaded by its Auto classes; without adapters."""
        weights = {name: tensor.detach() for name, tensor in base_tensors(self.hf)}
        self.hf.save_pretrained(folder, state_dict=weights)
        self.processor.save_pretrained(folder)

    def align(
        self,
        contents: Sequence[ItemContent],
        *,
        epochs: int = 1,
        learning_rate: float = 1e-3,
        seed: int = 0,
        workdir: str | Path | None = None,
    ) -> AlignResult:
        """Train the projector between image tower and language model on captions of these items.

        Parameters
        ----------
        contents
            Items with a picture and a title; others are passed over.
        epochs, learning_rate, seed
            Of the training.
        workdir
            Where an interrupted alignment goes on from; ``None`` keeps nothing.

        Returns
        -------
        AlignResult
            Losses, and the NLL of held-out captions before and after.

        Raises
        ------
        InputError
            If the model has no projector, or nothing is left to train on.
        """
        # The training loop is seldom needed and brings imports of its own.
        from mmsrarec.backbone.align import align

        return align(self, contents, epochs=epochs, learning_rate=learning_rate, seed=seed, workdir=workdir)
