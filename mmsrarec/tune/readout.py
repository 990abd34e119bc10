"""Fits the readout: what hidden states say of the next item beyond the words yes and no, or better than these.

The cheap way to tune, and the last step of the dear one. It needs forward passes alone, its minimum is unique, and
cross-validation says which layer to read and how far the examples at hand can be trusted, not at all included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from mmsrarec.backbone import Backbone, Prompt, Readout
from mmsrarec.backbone.depth import reads_below_the_top
from mmsrarec.backbone.first_token import answer_log_odds
from mmsrarec.backbone.losses import comparison_loss
from mmsrarec.errors import InputError
from mmsrarec.progress import track
from mmsrarec.storage import atomic_path
from mmsrarec.tune.tasks import Example
from mmsrarec.tune.validation import each_auc

__all__ = ["READ_BELOW", "FittedReadout", "compared_states", "fit_readout"]

READ_BELOW = (0.6,)
"""Parts of the depth at which a readout may read, besides the top."""

_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
_FOLDS = 5
_FEWEST_EXAMPLES = 2 * _FOLDS
_EXAMPLES_A_FILE = 8


@dataclass(frozen=True)
class FittedReadout:
    """A readout, and what it was worth for people it was not fitted on.

    Attributes
    ----------
    readout
        ``None`` if cross-validation found none that is better than the words alone.
    auc_without, auc_with
        Mean share of wrong candidates below the right one, without a readout and, cross-validated, with the best one.
    """

    readout: Readout | None
    auc_without: float
    auc_with: float


def compared_states(
    backbone: Backbone, examples: Sequence[Example], *, workdir: str | Path
) -> tuple[dict[int | None, np.ndarray], np.ndarray]:
    """Run compared prompts as ranking does, a part at a time; an interrupted run goes on.

    Parameters
    ----------
    backbone
        The model, with the adapter active that ranking will use.
    examples
        Of kind ``"compare"``, all of as many prompts.
    workdir
        For the parts that are done.

    Returns
    -------
    states : dict
        For each layer that a readout may read, named as in :class:`mmsrarec.backbone.Readout`, the hidden states,
        float32 (examples, prompts, hidden).
    log_odds : numpy.ndarray
        float32 (examples, prompts), log p(yes) - log p(no).
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    layers = _layers(backbone)
    parts = []
    for start in track(range(0, len(examples), _EXAMPLES_A_FILE), "reading what training users chose last"):
        path = workdir / f"states-{start:06d}.npy"
        if not path.exists():
            groups = [_prompts(example) for example in examples[start : start + _EXAMPLES_A_FILE]]
            found = backbone.hidden_states([prompt for group in groups for prompt in group], layers=layers)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, found.reshape(len(groups), -1, *found.shape[1:]), allow_pickle=False)
        parts.append(np.load(path, allow_pickle=False))
    read = np.concatenate(parts)  # (examples, prompts, layers, hidden)
    top = read[:, :, -1]
    with torch.no_grad():
        flat = answer_log_odds(backbone)(torch.from_numpy(top.reshape(-1, top.shape[-1])).to(backbone.device))
    states: dict[int | None, np.ndarray] = {None: top}
    states |= {layer: read[:, :, place] for place, layer in enumerate(layers[:-1])}
    return states, flat.cpu().numpy().reshape(top.shape[:2])


def _layers(backbone: Backbone) -> list[int]:
    """Numbers of the layers that are read, the top one last."""
    below = {round(part * backbone.depth) for part in READ_BELOW} if reads_below_the_top(backbone) else set()
    return [*sorted(below - {0, backbone.depth}), backbone.depth]


def _prompts(example: Example) -> tuple[Prompt, ...]:
    if not isinstance(example.prompt, tuple) or example.answer != 0:
        raise InputError(f'examples must be of kind "compare", the right prompt first, got {example.kind!r}.')
    return example.prompt


def fit_readout(states: Mapping[int | None, np.ndarray], log_odds: np.ndarray) -> FittedReadout:
    r"""Fit a readout by the loss of :func:`mmsrarec.backbone.losses.comparison_loss` with an L2 penalty.

    Layer and strength of the penalty are those with the lowest loss for examples left out, in five folds; the readout
    is kept if it lifts their AUC over that of the words by more than the standard error of the gain.

    Parameters
    ----------
    states
        For each layer that may be read, named as in :class:`mmsrarec.backbone.Readout`, float (examples, candidates,
        hidden), the right candidate first; each example another user's.
    log_odds
        float (examples, candidates), what the words yes and no say.

    Returns
    -------
    FittedReadout
        Without a readout if there are fewer than 10 examples.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> top, below = rng.normal(size=(2, 80, 4, 6))
    >>> below[:, 0, 2] += 2.0
    >>> fitted = fit_readout({None: top, 18: below}, np.zeros((80, 4)))
    >>> fitted.readout.layer, int(fitted.readout.direction.argmax()), fitted.auc_without, fitted.auc_with > 0.8
    (18, 2, 0.5, True)
    """
    without = each_auc(log_odds)
    if len(log_odds) < _FEWEST_EXAMPLES:
        return FittedReadout(None, float(without.mean()), float(without.mean()))
    fold = np.arange(len(log_odds)) % _FOLDS
    standardized = {layer: _standardized(read) for layer, read in states.items()}
    left_out = {
        (layer, strength): _left_out(inputs, _said(layer, log_odds), strength, fold)
        for layer, (inputs, _, _) in standardized.items()
        for strength in _STRENGTHS
    }
    layer, strength = min(left_out, key=lambda choice: _loss(left_out[choice])[0])
    found = each_auc(left_out[layer, strength])
    gain = found - without
    readout = None
    if gain.mean() > gain.std() / np.sqrt(len(gain)):
        inputs, center, scale = standardized[layer]
        weights, shift = _minimize(inputs, _said(layer, log_odds), strength)
        direction = (weights / scale).astype(np.float32)
        readout = Readout(direction, float(shift - direction @ center), layer)
    return FittedReadout(readout, float(without.mean()), float(found.mean()))


def _said(layer: int | None, log_odds: np.ndarray) -> np.ndarray:
    """What the readout of a layer is added to: the words, which are only said at the top."""
    return log_odds if layer is None else np.zeros_like(log_odds)


def _standardized(states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return states of mean 0 and deviation 1, and the means and deviations that were taken out."""
    center = states.mean(axis=(0, 1))
    scale = np.maximum(states.std(axis=(0, 1)), 1e-6)
    return (states - center) / scale, center, scale


def _left_out(inputs: np.ndarray, log_odds: np.ndarray, strength: float, fold: np.ndarray) -> np.ndarray:
    scores = np.empty_like(log_odds, np.float64)
    for number in range(_FOLDS):
        weights, shift = _minimize(inputs[fold != number], log_odds[fold != number], strength)
        scores[fold == number] = log_odds[fold == number] + inputs[fold == number] @ weights + shift
    return scores


def _minimize(inputs: np.ndarray, log_odds: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """Return weights and shift of the least penalized loss."""
    width = inputs.shape[-1]

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights = parameters[:width]
        loss, slope = _loss(log_odds + inputs @ weights + parameters[width])
        gradient = np.append(np.tensordot(slope, inputs, 2) + 2 * strength * weights, slope.sum())
        return loss + strength * float(weights @ weights), gradient

    found = minimize(objective, np.zeros(width + 1), jac=True, method="L-BFGS-B").x
    return found[:width], float(found[width])


def _loss(scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean comparison loss of scores (examples, candidates), and its gradient."""
    tensor = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    loss = comparison_loss(tensor, 0).mean()
    [slope] = torch.autograd.grad(loss, tensor)
    return loss.item(), slope.numpy()
