"""Fits the readout: what last hidden states say of the next item beyond the words yes and no.

The cheap way to tune, and the last step of the dear one. It needs forward passes alone, its minimum is unique, and
cross-validation says how far the examples at hand can be trusted, not at all included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from mmsrarec.backbone import Backbone, Prompt, Readout
from mmsrarec.backbone.first_token import answer_log_odds
from mmsrarec.backbone.losses import comparison_loss
from mmsrarec.errors import InputError
from mmsrarec.progress import track
from mmsrarec.storage import atomic_path
from mmsrarec.tune.tasks import Example
from mmsrarec.tune.validation import each_auc

__all__ = ["FittedReadout", "compared_states", "fit_readout"]

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
) -> tuple[np.ndarray, np.ndarray]:
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
    states : numpy.ndarray
        float32 (examples, prompts, hidden), last hidden states.
    log_odds : numpy.ndarray
        float32 (examples, prompts), log p(yes) - log p(no).
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in track(range(0, len(examples), _EXAMPLES_A_FILE), "reading what training users chose last"):
        path = workdir / f"states-{start:06d}.npy"
        if not path.exists():
            prompts = [_prompts(example) for example in examples[start : start + _EXAMPLES_A_FILE]]
            states = backbone.hidden_states([prompt for group in prompts for prompt in group])
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, states.reshape(len(prompts), -1, states.shape[-1]), allow_pickle=False)
        parts.append(np.load(path, allow_pickle=False))
    states = np.concatenate(parts)
    with torch.no_grad():
        flat = answer_log_odds(backbone)(
            torch.from_numpy(states.reshape(-1, states.shape[-1])).to(backbone.device)
        )
    return states, flat.cpu().numpy().reshape(states.shape[:2])


def _prompts(example: Example) -> tuple[Prompt, ...]:
    if not isinstance(example.prompt, tuple) or example.answer != 0:
        raise InputError(f'examples must be of kind "compare", the right prompt first, got {example.kind!r}.')
    return example.prompt


def fit_readout(states: np.ndarray, log_odds: np.ndarray) -> FittedReadout:
    r"""Fit a readout by the loss of :func:`mmsrarec.backbone.losses.comparison_loss` with an L2 penalty.

    The strength of the penalty is the one with the lowest loss for examples left out, in five folds; the readout is
    kept if it lifts their AUC by more than the standard error of the gain.

    Parameters
    ----------
    states
        float (examples, candidates, hidden), the right candidate first; each example another user's.
    log_odds
        float (examples, candidates), what the words yes and no say.

    Returns
    -------
    FittedReadout
        Without a readout if there are fewer than 10 examples.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> states = rng.normal(size=(80, 4, 6))
    >>> states[:, 0, 2] += 2.0
    >>> fitted = fit_readout(states, np.zeros((80, 4)))
    >>> int(fitted.readout.direction.argmax()), fitted.auc_without, fitted.auc_with > 0.8
    (2, 0.5, True)
    """
    without = each_auc(log_odds)
    if len(states) < _FEWEST_EXAMPLES:
        return FittedReadout(None, float(without.mean()), float(without.mean()))
    center = states.mean(axis=(0, 1))
    scale = np.maximum(states.std(axis=(0, 1)), 1e-6)
    inputs = (states - center) / scale
    fold = np.arange(len(states)) % _FOLDS
    left_out = [_left_out(inputs, log_odds, strength, fold) for strength in _STRENGTHS]
    best = int(np.argmin([_loss(scores)[0] for scores in left_out]))
    gain = each_auc(left_out[best]) - without
    readout = None
    if gain.mean() > gain.std() / np.sqrt(len(gain)):
        weights, shift = _minimize(inputs, log_odds, _STRENGTHS[best])
        direction = (weights / scale).astype(np.float32)
        readout = Readout(direction, float(shift - direction @ center))
    return FittedReadout(readout, float(without.mean()), float(each_auc(left_out[best]).mean()))


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
