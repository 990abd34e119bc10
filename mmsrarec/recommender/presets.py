"""How much work a fit does: three named budgets, and the dataclass they are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mmsrarec.errors import InputError

__all__ = ["PRESETS", "Preset", "find_preset"]


@dataclass(frozen=True)
class Preset:
    """The size of each stage of a fit.

    Attributes
    ----------
    align_items, align_epochs
        Pictures the projector is aligned on and passes over them; only for the embedded backbone, 0 skips it.
    warm_start_items
        Items of the summarizer's supervised warm start; small models need one, 0 skips it.
    grpo_steps
        Optimizer steps of GRPO; 0 leaves the summarizer as the warm start made it.
    held_out_items
        Items that the summarizer does not learn from and whose rewards are measured before and after.
    sequence_epochs
        Passes of the sequence model, over which its learning rate falls to zero; it may stop earlier on validation.
    tune_examples
        Examples of supervised fine-tuning over the four kinds of task; 0 ranks with the bare model.
    tune_validation_users
        Validation users whose ranking is looked at while tuning goes on, to stop early and keep the best; 0 keeps the
        last. They are others than the blend's as far as there are enough.
    readout_users
        Training users whose last choice the readout is fitted on, the last step of tuning and the only one where
        `tune_examples` is 0; 0 fits none.
    blend_users
        Validation users whose candidates the language model scores to fit the blend.
    candidates
        Items a user that `recommend` ranks.
    """

    align_items: int
    align_epochs: int
    warm_start_items: int
    grpo_steps: int
    held_out_items: int
    sequence_epochs: int
    tune_examples: int
    tune_validation_users: int
    readout_users: int
    blend_users: int
    candidates: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            lowest = 1 if name in {"sequence_epochs", "blend_users", "candidates"} else 0
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise InputError(f"preset.{name} must be a whole number of {lowest} or more, got {value!r}.")


PRESETS = {
    "demo": Preset(
        align_items=0,
        align_epochs=0,
        warm_start_items=40,
        grpo_steps=3,
        held_out_items=0,
        sequence_epochs=40,
        tune_examples=0,
        tune_validation_users=0,
        readout_users=64,
        blend_users=10,
        candidates=16,
    ),
    "quick": Preset(
        align_items=600,
        align_epochs=1,
        warm_start_items=160,
        grpo_steps=10,
        held_out_items=32,
        sequence_epochs=20,
        tune_examples=0,
        tune_validation_users=0,
        readout_users=300,
        blend_users=32,
        candidates=30,
    ),
    "default": Preset(
        align_items=10_000,
        align_epochs=2,
        warm_start_items=1000,
        grpo_steps=300,
        held_out_items=200,
        sequence_epochs=20,
        tune_examples=20_000,
        tune_validation_users=100,
        readout_users=1000,
        blend_users=500,
        candidates=100,
    ),
}
"""`demo`: minutes on two cores; `quick`: under an hour on two cores; `default`: one GPU."""


def find_preset(preset: str | Preset) -> Preset:
    """Return a preset by name, or the given one.

    Raises
    ------
    InputError
        If no preset has that name.

    Examples
    --------
    >>> find_preset("quick").grpo_steps
    10
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise InputError(f"preset must be one of {sorted(PRESETS)} or a Preset, got {preset!r}.")
    return PRESETS[preset]
