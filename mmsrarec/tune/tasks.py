"""The kinds of training example: each a pure function of a user's context.

MMSRARec tunes on several tasks so that the model learns the domain and not one template (method of stage 3, in
the spirit of LC-Rec): (a) yes or no on one candidate, (b) choose the next item among a few, (c) write the next
item's keywords, (d) say which item a set of keywords describes. Ranking uses the prompt of (a), in its first wording;
``compare`` asks it of several candidates of one user at once, as ranking does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmsrarec.backbone import Prompt
from mmsrarec.retrieve import ItemView, PathEvidence, UserContext
from mmsrarec.tune.prompts import fill

__all__ = [
    "LETTERS",
    "Example",
    "choose_next",
    "compare",
    "match_keywords",
    "next_keywords",
    "yes_no",
    "yes_no_prompt",
]

LETTERS = "ABCDEFGH"
_NO_PATHS = PathEvidence()


@dataclass(frozen=True)
class Example:
    """One prompt with the answer the model should learn, or several to compare.

    Attributes
    ----------
    kind
        ``"yes_no"``, ``"compare"``, ``"choose_next"``, ``"next_keywords"`` or ``"match_keywords"``.
    prompt
        What the model reads; for ``"compare"`` one prompt a candidate.
    answer
        What it should write; the loss is taken on these tokens only. For ``"compare"`` the position of the prompt
        that deserves a yes.
    """

    kind: str
    prompt: Prompt | tuple[Prompt, ...]
    answer: str | int


def _evidence(context: UserContext, view: ItemView) -> dict[str, str]:
    return {"history": context.history_text(view), "neighbours": context.neighbours_text(view)}


def yes_no_prompt(
    context: UserContext,
    view: ItemView,
    candidate: int,
    paths: PathEvidence = _NO_PATHS,
    *,
    wording: int = 1,
) -> Prompt:
    """Return the prompt that asks whether a candidate is next.

    Everything before the candidate is the same for all candidates of a user, so that its run is shared; what is known
    of this candidate alone stands behind it.

    Parameters
    ----------
    context
        What is known of the user.
    view
        Words and pictures of the catalogue.
    candidate
        Dense item id.
    paths
        Who connects the user with the candidate; nothing by default.
    wording
        Of the template, from 1.

    Returns
    -------
    Prompt
        Keywords of the history and of similar users' next items, then text and picture of the candidate and its paths.
    """
    fields = {
        **_evidence(context, view),
        "picture": view.candidate_picture(candidate),
        "candidate": view.candidate_text(candidate),
        "paths": paths.text(view),
    }
    return fill("yes_no", fields, wording=wording)


def yes_no(
    context: UserContext,
    view: ItemView,
    candidate: int,
    is_next: bool,
    paths: PathEvidence = _NO_PATHS,
    *,
    wording: int = 1,
) -> Example:
    """Return task (a): is this candidate the next item?"""
    prompt = yes_no_prompt(context, view, candidate, paths, wording=wording)
    return Example("yes_no", prompt, "yes" if is_next else "no")


def compare(
    context: UserContext,
    view: ItemView,
    candidates: Sequence[int],
    evidence: Sequence[PathEvidence],
    *,
    wording: int = 1,
) -> Example:
    """Return task (a) for several candidates of one user: which deserves the surest yes?

    Their prompts begin alike, so learning from all of them costs little more than their own words.

    Parameters
    ----------
    context, view
        As in :func:`yes_no_prompt`.
    candidates
        Dense item ids, the next item first, two or more.
    evidence
        Paths to each.
    wording
        Of the template, from 1.
    """
    prompts = [
        yes_no_prompt(context, view, item, paths, wording=wording)
        for item, paths in zip(candidates, evidence, strict=True)
    ]
    return Example("compare", tuple(prompts), 0)


def choose_next(
    context: UserContext, view: ItemView, options: Sequence[int], answer: int, *, wording: int = 1
) -> Example:
    """Return task (b): which of a few items is next?

    Parameters
    ----------
    context, view
        As in :func:`yes_no_prompt`.
    options
        Dense item ids, 2 to 8, in the order they are shown.
    answer
        Position of the right one in `options`.
    wording
        Of the template, from 1.
    """
    fields = {**_evidence(context, view), "options": _lettered(view, options)}
    return Example("choose_next", fill("choose_next", fields, wording=wording), LETTERS[answer])


def next_keywords(context: UserContext, view: ItemView, next_item: int, *, wording: int = 1) -> Example:
    """Return task (c): write the keywords of the next item."""
    prompt = fill("next_keywords", _evidence(context, view), wording=wording)
    return Example("next_keywords", prompt, view.words(next_item))


def match_keywords(view: ItemView, options: Sequence[int], answer: int, *, wording: int = 1) -> Example:
    """Return task (d): which of a few items do these keywords describe?

    The options are shown by title alone, since their keywords would give the answer away.
    """
    titles = "\n".join(
        f"{letter}) {view.contents[item].title or view.contents[item].description[:60]}"
        for letter, item in zip(LETTERS, options, strict=False)
    )
    fields = {"keywords": view.words(options[answer]), "options": titles}
    return Example("match_keywords", fill("match_keywords", fields, wording=wording), LETTERS[answer])


def _lettered(view: ItemView, options: Sequence[int]) -> str:
    return "\n".join(
        f"{letter}) {view.words(item) or view.contents[item].title}"
        for letter, item in zip(LETTERS, options, strict=False)
    )
