"""What a piece of work costs the language model: passes, tokens and pictures, counted where they happen.

Nothing is estimated: hooks on the language model and the picture tower count what goes through them, padding
included. Used by benchmarks and by the cost line of an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["Cost", "counting"]


@dataclass
class Cost:
    """What went through a model.

    Attributes
    ----------
    passes
        Calls of the language model, of any number of rows.
    sequences
        Rows of these calls.
    tokens
        Positions of these rows, padding included.
    pictures
        Pictures, or tiles of them, that the tower read; one whose features were kept is not read again.
    """

    passes: int = 0
    sequences: int = 0
    tokens: int = 0
    pictures: int = 0


@contextmanager
def counting(backbone: Backbone) -> Iterator[Cost]:
    """Count what the model does inside a block.

    Parameters
    ----------
    backbone
        The model.

    Yields
    ------
    Cost
        Grows while the block runs.

    Examples
    --------
    >>> from mmsrarec.backbone import Backbone, Prompt
    >>> from mmsrarec.testing import tiny_llama
    >>> backbone = Backbone.load(tiny_llama())
    >>> prompts = [Prompt(("Does she like tea?",))]
    >>> _ = backbone.first_token_probability(prompts)  # the first call also checks the output matrix
    >>> with counting(backbone) as cost:
    ...     _ = backbone.first_token_probability(prompts)
    >>> cost.passes, cost.tokens == len(backbone.encode(prompts)[0])
    (1, True)
    """
    cost = Cost()

    def count_tokens(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        read = named.get("inputs_embeds")
        if read is None:
            read = named["input_ids"] if "input_ids" in named else given[0]
        cost.passes += 1
        cost.sequences += read.shape[0]
        cost.tokens += read.shape[0] * read.shape[1]

    def count_pictures(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        grid = named.get("grid_thw")
        pixels = given[0] if given else named["pixel_values"]
        cost.pictures += len(pixels if grid is None else grid)

    hooks = [backbone.inner.get_decoder().register_forward_pre_hook(count_tokens, with_kwargs=True)]
    if backbone.family is not None:
        tower = getattr(backbone.inner, backbone.family.vision_parts[0])
        hooks.append(tower.register_forward_pre_hook(count_pictures, with_kwargs=True))
    try:
        yield cost
    finally:
        for hook in hooks:
            hook.remove()
