"""Supervised tuning: the loss is on answer tokens, only the adapter learns, and a killed run ends the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from trl import SFTConfig

from mmsrarec.backbone import Backbone, Prompt, supervised_tune
from mmsrarec.backbone.supervised import StepLog, last_checkpoint, supervised_config
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture
from mmsrarec.testing import tiny_qwen as make_tiny_qwen

LORA = {
    "r": 4,
    "lora_alpha": 8,
    "target_modules": r".*(language_model|model\.layers|text_model).*\.(q_proj|v_proj)",
}
PROMPTS = [Prompt((f"Number {number}: ", TinyPicture((200, 30, 30)), " is it red?")) for number in range(12)]
ANSWERS = ["yes", "no, it is not"] * 6


def config(folder: Path, **changes) -> SFTConfig:
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1,
        "learning_rate": 1e-2,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "save_steps": 2,
        "seed": 5,
    }
    return SFTConfig(**settings | changes)


def fresh(backbone: Backbone, dropout: float = 0.1) -> None:
    if "tuned" in backbone.adapters:
        backbone.remove_adapter("tuned")
    torch.manual_seed(0)
    backbone.add_adapter("tuned", LoraConfig(**LORA, lora_dropout=dropout))


def weights(backbone: Backbone, folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    backbone.save_adapter("tuned", folder)
    return load_file(folder / "adapter_model.safetensors")


@pytest.fixture(params=["tiny_llama", "tiny_llava", "tiny_qwen", "tiny_smolvlm"])
def backbone(request: pytest.FixtureRequest):
    backbone = request.getfixturevalue(request.param)
    yield backbone
    for name in backbone.adapters:
        backbone.remove_adapter(name)


@pytest.mark.filterwarnings("ignore:.*reads text only")
def test_loss_is_the_answers_summed_nll(backbone: Backbone, tmp_path: Path) -> None:
    fresh(backbone)
    encoded = backbone.encode(PROMPTS[:2], ANSWERS[:2])
    expected = []
    for row in encoded:
        inputs = backbone.collate([row])
        labels = inputs.pop("labels")[0]
        with torch.no_grad():
            logits = backbone.hf(**inputs).logits[0]
        answer = labels[1:] != -100
        expected.append(
            torch.nn.functional.cross_entropy(logits[:-1][answer], labels[1:][answer], reduction="sum")
        )
        assert answer.sum() == len(row) - row.answer_start
    log = supervised_tune(
        backbone, "tuned", PROMPTS[:2], ANSWERS[:2], workdir=tmp_path, config=config(tmp_path)
    )
    assert log[0]["loss"] == pytest.approx(float(torch.stack(expected).mean()), rel=1e-3)


@pytest.mark.filterwarnings("ignore:.*reads text only")
def test_it_learns_and_leaves_the_base_alone(backbone: Backbone, tmp_path: Path) -> None:
    fresh(backbone)
    before = backbone.fingerprint
    log = supervised_tune(
        backbone, "tuned", PROMPTS, ANSWERS, workdir=tmp_path, config=config(tmp_path, num_train_epochs=8)
    )
    assert len(log) == 48
    assert sum(step["loss"] for step in log[-6:]) < 0.7 * sum(step["loss"] for step in log[:6])
    assert backbone.fingerprint == before
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


@pytest.mark.filterwarnings("ignore:.*reads text only")
def test_fifty_steps_converge_alike_with_and_without_the_kernel(
    tiny_llama: Backbone, tmp_path: Path, monkeypatch
) -> None:
    losses, learned = {}, {}
    for implementation in ("reference", "cpu"):
        monkeypatch.setenv("MMSRAREC_KERNELS", implementation)
        fresh(tiny_llama, dropout=0.0)
        folder = tmp_path / implementation
        log = supervised_tune(
            tiny_llama,
            "tuned",
            PROMPTS,
            ANSWERS,
            workdir=folder,
            config=config(folder, max_steps=50, save_steps=100),
        )
        losses[implementation] = [step["loss"] for step in log]
        learned[implementation] = weights(tiny_llama, tmp_path / f"{implementation}_weights")
        tiny_llama.remove_adapter("tuned")
    assert len(losses["cpu"]) == 50
    assert sum(losses["cpu"][-6:]) < 0.8 * sum(losses["cpu"][:6])
    assert losses["cpu"] == pytest.approx(losses["reference"], rel=1e-3)
    for name, value in learned["reference"].items():
        torch.testing.assert_close(learned["cpu"][name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("validated", [False, True])
def test_interrupted_run_ends_with_the_same_weights(
    tiny_llava: Backbone, tmp_path: Path, monkeypatch, validated: bool
) -> None:
    fresh(tiny_llava)

    def tune(folder: Path) -> list[dict[str, float]]:
        def first_is_best() -> float:
            return float(tiny_llava.first_token_probability(PROMPTS[:4]).mean())

        return supervised_tune(
            tiny_llava,
            "tuned",
            PROMPTS,
            ANSWERS,
            workdir=folder,
            config=config(folder),
            validate=first_is_best if validated else None,
        )

    whole = tune(tmp_path / "a")
    undisturbed = weights(tiny_llava, tmp_path / "a_weights")

    fresh(tiny_llava)
    on_log = StepLog.on_log

    def interrupting(self, arguments, state, control, logs=None, **more):
        on_log(self, arguments, state, control, logs=logs, **more)
        if state.global_step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(StepLog, "on_log", interrupting)
    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "b")
    monkeypatch.undo()
    fresh(tiny_llava)
    resumed = tune(tmp_path / "b")
    again = weights(tiny_llava, tmp_path / "b_weights")
    tiny_llava.remove_adapter("tuned")
    assert undisturbed.keys() == again.keys()
    assert all(torch.equal(undisturbed[name], again[name]) for name in again)
    assert [step["step"] for step in resumed] == [step["step"] for step in whole]
    assert [step.get("loss") for step in resumed] == [step.get("loss") for step in whole]
    told = [step.get("validation") for step in whole]
    assert [step.get("validation") for step in resumed] == told
    assert [step["step"] for step in whole if "validation" in step] == ([0, 2, 4, 6] if validated else [])


@pytest.mark.parametrize(("start", "best"), [(0.4, 2), (0.9, 0)])
def test_it_stops_early_and_ends_as_it_was_at_its_best(
    tiny_llava: Backbone, tmp_path: Path, start: float, best: int
) -> None:
    fresh(tiny_llava)
    answers = iter([start, 0.5, 0.9, 0.6, 0.8, 0.7, 0.95])
    seen = []

    def validate() -> float:
        assert not tiny_llava.model.training
        assert not torch.is_grad_enabled()
        seen.append(weights(tiny_llava, tmp_path / f"weights-{len(seen)}"))
        return next(answers)

    log = supervised_tune(
        tiny_llava,
        "tuned",
        PROMPTS,
        ANSWERS,
        workdir=tmp_path / "run",
        config=config(tmp_path / "run", num_train_epochs=4),
        validate=validate,
    )
    assert [(step["step"], step["validation"]) for step in log if "validation" in step] == [
        (0, start), (2, 0.5), (4, 0.9), (6, 0.6), (8, 0.8), (10, 0.7),
    ]  # fmt: skip
    assert len(log) == 11
    ended = weights(tiny_llava, tmp_path / "ended")
    assert all(torch.equal(ended[name], seen[best][name]) for name in ended)
    assert not all(torch.equal(ended[name], seen[-1][name]) for name in ended)
    tiny_llava.remove_adapter("tuned")


def test_a_long_run_is_validated_seldom(tiny_llama: Backbone, tmp_path: Path) -> None:
    fresh(tiny_llama)
    prompts = [Prompt((f"number {number} of many",)) for number in range(8)]
    log = supervised_tune(
        tiny_llama,
        "tuned",
        prompts,
        ["yes", "no"] * 4,
        workdir=tmp_path,
        config=config(tmp_path, num_train_epochs=15, save_steps=1),
        validate=lambda: 0.5,
        patience=100,
    )
    tiny_llama.remove_adapter("tuned")
    assert len(log) == 61
    assert [step["step"] for step in log if "validation" in step] == list(range(0, 61, 3))


def test_accumulated_micro_batches_learn_as_one_batch(tiny_llava: Backbone, tmp_path: Path) -> None:
    losses = {}
    for rows, accumulation in ((4, 1), (2, 2), (1, 4)):
        fresh(tiny_llava, dropout=0.0)
        folder = tmp_path / str(rows)
        settings = config(
            folder,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=3,
        )
        log = supervised_tune(tiny_llava, "tuned", PROMPTS, ANSWERS, workdir=folder, config=settings)
        losses[rows] = [step["loss"] for step in log]
    tiny_llava.remove_adapter("tuned")
    assert len(losses[4]) == 9
    assert losses[2] == pytest.approx(losses[4], rel=1e-4)
    assert losses[1] == pytest.approx(losses[4], rel=1e-4)


def test_half_precision_with_checkpointing_learns_alike(tiny_qwen: Backbone, tmp_path: Path) -> None:
    """What a GPU runs: weights in bfloat16, mixed precision, activations made again."""
    half = Backbone.load(make_tiny_qwen(), device="cpu", dtype="bfloat16")
    losses = {}
    for name, backbone in (("whole", tiny_qwen), ("half", half)):
        fresh(backbone, dropout=0.0)
        settings = config(
            tmp_path / name, num_train_epochs=4, bf16=name == "half", gradient_checkpointing=name == "half"
        )
        log = supervised_tune(backbone, "tuned", PROMPTS, ANSWERS, workdir=tmp_path / name, config=settings)
        losses[name] = [step["loss"] for step in log]
        backbone.remove_adapter("tuned")
    assert losses["half"] == pytest.approx(losses["whole"], rel=0.15)
    assert sum(losses["half"][-6:]) < 0.9 * sum(losses["half"][:6])


@pytest.mark.slow
def test_two_processes_learn_as_one(tmp_path: Path) -> None:
    """``accelerate launch`` on two CPU processes against one that accumulates the same steps."""
    script = str(Path(__file__).parent / "tune_in_processes.py")
    # accelerate's CPU launcher wants MPI; the one it has for GPUs starts any processes, which then find no GPU.
    launcher = "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"
    losses = {}
    for name, command, accumulation in (
        ("one", [script], 2),
        ("two", ["-m", *launcher, "--num_machines", "1", "--mixed_precision", "no", script], 1),
    ):
        folder = tmp_path / name
        environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *command, str(folder), str(accumulation)]
        subprocess.run(command, check=True, timeout=300, env=environment)
        log = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
        assert [step["step"] for step in log] == list(range(1, 13))
        losses[name] = [step["loss"] for step in log]
    assert losses["one"][-1] < losses["one"][0]
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-3)


def test_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((2, json.dumps({"global_step": 2})), (4, '{"global_st'), (6, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_bad_arguments_are_named(tiny_llama: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prompts and answers must be of one length"):
        supervised_tune(tiny_llama, "tuned", PROMPTS, ANSWERS[:1], workdir=tmp_path)
    with pytest.raises(InputError, match="prompts and answers must be of one length of 1 or more, got 0"):
        supervised_tune(tiny_llama, "tuned", [], [], workdir=tmp_path)


@pytest.mark.filterwarnings("error")
def test_the_defaults_warn_of_nothing(tmp_path):
    assert supervised_config(tmp_path, seed=3, cpu=True).seed == 3
