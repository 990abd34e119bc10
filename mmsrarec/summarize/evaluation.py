"""How good keywords are, and whether they cheat: rewards and the signs of reward hacking, as means over items.

Stands beside the summarizer; what GRPO gained is the difference of two of these rows on items it never saw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from mmsrarec.data import ItemContent
from mmsrarec.summarize.admission import own_less_others
from mmsrarec.summarize.answers import ItemAnswers
from mmsrarec.summarize.keywords import ParsedAnswer, keyword_key, words_in
from mmsrarec.summarize.rewards import KeywordScorer, rewarded_text
from mmsrarec.summarize.targets import phrases

__all__ = ["copies_title", "measure", "measure_items"]


def copies_title(keywords: Sequence[str], title: str) -> bool:
    """Whether keywords do little more than repeat the title.

    Parameters
    ----------
    keywords
        Keywords of an item.
    title
        Its title.

    Returns
    -------
    bool
        ``True`` if more than half of the keywords hold no word that is not in the title.

    Examples
    --------
    >>> copies_title(["toy", "toy story"], "Toy Story (1995)")
    True
    >>> copies_title(["toy", "cowboy", "friendship"], "Toy Story (1995)")
    False
    """
    words = {word for phrase in phrases(title) for word in keyword_key(phrase).split()}
    copied = [set(keyword_key(keyword).split()) <= words for keyword in keywords]
    return bool(copied) and sum(copied) * 2 > len(copied)


def measure(
    answers: Sequence[ParsedAnswer], contents: Sequence[ItemContent], scorer: KeywordScorer
) -> dict[str, float]:
    """Return the mean rewards of answers, and the signs of reward hacking.

    Parameters
    ----------
    answers
        One answer an item, 1 or more.
    contents
        The items.
    scorer
        Computes the rewards.

    Returns
    -------
    dict
        ``items``; means ``information``, ``reconstruction``, ``length``, ``total``, and ``own_less_others``, how much
        nearer keywords are to their own item's text than to the others' (NaN for one item); and shares:
        ``repaired`` answers; ``copied_title`` (see :func:`copies_title`); ``repeats``, of all written words those
        that are in no keyword, since they repeat another or only join; ``most_common_list``, of all items those whose
        keywords hold the most frequent set of words; and ``most_common_keyword``, of all items those that hold the most
        frequent keyword.
    """
    keywords = [answer.keywords for answer in answers]
    texts = [rewarded_text(content) for content in contents]
    reward = scorer.score(keywords, [answer.written for answer in answers], texts)
    nearer = own_less_others(keywords, texts, scorer.encoder) if len(answers) > 1 else np.array([np.nan])
    means = {
        name: float(getattr(reward, name).double().mean())
        for name in ("information", "reconstruction", "length", "total")
    }
    written = sum(answer.written for answer in answers)
    keys = [frozenset(map(keyword_key, answer.keywords)) for answer in answers]
    single = Counter(key for of_item in keys for key in of_item)
    # By words: "action, thriller" and "action thriller, thriller" are one list, however it is cut.
    lists = Counter(frozenset(word for key in of_item for word in key.split()) for of_item in keys)
    copied = [
        copies_title(answer.keywords, content.title)
        for answer, content in zip(answers, contents, strict=True)
    ]
    kept = sum(words_in(answer.keywords) for answer in answers)
    return {
        "items": float(len(answers)),
        **means,
        "own_less_others": float(nearer.mean()),
        "repaired": float(np.mean([answer.repaired for answer in answers])),
        "copied_title": float(np.mean(copied)),
        "repeats": (written - kept) / written if written else 0.0,
        "most_common_list": max(lists.values()) / len(answers),
        "most_common_keyword": max(single.values(), default=0) / len(answers),
    }


def measure_items(
    items: Sequence[ItemAnswers],
    scorer: KeywordScorer,
    *,
    merge: Callable[[Sequence[ItemAnswers]], Sequence[tuple[str, ...]]],
) -> list[dict[str, float | str]]:
    """Measure the answers to each prompt, and the keywords they merge into.

    Parameters
    ----------
    items
        Answers of 1 or more items.
    scorer
        Computes the rewards.
    merge
        From answers to the keywords of each item.

    Returns
    -------
    list of dict
        What :func:`measure` returns for each ``prompt``: ``"text"``, ``"image"`` (where there is any), ``"merged"``.
    """
    by_prompt: dict[str, list[tuple[ParsedAnswer, ItemContent]]] = {"text": [], "image": [], "merged": []}
    for item, merged in zip(items, merge(items), strict=True):
        if item.text is not None:
            by_prompt["text"].append((item.text, item.content))
        if item.image is not None:
            by_prompt["image"].append((item.image, item.content))
        repaired = any(answer.repaired for answer in item.answers)
        by_prompt["merged"].append((ParsedAnswer(merged, words_in(merged), repaired), item.content))
    return [
        {
            "prompt": prompt,
            **measure([answer for answer, _ in pairs], [content for _, content in pairs], scorer),
        }
        for prompt, pairs in by_prompt.items()
        if pairs
    ]
