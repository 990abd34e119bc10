"""The two training steps of a summarizer in one folder: warm start, then GRPO, each done once.

Before them it is asked whether answers about pictures are about their items as they are (``admission``). Pictures that
are heard already are left alone: targets and rewards come from texts, and would teach away what only a picture shows.
Otherwise the warm start teaches image prompts too, and it is asked again behind it.

Stands between :class:`~mmsrarec.summarize.Summarizer` and the modules that train. A finished step is an adapter
folder that is whole or absent; an unfinished one has checkpoints; so a fit killed anywhere goes on from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from peft import LoraConfig
from trl import GRPOConfig, SFTConfig

from mmsrarec.backbone import Backbone
from mmsrarec.backbone.identity import config_text
from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.progress import logger
from mmsrarec.storage import MANIFEST, fingerprint, read_json, write_json
from mmsrarec.summarize.admission import are_about_their_items
from mmsrarec.summarize.grpo import POLICY, REFERENCE, PolicyPrompt, grpo_config, train_policy
from mmsrarec.summarize.prompts import image_prompt, text_prompt
from mmsrarec.summarize.reward_log import read_log
from mmsrarec.summarize.rewards import KeywordScorer, rewarded_text
from mmsrarec.summarize.targets import KeywordExtractor
from mmsrarec.summarize.warm_start import add_fresh_adapter, language_lora, warm_start, warm_start_examples

__all__ = ["GRPO", "WARM_START", "TrainedAdapters", "TrainingPlan", "policy_prompts", "train_adapters"]

WARM_START, GRPO = "warm_start", "grpo"
_MADE_FROM = "made_from.json"
# Whether answers about pictures are about their items: before anything was learned, and behind the warm start.
_AT_FIRST, _TAUGHT = "pictures_heard_at_first.json", "pictures_heard_behind_warm_start.json"


@dataclass(frozen=True)
class TrainingPlan:
    """What to train; see :class:`~mmsrarec.summarize.Summarizer` for each."""

    warm_start_items: int
    grpo_steps: int
    grpo: GRPOConfig | None
    warm_start: SFTConfig | None
    lora: LoraConfig | None
    text_tokens: int
    answer_tokens: int
    max_keywords: int
    early_stop_items: int = 0
    warm_start_views: int = 1

    @property
    def reinforces(self) -> bool:
        """Whether there is a GRPO step."""
        return self.grpo is not None or self.grpo_steps > 0

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return self.reinforces or self.warm_start_items > 0

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides what is learned."""
        numbers = [
            self.warm_start_items,
            self.grpo_steps,
            self.text_tokens,
            self.answer_tokens,
            self.max_keywords,
            self.early_stop_items,
            self.warm_start_views,
        ]
        return fingerprint(
            numbers, [config_text(config) for config in (self.grpo, self.warm_start, self.lora)]
        )


@dataclass
class TrainedAdapters:
    """What training left in its folder.

    Attributes
    ----------
    folders
        Adapter folder by step (``"warm_start"``, ``"grpo"``), in the order of training.
    warm_start_log, reward_log
        One entry a step.
    images_admitted
        Whether answers about pictures have a say in the keywords of items that have a text.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    warm_start_log: list[dict[str, float]] = field(default_factory=list)
    reward_log: list[dict[str, float]] = field(default_factory=list)
    images_admitted: bool = True


def train_adapters(
    backbone: Backbone,
    scorer: KeywordScorer,
    contents: Sequence[ItemContent],
    plan: TrainingPlan,
    *,
    workdir: str | Path,
    made_from: str,
    seed: int,
    start: Path | None = None,
) -> TrainedAdapters:
    """Run the steps that are not done yet.

    Parameters
    ----------
    backbone
        The model; no adapter is left on it.
    scorer
        The rewards of GRPO.
    contents
        The items to learn from.
    plan
        Sizes and configurations.
    workdir
        Where everything is kept. What another fit left there is removed.
    made_from
        Fingerprint of this fit.
    seed
        Of everything drawn.
    start
        Folder of an adapter whose weights training begins with; ``None``: fresh ones.

    Returns
    -------
    TrainedAdapters
        Where the adapters are, and the logs.
    """
    workdir = _open_workdir(Path(workdir), made_from)
    trained = TrainedAdapters()
    if not plan.learns:
        return trained

    def heard(decision: str, adapter: Path | None) -> bool:
        """Decide once, so that a resumed fit agrees."""
        path = workdir / decision
        if not path.exists():
            write_json(path, _are_images_about_items(backbone, scorer, contents, plan, adapter, seed))
        return bool(read_json(path))

    at_first = heard(_AT_FIRST, start)
    trained.warm_start_log = _warm_start(
        backbone, contents, plan, workdir, seed, start, with_images=not at_first
    )
    taught = False
    if plan.warm_start_items:
        trained.folders[WARM_START] = workdir / WARM_START
        taught = not at_first and heard(_TAUGHT, workdir / WARM_START)
    trained.images_admitted = at_first or taught
    if not trained.images_admitted:
        logger.warning(
            "answers about pictures are no nearer to their own items' texts than to others'; GRPO learns from text "
            "prompts alone, and keywords of items with a text are the text's. Align the backbone on more pictures, or "
            "use a larger one."
        )
    if plan.reinforces:
        trained.reward_log = _reinforce(backbone, scorer, contents, plan, workdir, seed, with_images=taught)
        trained.folders[GRPO] = workdir / GRPO
    return trained


def _open_workdir(workdir: Path, made_from: str) -> Path:
    marker = workdir / _MADE_FROM
    try:
        same = read_json(marker) == made_from
    except StoredFileError:
        same = False
    if not same:
        for name in (WARM_START, GRPO):
            for folder in (workdir / name, _run_folder(workdir, name)):
                shutil.rmtree(folder, ignore_errors=True)
        for name in (_AT_FIRST, _TAUGHT):
            (workdir / name).unlink(missing_ok=True)
        write_json(marker, made_from)
    return workdir


def _run_folder(workdir: Path, step: str) -> Path:
    return workdir / f"{step}_run"


def _is_done(folder: Path) -> bool:
    return (folder / MANIFEST).exists()


def _keep_logs_only(run: Path) -> None:
    for path in run.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != ".jsonl":
            path.unlink()


def _warm_start(
    backbone: Backbone,
    contents: Sequence[ItemContent],
    plan: TrainingPlan,
    workdir: Path,
    seed: int,
    start: Path | None,
    *,
    with_images: bool,
) -> list[dict[str, float]]:
    folder, run = workdir / WARM_START, _run_folder(workdir, WARM_START)
    if not _is_done(folder):
        run.mkdir(exist_ok=True)
        if start is None:
            add_fresh_adapter(backbone, POLICY, plan.lora or language_lora(backbone), seed=seed)
        else:
            backbone.load_adapter(POLICY, start)
        try:
            if plan.warm_start_items:
                prompts, answers = warm_start_examples(
                    contents,
                    extractor=KeywordExtractor(contents),
                    backbone=backbone,
                    items=plan.warm_start_items,
                    text_tokens=plan.text_tokens,
                    seed=seed,
                    views=plan.warm_start_views,
                    with_images=with_images,
                )
                logger.info("warm start on %d examples of %d items", len(prompts), plan.warm_start_items)
                warm_start(backbone, POLICY, prompts, answers, workdir=run, config=plan.warm_start, seed=seed)
            backbone.save_adapter(POLICY, folder)
        finally:
            backbone.remove_adapter(POLICY)
    _keep_logs_only(run)
    return read_log(run / "steps.jsonl")


def _reinforce(
    backbone: Backbone,
    scorer: KeywordScorer,
    contents: Sequence[ItemContent],
    plan: TrainingPlan,
    workdir: Path,
    seed: int,
    *,
    with_images: bool,
) -> list[dict[str, float]]:
    folder, run = workdir / GRPO, _run_folder(workdir, GRPO)
    if not _is_done(folder):
        run.mkdir(exist_ok=True)
        config = plan.grpo or grpo_config(
            run,
            steps=plan.grpo_steps,
            answer_tokens=plan.answer_tokens,
            seed=seed,
            cpu=backbone.device.type == "cpu",
        )
        learned_from, looked_at = _set_aside(contents, plan.early_stop_items, seed)
        text_prompts, image_prompts = policy_prompts(backbone, learned_from, text_tokens=plan.text_tokens)
        held_out: tuple[list[PolicyPrompt], ...] = ()
        if looked_at:
            held_out = policy_prompts(backbone, looked_at, text_tokens=plan.text_tokens)
        if not with_images:
            image_prompts, held_out = [], held_out[:1]
        backbone.load_adapter(POLICY, workdir / WARM_START)
        try:
            train_policy(
                backbone,
                text_prompts,
                image_prompts,
                scorer,
                config=config,
                workdir=run,
                limit=plan.max_keywords,
                seed=seed,
                held_out=held_out,
            )
            backbone.save_adapter(POLICY, folder)
        finally:
            for name in (POLICY, REFERENCE):
                if name in backbone.adapters:
                    backbone.remove_adapter(name)
    _keep_logs_only(run)
    # How long a step took differs from run to run and must not make equal summarizers differ.
    return [
        {name: value for name, value in step.items() if name != "seconds"}
        for step in read_log(run / "rewards.jsonl")
    ]


def _are_images_about_items(
    backbone: Backbone,
    scorer: KeywordScorer,
    contents: Sequence[ItemContent],
    plan: TrainingPlan,
    adapter: Path | None,
    seed: int,
) -> bool:
    """Ask the model, with an adapter out of its folder or as it is; ``True`` if there are no pictures."""
    _, image_prompts = policy_prompts(backbone, contents, text_tokens=plan.text_tokens)
    if not image_prompts:
        return True
    if adapter is not None:
        backbone.load_adapter(POLICY, adapter)
    try:
        return are_about_their_items(
            backbone,
            None if adapter is None else POLICY,
            image_prompts,
            scorer.encoder,
            answer_tokens=plan.answer_tokens,
            limit=plan.max_keywords,
            seed=seed,
        )
    finally:
        if adapter is not None:
            backbone.remove_adapter(POLICY)


def _set_aside(
    contents: Sequence[ItemContent], count: int, seed: int
) -> tuple[list[ItemContent], list[ItemContent]]:
    """Divide items into those that are learned from and some with a text, at most half, that are looked at."""
    with_text = [place for place, content in enumerate(contents) if content.text]
    drawn = np.random.default_rng(seed).permutation(with_text)[: min(count, len(with_text) // 2)]
    looked_at = set(drawn.tolist())
    return (
        [content for place, content in enumerate(contents) if place not in looked_at],
        [contents[place] for place in sorted(looked_at)],
    )


def policy_prompts(
    backbone: Backbone, contents: Sequence[ItemContent], *, text_tokens: int
) -> tuple[list[PolicyPrompt], list[PolicyPrompt]]:
    """Return what the policy is asked of each item that has a text to be rewarded against.

    Parameters
    ----------
    backbone
        Whose tokenizer counts the text's tokens; without an image side there are no image prompts.
    contents
        The items.
    text_tokens
        Budget of an item's text in its prompt.

    Returns
    -------
    tuple
        Text prompts and image prompts.

    Raises
    ------
    InputError
        If no item has a text.
    """
    text_prompts, image_prompts = [], []
    for content in contents:
        asked = text_prompt(content, backbone.tokenizer, text_tokens)
        if asked is None:
            continue
        text_prompts.append(PolicyPrompt(asked, rewarded_text(content)))
        pictured = image_prompt(content) if backbone.has_images else None
        if pictured is not None:
            image_prompts.append(PolicyPrompt(pictured, rewarded_text(content)))
    if not text_prompts:
        raise InputError("contents must hold a text to reward keywords against, got none; give titles.")
    return text_prompts, image_prompts
