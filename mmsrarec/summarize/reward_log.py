"""What each step of GRPO is remembered by: its rewards, the signs of reward hacking, and the answers themselves.

Stands beside ``grpo``, as a callback of TRL's trainer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from mmsrarec.progress import Ticker
from mmsrarec.storage import atomic_path
from mmsrarec.summarize.keywords import ParsedAnswer
from mmsrarec.summarize.scored_batch import RecentAnswers

__all__ = ["RewardLog", "read_log"]

_LOGGED = {
    "information": "rewards/information_reward/mean",
    "reconstruction": "rewards/reconstruction_reward/mean",
    "length": "rewards/length_reward/mean",
    "total": "reward",
    "spread": "reward_std",
    "groups_without_spread": "frac_reward_zero_std",
    "kl": "kl",
    "entropy": "entropy",
    "answer_tokens": "completions/mean_length",
    "cut_short": "completions/clipped_ratio",
    "loss": "loss",
    "learning_rate": "learning_rate",
    "seconds": "step_time",
}


class RewardLog(TrainerCallback):
    """Shows each step of GRPO, appends its rewards to a JSON Lines file, and remembers the last answers.

    Parameters
    ----------
    path
        The file; the keywords of each step's answers go beside it. A resumed run forgets the steps after its
        checkpoint, so each step stands there once.
    progress
        Advanced by one a step, and shown once more while a step is still being rewarded.

    Attributes
    ----------
    recent
        The last answers, for the reward that makes common keywords dear.
    """

    def __init__(self, path: Path, progress: Ticker) -> None:
        self._path = path
        self._answers_path = path.with_name("answers.jsonl")
        self._progress = progress
        self._observed: list[ParsedAnswer] = []
        self.recent = RecentAnswers()
        self.steps: list[dict[str, float]] = read_log(path)
        self._answers: list[dict[str, Any]] = read_log(self._answers_path)

    def observe(self, answers: Sequence[ParsedAnswer]) -> None:
        """Take note of the answers of one batch."""
        self._observed += answers
        self._progress.advance(0, "(rewarding answers)")

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Start the progress at the checkpoint's step, with the answers that had been given until then."""
        self._progress.set_total(state.max_steps, state.global_step)
        self.steps = [step for step in self.steps if step["step"] <= state.global_step]
        self._answers = [step for step in self._answers if step["step"] <= state.global_step]
        for step in self._answers:
            self.recent.add(step["keywords"])

    def on_substep_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Show that a micro-batch is done."""
        self._progress.advance(0, "(updating)")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Keep the rewards of one step."""
        if logs is None or "reward" not in logs:
            return
        entry: dict[str, float] = {"step": state.global_step}
        entry |= {name: float(logs[key]) for name, key in _LOGGED.items() if logs.get(key) is not None}
        entry["repaired"] = float(np.mean([float(answer.repaired) for answer in self._observed] or [0.0]))
        entry["most_common_keyword"] = self.recent.largest_share
        keywords = [list(answer.keywords) for answer in self._observed]
        self._answers.append({"step": state.global_step, "keywords": keywords})
        self._observed = []
        self.steps.append(entry)
        # Answers first: a step is done when its rewards are written.
        _write_log(self._answers_path, self._answers)
        _write_log(self._path, self.steps)
        self._progress.advance(1, f"reward {entry['total']:.3f}")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any) -> None:
        """Keep the reward of held-out items beside that of the step before."""
        if metrics and "eval_reward" in metrics and self.steps:
            self.steps[-1]["held_out_total"] = float(metrics["eval_reward"])
            _write_log(self._path, self.steps)


def _write_log(path: Path, steps: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(step, ensure_ascii=False) + "\n" for step in steps), "utf-8")


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """Read a JSON Lines log of training, one entry a step; empty if there is no file."""
    path = Path(path)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
