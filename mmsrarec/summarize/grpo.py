"""Reinforcement learning of the summarizer: TRL's GRPOTrainer over the image and the text prompts.

Stands after the warm start. Nothing of the algorithm is rewritten here: this module gives TRL the prompts in
the backbone's own wording, the three rewards, and a log; and it leaves the model as it found it, but for the
adapter. The reference model of the reconstruction reward is the backbone with its adapter off, in the same
memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset as ArrowDataset
from transformers import EarlyStoppingCallback, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone.deprecations import old_names_allowed
from mmsrarec.backbone.supervised import RESUMABLE, last_checkpoint
from mmsrarec.progress import ticker
from mmsrarec.summarize.reward_log import RewardLog
from mmsrarec.summarize.rewards import KeywordScorer, reward_functions
from mmsrarec.summarize.scored_batch import ScoredBatch, answer_parser

__all__ = [
    "PATIENCE",
    "POLICY",
    "REFERENCE",
    "PolicyPrompt",
    "grpo_config",
    "order_prompts",
    "train_policy",
]

POLICY = "default"
"""Name of the adapter in training: TRL copies the one of this name, PEFT's own default, for the KL term."""

REFERENCE = "ref"
"""Name that TRL gives to that copy."""


# Few steps change an answer only if they are large (decision 0004); what many large ones do was not measured.
_FEW_STEPS = 20
_RATE, _RATE_OF_MANY = 1e-3, 2e-4


@dataclass(frozen=True)
class PolicyPrompt:
    """One prompt of the policy, and the text that its answer is rewarded against.

    Attributes
    ----------
    prompt
        The image prompt or the text prompt of an item.
    text
        What :func:`~mmsrarec.summarize.rewards.rewarded_text` gives for the item.
    """

    prompt: Prompt
    text: str


def grpo_config(workdir: str | Path, *, steps: int, answer_tokens: int, seed: int, cpu: bool) -> GRPOConfig:
    """Return the configuration for a quick run, used where the user gives none.

    Every optimizer step takes two micro-batches of text prompts and two of image prompts, each of one prompt with
    eight answers: both modalities have a say in every update, and no part of a step is long without a sign of life.

    Parameters
    ----------
    workdir
        Where checkpoints go.
    steps
        Optimizer steps, 1 or more.
    answer_tokens
        Longest answer.
    seed
        Of sampling.
    cpu
        Whether the model is on the CPU; the precision is then float32.
    """
    with old_names_allowed():
        return GRPOConfig(
            output_dir=str(workdir),
            max_steps=steps,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=4,
            steps_per_generation=1,
            num_generations=8,
            max_completion_length=answer_tokens,
            temperature=0.6,
            learning_rate=_RATE if steps <= _FEW_STEPS else _RATE_OF_MANY,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            beta=0.04,
            gradient_checkpointing=not cpu,
            bf16=not cpu,
            use_cpu=cpu,
            save_steps=2,
            seed=seed,
        )


# What the prompts below and a resumable run need of the trainer, whatever the user's own configuration says.
_REQUIRED: dict[str, Any] = {
    **RESUMABLE,
    "push_to_hub": False,
    "shuffle_dataset": False,
    "dataloader_num_workers": 0,
}

PATIENCE = 3
"""Looks at the held-out reward without a gain after which training stops."""


def order_prompts(
    text_prompts: Sequence[PolicyPrompt],
    image_prompts: Sequence[PolicyPrompt],
    *,
    block: int,
    blocks: int,
    seed: int,
) -> list[PolicyPrompt]:
    """Put prompts in the order in which the trainer takes them: blocks of one modality, taking turns.

    Prompts of one modality are of like length and all or none of them hold a picture, so no batch is padded
    or mixed. Each modality is walked through in random order, again from the start when it is used up.

    Parameters
    ----------
    text_prompts, image_prompts
        Prompts of each modality; one of them may be empty.
    block
        Prompts that are generated for together.
    blocks
        How many blocks training takes.
    seed
        Of the order.

    Returns
    -------
    list of PolicyPrompt
        ``block * blocks`` prompts.
    """
    pools = [list(prompts) for prompts in (text_prompts, image_prompts) if len(prompts)]
    generator = np.random.default_rng(seed)
    endless = [_endlessly(pool, generator) for pool in pools]
    return [next(endless[turn % len(endless)]) for turn in range(blocks) for _ in range(block)]


def _endlessly(pool: list[PolicyPrompt], generator: np.random.Generator) -> Iterator[PolicyPrompt]:
    while True:
        for index in generator.permutation(len(pool)):
            yield pool[index]


def train_policy(
    backbone: Backbone,
    text_prompts: Sequence[PolicyPrompt],
    image_prompts: Sequence[PolicyPrompt],
    scorer: KeywordScorer,
    *,
    config: GRPOConfig,
    workdir: str | Path,
    limit: int,
    seed: int,
    held_out: Sequence[Sequence[PolicyPrompt]] = (),
) -> list[dict[str, float]]:
    """Train the adapter :data:`POLICY` by GRPO; a run that was interrupted goes on from its last checkpoint.

    With held-out prompts their reward is looked at each time a checkpoint is written; training stops after
    :data:`PATIENCE` looks without a gain, and the weights of the best look are what it ends with.

    Parameters
    ----------
    backbone
        Holds the model and the adapter named :data:`POLICY`, whose weights are changed.
    text_prompts, image_prompts
        What the policy is asked; at least one of them is not empty.
    scorer
        Gives the rewards and their weights.
    config
        TRL's own configuration; its folder and the settings that resuming needs are replaced.
    workdir
        For checkpoints and ``rewards.jsonl``.
    limit
        Most keywords of an answer that are read.
    seed
        Of the order of prompts.
    held_out
        Text prompts and image prompts that are not learned from; without any, training takes all its steps.

    Returns
    -------
    list of dict
        One entry a step: the mean of each reward and of the total, their spread, the share of groups without
        spread (from which nothing is learned), the share of repaired answers, that of the most common keyword among
        recent answers, the divergence from the start (KL, if the configuration's ``beta`` is above 0), seconds, and
        ``held_out_total`` where it was looked at.
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    config, blocks = _settle(config, workdir, scorer, len(text_prompts) + len(image_prompts))
    block = config.generation_batch_size // config.num_generations
    prompts = order_prompts(text_prompts, image_prompts, block=block, blocks=blocks, seed=seed)
    looked_at = [prompt for prompts in held_out for prompt in prompts]
    with ticker("learning from rewards") as progress, _left_as_found(backbone), old_names_allowed():
        log = RewardLog(workdir / "rewards.jsonl", progress)
        with backbone.train_adapter(POLICY) as model:
            parse = answer_parser(limit, config.max_completion_length, backbone.stop_ids)
            batch = ScoredBatch(scorer, parse, log.observe, log.recent)
            trainer = GRPOTrainer(
                model=model,
                reward_funcs=reward_functions(batch),
                args=_stopping_early(config) if looked_at else config,
                train_dataset=_as_dataset(backbone, prompts),
                eval_dataset=_as_dataset(backbone, looked_at, held_out=True) if looked_at else None,
                processing_class=backbone.processor,
                callbacks=[log, *([EarlyStoppingCallback(PATIENCE)] if looked_at else [])],
            )
            # It would print every log as a Python dictionary; the reward log above is the one that is shown.
            trainer.remove_callback(PrinterCallback)
            trainer.train(resume_from_checkpoint=last_checkpoint(workdir))
    return log.steps


def _stopping_early(config: GRPOConfig) -> GRPOConfig:
    """Look at the held-out reward with every checkpoint and keep the best."""
    return replace(
        config,
        eval_strategy="steps",
        eval_steps=config.save_steps,
        # The trainer shuffles these prompts, and a batch must not mix prompts with and without pictures.
        per_device_eval_batch_size=config.num_generations_eval or config.num_generations,
        load_best_model_at_end=True,
        metric_for_best_model="eval_reward",
        greater_is_better=True,
        generation_batch_size=None,
    )


def _settle(config: GRPOConfig, workdir: Path, scorer: KeywordScorer, prompts: int) -> tuple[GRPOConfig, int]:
    """Return the configuration with what resuming needs, its steps counted, and the number of prompt blocks."""
    block = config.generation_batch_size // config.num_generations
    micro_steps_of_block = config.steps_per_generation * config.num_iterations
    steps = config.max_steps
    if steps <= 0:
        micro_steps = max(prompts // block, 1) * micro_steps_of_block * config.num_train_epochs
        steps = max(int(micro_steps // config.gradient_accumulation_steps), 1)
    blocks = -(-steps * config.gradient_accumulation_steps // micro_steps_of_block)
    settled = replace(
        config,
        **_REQUIRED,
        output_dir=str(workdir),
        max_steps=steps,
        reward_weights=list(scorer.settings.weights),
        # Derived from steps_per_generation once more; TRL refuses to be given both.
        generation_batch_size=None,
    )
    return settled, blocks


def _as_dataset(
    backbone: Backbone, prompts: Sequence[PolicyPrompt], *, held_out: bool = False
) -> ArrowDataset:
    """Give prompts to TRL as conversations; pictures are opened only when their batch comes."""
    rows = ArrowDataset.from_dict({"row": list(range(len(prompts)))})
    return rows.with_transform(_PromptReader(backbone, prompts, held_out))


class _PromptReader:
    """Reads rows of prompts as TRL's columns: the conversation, its pictures, and the rewarded text."""

    def __init__(self, backbone: Backbone, prompts: Sequence[PolicyPrompt], held_out: bool) -> None:
        self._held_out = held_out
        self._with_pictures = backbone.has_images
        self._prompts = prompts
        self._conversations = [_conversation(backbone, entry.prompt) for entry in prompts]

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [self._prompts[row] for row in batch["row"]]
        columns: dict[str, list[Any]] = {
            "prompt": [self._conversations[row] for row in batch["row"]],
            "text": [entry.text for entry in chosen],
            "held_out": [self._held_out] * len(chosen),
        }
        if self._with_pictures:
            columns["images"] = [[picture.load() for picture in entry.prompt.pictures] for entry in chosen]
        return columns

    def __getstate__(self) -> dict[str, Any]:
        # `datasets` hashes a transform by pickling it; the hash is for a cache that is not used here.
        return {}


def _conversation(backbone: Backbone, prompt: Prompt) -> list[dict[str, Any]]:
    """Return a prompt as the messages that the backbone itself would render, item text neutralized."""
    prompt = backbone.without_pictures(prompt)
    if not backbone.has_images:
        return [{"role": "user", "content": backbone.chat.neutralize(prompt.text)}]
    parts = [
        {"type": "text", "text": backbone.chat.neutralize(part)}
        if isinstance(part, str)
        else {"type": "image"}
        for part in prompt.content
    ]
    return [{"role": "user", "content": parts}]


@contextmanager
def _left_as_found(backbone: Backbone) -> Iterator[None]:
    """Undo what a trainer changes on the base model: its forward, its generation settings, its pad token."""
    base, generation, text = backbone.hf, backbone.hf.generation_config, backbone.hf.config.get_text_config()
    forward = base.__dict__.get("forward")
    kept = [
        (settings, name, getattr(settings, name, None))
        for settings, name in (
            (generation, "eos_token_id"),
            (generation, "pad_token_id"),
            (text, "pad_token_id"),
        )
    ]
    padding_side = backbone.tokenizer.padding_side
    # The trainer generates with padding on the left whatever the tokenizer says, but its image inputs are padded
    # by the processor, and both must agree.
    backbone.tokenizer.padding_side = "left"
    generation.eos_token_id = backbone.stop_ids
    try:
        yield
    finally:
        for settings, name, value in kept:
            setattr(settings, name, value)
        backbone.tokenizer.padding_side = padding_side
        base.__dict__.pop("forward", None)
        if forward is not None:
            base.forward = forward
