"""Whether answers are about their own item: what decides if a prompt has a say in keywords and in learning.

Stands before ``training``. Where a picture tells the model nothing, its answers to the image prompt are as near to any
other item's text as to its own. What is left to learn from their rewards is which list is near to all texts, and the
policy ends with that one list for every item (docs/decisions/0004-summarizer.md has the figures).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.summarize.constraint import KeywordRule
from mmsrarec.summarize.grpo import PolicyPrompt
from mmsrarec.summarize.keywords import parse_answer

__all__ = ["ASKED", "are_about_their_items", "own_less_others"]

ASKED = 64
"""Items whose answers are looked at."""

_STANDARD_ERRORS = 2.0


def own_less_others(
    keywords: Sequence[Sequence[str]], texts: Sequence[str], encoder: SentenceEncoder
) -> np.ndarray:
    """Return how much nearer keywords are to the text of their item than to those of the others.

    Parameters
    ----------
    keywords
        Keywords of each item, two items or more.
    texts
        The text of each item.
    encoder
        The sentence encoder of the information reward.

    Returns
    -------
    numpy.ndarray
        Cosine with the own text less the mean cosine with the other texts, float32 of shape (items,); 0 without
        keywords. One list for all items has a mean of 0.

    Examples
    --------
    >>> class Letters:
    ...     def encode(self, texts):
    ...         return np.array([[letter in text for letter in "ab"] for text in texts], np.float32)
    >>> own_less_others([["a"], ["b"]], ["a", "b"], Letters()).tolist()
    [1.0, 1.0]
    >>> own_less_others([["a"], ["a"]], ["a", "b"], Letters()).tolist()
    [1.0, -1.0]
    """
    near = encoder.encode([", ".join(words) for words in keywords]) @ encoder.encode(list(texts)).T
    own = near.diagonal()
    others = (near.sum(axis=1) - own) / (len(texts) - 1)
    return np.where([bool(words) for words in keywords], own - others, 0.0).astype(np.float32)


def are_about_their_items(
    backbone: Backbone,
    adapter: str | None,
    prompts: Sequence[PolicyPrompt],
    encoder: SentenceEncoder,
    *,
    answer_tokens: int,
    limit: int,
    seed: int,
) -> bool:
    """Whether a policy's likeliest answers are nearer to their own items' texts than to the others', beyond chance.

    Parameters
    ----------
    backbone, adapter
        The model and the adapter it is asked with; ``None`` asks it as it is.
    prompts
        Prompts of one kind; :data:`ASKED` of them are asked.
    encoder
        The sentence encoder of the information reward.
    answer_tokens
        Longest answer.
    limit
        Most keywords of an answer.
    seed
        Of the choice of prompts.

    Returns
    -------
    bool
        Whether the mean of :func:`own_less_others` is above zero by two standard errors; ``False`` for one prompt.
    """
    chosen = [prompts[place] for place in np.random.default_rng(seed).permutation(len(prompts))[:ASKED]]
    if len(chosen) < 2:
        return False
    rule = KeywordRule(backbone.tokenizer, backbone.stop_ids, limit=limit)
    with backbone.adapter(adapter):
        answers = backbone.generate(
            [entry.prompt for entry in chosen],
            max_new_tokens=answer_tokens,
            rule=rule,
            progress="looking at answers about pictures",
        )
    keywords = [parse_answer(answer, limit=limit, cut_short=False).keywords for answer in answers]
    nearer = own_less_others(keywords, [entry.text for entry in chosen], encoder)
    return bool(nearer.mean() > _STANDARD_ERRORS * nearer.std(ddof=1) / np.sqrt(len(nearer)))
