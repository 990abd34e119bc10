"""Supervised fine-tuning of one adapter on prompts with answers and on prompts to compare, through TRL's SFTTrainer.

Used by the summarizer's warm start and by the ranker's multi-task tuning. What is minimized stands in ``losses``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset as ArrowDataset
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import SFTConfig, SFTTrainer

from mmsrarec.backbone.deprecations import old_names_allowed
from mmsrarec.backbone.losses import example_loss
from mmsrarec.backbone.packing import TrainingRow
from mmsrarec.backbone.prompt import Prompt
from mmsrarec.errors import InputError
from mmsrarec.progress import Ticker, ticker

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["RESUMABLE", "StepLog", "last_checkpoint", "supervised_config", "supervised_tune"]


def supervised_config(workdir: Path, *, seed: int, cpu: bool) -> SFTConfig:
    """Return the defaults of supervised fine-tuning.

    Parameters
    ----------
    workdir
        Where checkpoints go.
    seed
        Of the order of examples, of dropout and of the adapter's initial weights.
    cpu
        Whether the model is on the CPU; the precision is then float32.
    """
    with old_names_allowed():
        return SFTConfig(
            output_dir=str(workdir),
            # One example may be six prompts in one sequence.
            per_device_train_batch_size=1,
            gradient_accumulation_steps=8,
            num_train_epochs=1,
            learning_rate=2e-4,
            lr_scheduler_type="cosine",
            warmup_steps=5,
            weight_decay=0.0,
            gradient_checkpointing=not cpu,
            bf16=not cpu,
            use_cpu=cpu,
            save_steps=20,
            seed=seed,
        )


RESUMABLE: dict[str, Any] = {
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_total_limit": 1,
    "disable_tqdm": True,
    "report_to": [],
    "remove_unused_columns": False,
    "dataloader_pin_memory": False,
}
"""What a run of any of TRL's trainers needs to be logged step by step and to go on from its last checkpoint."""

# What our pre-encoded rows need of the trainer, whatever the user's own configuration says.
_REQUIRED: dict[str, Any] = {
    **RESUMABLE,
    "dataset_kwargs": {"skip_prepare_dataset": True},
    "max_length": None,
    "packing": False,
    "train_sampling_strategy": "group_by_length",
}


# What a run that is judged at its checkpoints needs besides.
_VALIDATED: dict[str, Any] = {
    "eval_strategy": "steps",
    "metric_for_best_model": "validation",
    "greater_is_better": True,
    "load_best_model_at_end": True,
}


_MOST_VALIDATIONS = 20


def supervised_tune(
    backbone: Backbone,
    adapter: str,
    prompts: Sequence[Prompt | Sequence[Prompt]],
    answers: Sequence[str | int],
    *,
    workdir: str | Path,
    config: SFTConfig | None = None,
    seed: int = 0,
    validate: Callable[[], float] | None = None,
    patience: int = 3,
    description: str = "fine-tuning",
) -> list[dict[str, float]]:
    """Teach an adapter to answer prompts.

    Under ``accelerate launch`` every process calls this with the same arguments and learns from its share of each
    step's examples; only the main one writes.

    Parameters
    ----------
    backbone
        Holds the model and the adapter.
    adapter
        Name of an adapter that was added before; its weights are changed.
    prompts, answers
        A prompt and what to write: the loss is taken on the answer and its end-of-turn token only. Or some prompts
        that begin alike, and the position of the one that deserves a yes: they are compared, see
        :func:`~mmsrarec.backbone.losses.comparison_loss`, and what they begin with is run once.
    workdir
        For checkpoints and ``steps.jsonl``. A run that was interrupted goes on from its last checkpoint.
    config
        TRL's own configuration; ``None`` takes :func:`supervised_config`. Its output folder and the settings
        that pre-encoded rows need are replaced.
    seed
        Of order, dropout and initial weights, where `config` is ``None``.
    validate
        Asked before the first step, at every checkpoint and at the end, with the adapter active, how good the adapter
        is; higher is better. There are at most about 20 checkpoints then, since an answer takes its time.
        The adapter ends as it was when it was best, untrained if no checkpoint was better. ``None`` keeps the last.
    patience
        Training stops once this many answers of `validate` in a row were no better than the best.
    description
        Shown with the progress.

    Returns
    -------
    list of dict
        One entry a step: ``step``, ``loss``, ``learning_rate``, ``grad_norm``, and ``validation`` where it was asked;
        with `validate`, ``validation`` alone for step 0.

    Raises
    ------
    InputError
        If `prompts` and `answers` differ in length or are empty or do not fit, or `patience` is below 1.
    """
    if patience < 1:
        raise InputError(f"patience must be 1 or more, got {patience}.")
    if len(prompts) != len(answers) or not len(prompts):
        raise InputError(
            f"prompts and answers must be of one length of 1 or more, got {len(prompts)} and {len(answers)}."
        )
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    encoded = _encode(backbone, prompts, answers)
    # Its check runs the model; among the steps it would draw from their dropout, and a resumed run at another step.
    backbone.output_head()
    arguments = replace(
        config or supervised_config(workdir, seed=seed, cpu=backbone.device.type == "cpu"),
        output_dir=str(workdir),
        **_REQUIRED,
    )
    if validate is not None:
        every = max(int(arguments.save_steps), _steps(arguments, len(encoded)) // _MOST_VALIDATIONS)
        arguments = replace(arguments, save_steps=every, eval_steps=every, **_VALIDATED)
    rows = ArrowDataset.from_dict(
        {"index": list(range(len(encoded))), "length": [len(row) for row in encoded]}
    )
    with backbone.train_adapter(adapter), ticker(description) as progress, old_names_allowed():
        log = StepLog(workdir / "steps.jsonl", progress)
        trainer = _AnswerTrainer(
            backbone,
            encoded,
            model=backbone.model,
            args=arguments,
            train_dataset=rows,
            processing_class=backbone.processor,
            adapter=adapter,
            validate=validate,
            data_collator=_collate_indices,
            callbacks=[log, *([EarlyStoppingCallback(patience)] if validate else [])],
        )
        trainer.remove_callback(PrinterCallback)
        if validate is not None:
            trainer.validate_start(log)
        trainer.train(resume_from_checkpoint=last_checkpoint(workdir))
    return log.steps


def _encode(
    backbone: Backbone, prompts: Sequence[Prompt | Sequence[Prompt]], answers: Sequence[str | int]
) -> list[TrainingRow]:
    """Turn examples into token ids, those with an answer at once."""
    rows: list[TrainingRow | None] = [None] * len(prompts)
    written: list[tuple[int, Prompt, str]] = []
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if isinstance(prompt, Prompt) and isinstance(answer, str):
            written.append((number, prompt, answer))
        elif not isinstance(prompt, Prompt) and isinstance(answer, int) and 0 <= answer < len(prompt) >= 2:
            rows[number] = TrainingRow(tuple(backbone.encode(prompt)), answer)
        else:
            raise InputError(
                f"example {number} must be a Prompt with a text, or two or more of them with the position of the right "
                f"one, got {type(prompt).__name__} with {answer!r}."
            )
    encoded = backbone.encode([prompt for _, prompt, _ in written], [answer for *_, answer in written])
    for (number, *_), one in zip(written, encoded, strict=True):
        rows[number] = TrainingRow((one,))
    return [row for row in rows if row is not None]


def _steps(arguments: SFTConfig, rows: int) -> int:
    """Count the optimizer steps of a run."""
    if arguments.max_steps > 0:
        return arguments.max_steps
    at_once = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    return int(arguments.num_train_epochs * rows / at_once)


class _AnswerTrainer(SFTTrainer):
    """TRL's trainer over encoded rows, with the loss on answer tokens by the fused kernel."""

    def __init__(
        self,
        backbone: Backbone,
        encoded: Sequence[TrainingRow],
        *,
        adapter: str,
        validate: Callable[[], float] | None,
        **arguments: Any,
    ) -> None:
        # The trainer wants to see rows to evaluate on, but they are not what the validation reads.
        rows = arguments["train_dataset"] if validate else None
        super().__init__(eval_dataset=rows, **arguments)
        self._backbone = backbone
        self._encoded = encoded
        self._adapter = adapter
        self._validate = validate
        self._start_value = float("-inf")
        self._start: dict[str, torch.Tensor] = {}
        # The loss below is a mean over the rows of a micro-batch, so the trainer itself divides by their number.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean loss over examples."""
        rows = [self._encoded[index] for index in inputs["index"].tolist()]
        loss, outputs = example_loss(self._backbone, model, rows)
        return (loss, outputs) if return_outputs else loss

    def validate_start(self, log: StepLog) -> None:
        """Ask the validation before the first step, or take what an interrupted run was answered."""
        state = get_peft_model_state_dict(self._backbone.model, adapter_name=self._adapter)
        self._start = {name: value.detach().clone() for name, value in state.items()}
        if not log.steps:
            log.steps.append({"step": 0, "validation": self._ask()})
        self._start_value = log.steps[0]["validation"]

    def _ask(self) -> float:
        """Ask the validation, in evaluation mode and without gradients."""
        assert self._validate is not None
        self.model.eval()
        with torch.no_grad():
            value = float(self._validate())
        self.model.train()
        return value

    def evaluate(self, *given: Any, **named: Any) -> dict[str, float]:
        """Ask the validation."""
        metrics = {"eval_validation": self._ask()}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedSampler:
        """Bring rows of like length together in each step, over all processes, so that none waits for another."""
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthGroupedSampler(rows, lengths=[len(one) for one in self._encoded])

    def _load_best_model(self) -> None:
        """Take the adapter back from the best checkpoint; the trainer's own way looks for unnamed adapters alone."""
        best = self.state.best_metric
        if best is None or best <= self._start_value or self.state.best_model_checkpoint is None:
            set_peft_model_state_dict(self._backbone.model, self._start, adapter_name=self._adapter)
            return
        folder = Path(self.args.output_dir) / Path(self.state.best_model_checkpoint).name
        named = folder / self._adapter / "adapter_model.safetensors"
        weights = named if named.exists() else folder / named.name
        set_peft_model_state_dict(self._backbone.model, load_file(weights), adapter_name=self._adapter)


def _collate_indices(rows: Sequence[dict[str, int]]) -> dict[str, torch.Tensor]:
    return {"index": torch.tensor([row["index"] for row in rows])}


class StepLog(TrainerCallback):
    """Shows each optimizer step and appends it to a JSON Lines file.

    Parameters
    ----------
    path
        The file. Steps that a resumed run repeats are written once.
    progress
        Advanced by one a step.
    """

    def __init__(self, path: Path, progress: Ticker) -> None:
        self._path = path
        self._progress = progress
        self.steps: list[dict[str, float]] = []
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                try:
                    self.steps.append(json.loads(line))
                except ValueError:
                    break

    def on_train_begin(self, arguments: Any, state: Any, control: Any, **more: Any) -> None:
        """Tell the progress how many steps there are and forget steps after the checkpoint."""
        self._progress.set_total(state.max_steps, state.global_step)
        self.steps = [step for step in self.steps if step["step"] <= state.global_step]

    def on_log(self, arguments: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Keep the numbers of one step."""
        if logs and "eval_validation" in logs and self.steps:
            self.steps[-1]["validation"] = logs["eval_validation"]
        elif logs is None or "loss" not in logs:
            return
        else:
            numbers = {
                name: float(value) for name, value in logs.items() if isinstance(value, int | float | str)
            }
            self.steps.append({"step": state.global_step, **numbers})
            self._progress.advance(1, f"loss {numbers['loss']:.3f}")
        if state.is_world_process_zero:
            self._path.write_text("".join(json.dumps(step) + "\n" for step in self.steps), "utf-8")


def last_checkpoint(workdir: Path) -> str | None:
    """Return the newest complete checkpoint of a trainer, and remove incomplete ones.

    The trainer writes its state file last, so a checkpoint with a readable one is complete.
    """
    found: list[tuple[int, Path]] = []
    for folder in workdir.glob("checkpoint-*"):
        try:
            step = int(json.loads((folder / "trainer_state.json").read_text("utf-8"))["global_step"])
        except (OSError, ValueError, KeyError, TypeError):
            shutil.rmtree(folder, ignore_errors=True)  # another process may be at it as well
            continue
        found.append((step, folder))
    return str(max(found)[1]) if found else None
