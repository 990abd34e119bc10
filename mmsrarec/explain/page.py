"""The HTML form of explanations: a fragment for notebooks, and one self-contained page.

Templates only lay out; what they show is prepared here as plain values. Autoescape is on for every template,
the page forbids scripts and all requests by its content security policy, and pictures travel as data URIs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mmsrarec import __version__
from mmsrarec.errors import InputError
from mmsrarec.explain.pictures import thumbnail
from mmsrarec.explain.wording import (
    also_took,
    bridge_users,
    explain_probability,
    feature_name,
    number,
    plain,
    signed,
)

if TYPE_CHECKING:
    from mmsrarec.explain.explanation import Explanation, KeywordItem

__all__ = ["explanation_view", "page_environment", "render_fragment", "render_page"]

TEMPLATES = Path(__file__).parent / "templates"
_NARROWEST, _WIDEST = 2 / 3, 4 / 3


@lru_cache(maxsize=8)
def page_environment(*folders: Path) -> Environment:
    """Give the Jinja2 environment of the pages: autoescape on, undefined names are errors.

    Parameters
    ----------
    *folders
        Template folders that come before this room's own, so that other pages can extend its shell.

    Returns
    -------
    jinja2.Environment
        With the globals `style` (the style sheet) and `version`.
    """
    environment = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The style sheet is this package's own text, so it is the one thing that is not escaped.
    environment.globals["style"] = Markup((TEMPLATES / "style.css").read_text("utf-8"))
    environment.globals["version"] = __version__
    return environment


def render_fragment(explanation: Explanation) -> str:
    """Write an explanation as an HTML fragment with its own style, as notebooks show it.

    Parameters
    ----------
    explanation
        What to show.

    Returns
    -------
    str
        One ``<div>``; every text in it is escaped.

    Examples
    --------
    >>> from mmsrarec.explain import Explanation, KeywordItem
    >>> fragment = render_fragment(Explanation("u1", (), (), KeywordItem("i2", "<script>"), 0.8, 0.7))
    >>> "<script>" in fragment, "&lt;script&gt;" in fragment
    (False, True)
    """
    return page_environment().get_template("fragment.html.j2").render(view=explanation_view(explanation))


def render_page(explanations: Sequence[Explanation], title: str | None = None) -> str:
    """Write one or more explanations as one self-contained HTML page.

    Parameters
    ----------
    explanations
        What to show, at least one.
    title
        Title of the page; made from the explanation by default.

    Returns
    -------
    str
        The page. It makes no request and runs no script; every text in it is escaped.

    Raises
    ------
    InputError
        If there is nothing to show.

    Examples
    --------
    >>> from mmsrarec.explain import Explanation, KeywordItem
    >>> render_page([Explanation("u1", (), (), KeywordItem("i2", "Scarf"), 0.8, 0.7)])[:15]
    '<!doctype html>'
    """
    if not explanations:
        raise InputError("explanations must hold at least one Explanation, got none.")
    first = explanations[0]
    if title is None:
        one = f"Why {first.candidate.name} for {first.user_name}?"
        title = one if len(explanations) == 1 else f"{len(explanations)} explanations"
    template = page_environment().get_template("page.html.j2")
    return template.render(title=plain(title), views=[explanation_view(each) for each in explanations])


def explanation_view(explanation: Explanation) -> dict[str, Any]:
    """Prepare what the template shows of one explanation."""
    candidate = _item_view(explanation.candidate)
    history = [
        _item_view(item, badge=str(position)) for position, item in enumerate(explanation.history, start=1)
    ]
    neighbours = [
        _item_view(
            near.item,
            badge=_letter(position),
            similarity=near.similarity,
            same=near.item.item_id == explanation.candidate.item_id,
        )
        for position, near in enumerate(explanation.neighbours)
    ]
    probability = explanation.probability
    if probability is not None and not math.isfinite(probability):
        probability = None
    return {
        "user": explanation.user_name,
        "summary": explanation.summary,
        "candidate": candidate,
        "history": history,
        "neighbours": neighbours,
        "style": _shared_style(candidate, history, neighbours),
        "probability": None if probability is None else number(probability, 2),
        "gauge_share": 0 if probability is None else round(100 * min(max(probability, 0.0), 1.0), 1),
        "gauge_label": ""
        if probability is None
        else f"p of yes is {number(probability, 2)} on a scale of 0 to 1",
        "meaning": "" if probability is None else explain_probability(probability),
        "score": number(explanation.score),
        "rank": explanation.rank,
        "evidence": [
            {"keyword": plain(row.keyword, 80), "history": row.history, "neighbours": row.neighbours}
            for row in explanation.evidence
        ],
        "bridge_users": bridge_users(explanation.bridge_users) if explanation.bridge_users else "",
        "shared_items": [
            also_took(shared.users, plain(shared.item.name, limit=90)) for shared in explanation.shared_items
        ],
        "features": _feature_views(explanation),
        "notes": [plain(note, limit=600) for note in explanation.notes],
    }


def _item_view(
    item: KeywordItem, badge: str | None = None, similarity: float | None = None, same: bool = False
) -> dict[str, Any]:
    ordered = sorted(item.keywords, key=lambda keyword: keyword not in item.matched)
    share = 0.0 if similarity is None or math.isnan(similarity) else min(max(similarity, 0.0), 1.0)
    return {
        "name": item.name,
        "short_name": plain(item.name, limit=90),
        "initial": next((character.upper() for character in item.name if character.isalnum()), "?")[:1],
        "keywords": [{"text": plain(keyword, 80), "matched": keyword in item.matched} for keyword in ordered],
        "thumbnail": thumbnail(item.picture),
        "mini": thumbnail(item.picture, longest_side=72) if badge is not None else None,
        "badge": badge,
        "similarity": None if similarity is None else number(similarity, 2),
        "similarity_share": round(100 * share, 1),
        "same": same,
    }


def _letter(position: int) -> str:
    return chr(ord("A") + position) if position < 26 else f"A{position - 25}"


def _shared_style(candidate: dict[str, Any], history: list[dict], neighbours: list[dict]) -> str:
    """Give one explanation's custom properties: the shape of its pictures, and each small picture once."""
    shown = [item["thumbnail"] for item in [candidate, *history, *neighbours] if item["thumbnail"]]
    shape = statistics.median(image.width / image.height for image in shown) if shown else 1.0
    properties = [f"--shape:{min(max(shape, _NARROWEST), _WIDEST):.3f}"]
    for prefix, items in (("h", history), ("n", neighbours)):
        properties += [
            f"--{prefix}{n}:url({item['mini'].uri})" for n, item in enumerate(items) if item["mini"]
        ]
    return ";".join(properties)


def _feature_views(explanation: Explanation) -> list[dict[str, Any]]:
    finite = [abs(value) for value in explanation.features.values() if math.isfinite(value)]
    largest = max(finite, default=0.0)
    views = []
    for name, value in sorted(explanation.features.items(), key=lambda pair: -abs(pair[1])):
        share = min(abs(value) / largest, 1.0) if largest and math.isfinite(value) else 0.0
        views.append(
            {
                "name": feature_name(name),
                "value": signed(value),
                "minus": value < 0,
                "share": round(50 * share, 1),
            }
        )
    return views
