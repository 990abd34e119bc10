"""The supervised warm start: a small model learns what an answer looks like before it is rewarded for one.

Stands between the extracted keywords (``targets``) and reinforcement learning (``grpo``). Large backbones
answer with keywords as they are and need none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig
from torch import nn
from trl import SFTConfig

from mmsrarec.backbone import Backbone, Prompt, supervised_tune
from mmsrarec.backbone.supervised import supervised_config
from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError
from mmsrarec.summarize.augmentation import another_view
from mmsrarec.summarize.prompts import image_prompt, text_prompt
from mmsrarec.summarize.targets import KeywordExtractor

__all__ = [
    "add_fresh_adapter",
    "language_lora",
    "warm_start",
    "warm_start_config",
    "warm_start_examples",
]


def language_lora(backbone: Backbone, *, rank: int = 8) -> LoraConfig:
    """Return the default adapter: LoRA on every linear layer of the language model, none on the vision side.

    Parameters
    ----------
    backbone
        The model the adapter is for.
    rank
        Rank of the update of each layer.

    Examples
    --------
    >>> from mmsrarec.testing import tiny_llama
    >>> config = language_lora(Backbone.load(tiny_llama()))
    >>> sorted({name.rsplit(".", 1)[-1] for name in config.target_modules})
    ['down_proj', 'gate_proj', 'k_proj', 'o_proj', 'q_proj', 'up_proj', 'v_proj']
    """
    decoder = backbone.hf.get_decoder()
    linear = {id(module) for module in decoder.modules() if isinstance(module, nn.Linear)}
    head = backbone.hf.get_output_embeddings()
    names = [
        name.removesuffix(".base_layer")
        for name, module in backbone.hf.named_modules()
        if id(module) in linear and module is not head and "lora_" not in name
    ]
    return LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names, task_type="CAUSAL_LM"
    )


def add_fresh_adapter(backbone: Backbone, name: str, lora: LoraConfig, *, seed: int) -> None:
    """Add an adapter whose first weights depend on the seed alone; one of that name is replaced."""
    if name in backbone.adapters:
        backbone.remove_adapter(name)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone.add_adapter(name, lora)


def warm_start_examples(
    contents: Sequence[ItemContent],
    *,
    extractor: KeywordExtractor,
    backbone: Backbone,
    items: int,
    text_tokens: int,
    seed: int,
    views: int = 1,
    with_images: bool = True,
) -> tuple[list[Prompt], list[str]]:
    """Return prompts and answers: for each of some random items its text prompt and its image prompt.

    Parameters
    ----------
    contents
        The catalogue.
    extractor
        Gives the answers.
    backbone
        Whose tokenizer counts the text's tokens; without an image side there are no image prompts.
    items
        How many items to take.
    text_tokens
        Budget of an item's text.
    seed
        Of the choice.
    views
        How often each item is seen, 1 or more: once as it is, then by
        :func:`~mmsrarec.summarize.augmentation.another_view`.
    with_images
        ``False`` leaves image prompts out.

    Returns
    -------
    tuple
        Prompts, and the answer to each. Prompts for which nothing could be extracted are left out.
    """
    generator = np.random.default_rng(seed)
    chosen = [contents[index] for index in generator.permutation(len(contents))[:items]]
    seen = chosen + [another_view(content, generator) for _ in range(views - 1) for content in chosen]
    prompts, answers = [], []
    pictured = with_images and backbone.has_images
    for content in seen:
        asked = [
            (text_prompt(content, backbone.tokenizer, text_tokens), extractor.text_keywords(content)),
            (image_prompt(content) if pictured else None, extractor.image_keywords(content)),
        ]
        for prompt, keywords in asked:
            if prompt is not None and keywords:
                prompts.append(prompt)
                answers.append(", ".join(keywords))
    return prompts, answers


def warm_start_config(workdir: str | Path, *, seed: int, cpu: bool) -> SFTConfig:
    """Return the configuration for a quick run, used where the user gives none.

    Parameters
    ----------
    workdir
        Where checkpoints go.
    seed
        Of the order of examples.
    cpu
        Whether the model is on the CPU; the precision is then float32.
    """
    return replace(
        supervised_config(Path(workdir), seed=seed, cpu=cpu),
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        learning_rate=1e-3,
        save_steps=10,
    )


def warm_start(
    backbone: Backbone,
    adapter: str,
    prompts: Sequence[Prompt],
    answers: Sequence[str],
    *,
    workdir: str | Path,
    config: SFTConfig | None,
    seed: int,
) -> list[dict[str, float]]:
    """Train an adapter on the examples, loss on the answers alone; an interrupted run goes on.

    Parameters
    ----------
    backbone, adapter
        The model and the name of an adapter on it.
    prompts, answers
        As :func:`warm_start_examples` gives them.
    workdir
        For checkpoints.
    config
        TRL's own configuration; ``None`` takes that of a quick run.
    seed
        Of the order of examples.

    Returns
    -------
    list of dict
        Loss and learning rate of each step.

    Raises
    ------
    InputError
        If there are no examples.
    """
    if not prompts:
        raise InputError(
            "warm_start_items found no item whose text holds a keyword; set warm_start_items=0 to go without."
        )
    workdir = Path(workdir)
    if config is None:
        config = warm_start_config(workdir, seed=seed, cpu=backbone.device.type == "cpu")
    return supervised_tune(
        backbone,
        adapter,
        prompts,
        answers,
        workdir=workdir,
        config=config,
        seed=seed,
        description="learning to answer with keywords",
    )
