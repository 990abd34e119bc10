"""What a fit needs to know besides the data, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mmsrarec.recommender.ablation import check_without, preset_without
from mmsrarec.recommender.parameters import check_choice, check_integer, check_weights
from mmsrarec.recommender.presets import Preset, find_preset

__all__ = ["FitSettings"]


@dataclass(frozen=True)
class FitSettings:
    """What the stages need to know besides the data; see :class:`mmsrarec.Recommender` for each."""

    preset: Preset
    align: bool
    history: int
    similar_users: int
    max_keywords: int
    reward_weights: tuple[float, float, float]
    reconstruction: Literal["perplexity", "nll", "clipped"]
    sequence_model: Literal["sasrec", "gru4rec"]
    grpo: Any
    sft: Any
    lora: Any
    without: frozenset[str]
    workers: int
    seed: int

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> FitSettings:
        """Check the parameters of a recommender.

        Raises
        ------
        InputError
            If one is not usable; the message names it.
        """
        given = dict(parameters)
        without = check_without(given["without"])
        preset = preset_without(find_preset(given["preset"]), without)
        for name, lowest in (
            ("history", 1),
            ("similar_users", 0),
            ("max_keywords", 1),
            ("workers", 1),
            ("seed", 0),
        ):
            check_integer(name, given[name], lowest)
        check_weights("reward_weights", given["reward_weights"], 3)
        check_choice("reconstruction", given["reconstruction"], ("perplexity", "nll", "clipped"))
        check_choice("sequence_model", given["sequence_model"], ("sasrec", "gru4rec"))
        as_given = (
            "history", "similar_users", "max_keywords", "reconstruction", "sequence_model", "grpo", "sft", "lora",
            "workers", "seed",
        )  # fmt: skip
        alpha, beta, gamma = given["reward_weights"]
        return cls(
            preset=preset,
            align=isinstance(given["backbone"], str) and given["backbone"] == "embedded",
            reward_weights=(alpha, beta, gamma),
            without=without,
            **{name: given[name] for name in as_given},
        )
