"""Parts of the method that can be left out by name, to see what each is worth.

``Recommender(without=["paths"])`` is fitted, saved and asked like any other; what a part feeds to the blend, apart
from the prompt, stays. :func:`mmsrarec.evaluate.evaluate_ablations` makes the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mmsrarec.errors import InputError
from mmsrarec.recommender.presets import Preset

__all__ = ["PARTS", "check_without", "preset_without"]

PARTS = {
    "keywords": "prompts say the items' own texts, cut to as many tokens as their keywords have",
    "grpo": "the summarizer stays as its warm start left it",
    "similar_users": "prompts tell nothing of similar users",
    "paths": "prompts tell nothing of what connects the history with the candidate",
    "multi_task": "tuned on the yes/no question alone, with as many examples",
    "sft": "the language model is asked as it came, untuned",
    "image": "prompts show the candidate without its picture",
    "mllm": "the blend ranks without the language model",
}
"""Name of each part, and what happens without it."""


def check_without(without: Any) -> frozenset[str]:
    """Return the names as a set.

    Raises
    ------
    InputError
        If one of them is not in :data:`PARTS`.

    Examples
    --------
    >>> sorted(check_without(["paths", "image"]))
    ['image', 'paths']
    """
    names = list(without) if isinstance(without, Iterable) and not isinstance(without, str) else [without]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise InputError(f"without must be a list of names from {list(PARTS)}, got {without!r}.")
    return frozenset(names)


def preset_without(preset: Preset, without: frozenset[str]) -> Preset:
    """Return the preset with the work that is left out set to nothing.

    Examples
    --------
    >>> from mmsrarec.recommender.presets import PRESETS
    >>> preset_without(PRESETS["demo"], frozenset({"sft"})).tune_examples
    0
    """
    if "grpo" in without:
        preset = replace(preset, grpo_steps=0)
    if without & {"sft", "mllm"}:
        preset = replace(preset, tune_examples=0, readout_users=0)
    return preset
