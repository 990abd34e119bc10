"""How well the language model ranks while it is tuned: AUC of p on people it does not learn from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmsrarec.backbone import Backbone
from mmsrarec.data import Histories, sample_negatives
from mmsrarec.retrieve import ContextBuilder
from mmsrarec.tune.tasks import yes_no_prompt

__all__ = ["each_auc", "mean_auc", "ranking_validation"]


def each_auc(scores: np.ndarray) -> np.ndarray:
    """Return each user's share of wrong candidates that the right one is above, ties counted half.

    Parameters
    ----------
    scores
        float (users, candidates); the first candidate of each is the right one.

    Returns
    -------
    numpy.ndarray
        float64 (users,).

    Examples
    --------
    >>> each_auc(np.array([[0.9, 0.1, 0.9], [0.2, 0.3, 0.1]])).tolist()
    [0.75, 0.5]
    """
    right, wrong = scores[:, :1], scores[:, 1:]
    return ((right > wrong) + 0.5 * (right == wrong)).mean(axis=1)


def mean_auc(probabilities: np.ndarray) -> float:
    """Return the mean over users of :func:`each_auc`.

    Examples
    --------
    >>> mean_auc(np.array([[0.9, 0.1, 0.9], [0.2, 0.3, 0.1]]))
    0.625
    """
    return float(each_auc(probabilities).mean())


def ranking_validation(
    backbone: Backbone,
    builder: ContextBuilder,
    histories: Histories,
    *,
    exclude_users: np.ndarray,
    negatives: int = 7,
    seed: int = 0,
) -> Callable[[], float]:
    """Make the question that tuning asks at its checkpoints.

    Parameters
    ----------
    backbone
        The model, with the adapter that is being tuned active when the question is asked.
    builder
        Writes the prompts.
    histories
        Whole histories of the people, of two events or more; the last event of each is the right candidate.
    exclude_users
        Their ids in the knowledge base, −1 for none.
    negatives
        Wrong candidates a person, drawn evenly; fewer in a catalogue that has not as many.
    seed
        Of the draw.

    Returns
    -------
    callable
        Without arguments; returns :func:`mean_auc` of p over these people.
    """
    n_items = len(builder.view)
    count = min(negatives, n_items - max(len(set(history.tolist())) for history in histories))
    drawn = sample_negatives(histories, n=count, n_items=n_items, seed=seed)
    known = histories.without_last()
    candidates = [np.append(history[-1], wrong) for history, wrong in zip(histories, drawn, strict=True)]
    contexts = builder.build(known, exclude_users=exclude_users)
    evidence = builder.evidence(known, candidates, exclude_users=exclude_users)
    prompts = [
        yes_no_prompt(context, builder.view, int(item), paths)
        for context, items, found in zip(contexts, candidates, evidence, strict=True)
        for item, paths in zip(items, found, strict=True)
    ]
    return lambda: mean_auc(backbone.first_token_probability(prompts).reshape(len(histories), -1))
