"""How far up the decoder is read: states after some of its layers, and nothing run above the highest of them.

Stands under ``shared_prefix``. Layers are counted as transformers counts its ``hidden_states``: 0 would be the
embeddings, 1 is what the first layer returns, and the number of layers is the state under the output matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.backbone.backbone import Backbone

__all__ = ["reading", "reads_below_the_top"]


def _layer_list(backbone: Backbone) -> tuple[str, nn.ModuleList] | None:
    """Find the decoder's list of layers, whatever the architecture calls it."""
    for name, part in backbone.inner.get_decoder().named_children():
        if isinstance(part, nn.ModuleList) and len(part) == backbone.depth:
            return name, part
    return None


def reads_below_the_top(backbone: Backbone) -> bool:
    """Whether the decoder keeps its layers in one list, which can be cut.

    Examples
    --------
    >>> from mmsrarec.backbone import Backbone
    >>> from mmsrarec.testing import tiny_llama
    >>> reads_below_the_top(Backbone.load(tiny_llama()))
    True
    """
    return _layer_list(backbone) is not None


@contextmanager
def reading(backbone: Backbone, layers: Sequence[int]) -> Iterator[Callable[..., torch.Tensor]]:
    """Cut the decoder above the highest of some layers inside a block.

    Parameters
    ----------
    backbone
        The model.
    layers
        One or more, from 1 to the backbone's :attr:`~mmsrarec.backbone.Backbone.depth`.

    Yields
    ------
    callable
        ``read(inputs, lengths, **more)`` runs the inner model on padded inputs and returns the states at the last of
        each row's `lengths` positions, shape (B, layers, hidden).

    Raises
    ------
    InputError
        If a layer is not there.
    """
    if not layers or min(layers) < 1 or max(layers) > backbone.depth:
        raise InputError(
            f"layers must be from 1 to {backbone.depth} for backbone {backbone.name!r}, got {layers}."
        )
    seen: dict[int, torch.Tensor] = {}

    def read(inputs: dict[str, torch.Tensor], lengths: Sequence[int], **more: Any) -> torch.Tensor:
        top = backbone.inner(**inputs, **more).last_hidden_state  # (B, T, hidden)
        rows = torch.arange(len(lengths), device=top.device)
        last = torch.tensor(lengths, device=top.device) - 1
        states = [seen.pop(layer, top).to(top.device)[rows, last] for layer in layers]
        return torch.stack(states, dim=1)

    with _cut(backbone, layers, seen):
        yield read


@contextmanager
def _cut(backbone: Backbone, layers: Sequence[int], seen: dict[int, torch.Tensor]) -> Iterator[None]:
    """Leave out the layers above the highest of these, and put what those below the top return into `seen`."""
    if min(layers) == backbone.depth:
        yield
        return
    found = _layer_list(backbone)
    if found is None:
        raise InputError(
            f"backbone {backbone.name!r} keeps its layers in a way that is not known here; read its top layer only."
        )
    name, stack = found

    def keep(layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            seen[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    decoder = backbone.inner.get_decoder()
    hooks = [stack[layer - 1].register_forward_hook(keep(layer)) for layer in set(layers) - {backbone.depth}]
    setattr(decoder, name, stack[: max(layers)])
    try:
        yield
    finally:
        setattr(decoder, name, stack)
        for hook in hooks:
            hook.remove()
