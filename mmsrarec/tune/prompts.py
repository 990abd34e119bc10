"""Prompt templates as files: read, filled, fingerprinted.

A template is text with named fields, and each kind of task has several wordings of it, ``templates/KIND.NUMBER.txt``.
A field takes text or a picture, so the same file serves models with and without an image side. Text put into a field is
never parsed again: braces in a title stay braces.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Formatter

from mmsrarec.backbone import Prompt
from mmsrarec.data import Picture
from mmsrarec.errors import InputError
from mmsrarec.storage import fingerprint

__all__ = ["TEMPLATES", "WORDINGS", "fill", "template_fingerprint", "template_text"]

TEMPLATES = ("yes_no", "choose_next", "next_keywords", "match_keywords")
"""The kinds of task."""

WORDINGS = 3
"""Wordings of each kind, numbered from 1. Ranking asks the first one of ``yes_no``."""


@cache
def template_text(name: str, wording: int = 1) -> str:
    """Return the text of a template.

    Parameters
    ----------
    name
        One of :data:`TEMPLATES`.
    wording
        From 1 to :data:`WORDINGS`.

    Raises
    ------
    InputError
        If there is no such template.

    Examples
    --------
    >>> "{candidate}" in template_text("yes_no")
    True
    """
    if name not in TEMPLATES or not 1 <= wording <= WORDINGS:
        raise InputError(
            f"a template is one of {list(TEMPLATES)} in a wording from 1 to {WORDINGS}, got {name!r}, {wording!r}."
        )
    return (files("mmsrarec.tune") / "templates" / f"{name}.{wording}.txt").read_text("utf-8").strip()


def template_fingerprint() -> str:
    """Return one fingerprint of all templates: a changed wording makes another model."""
    return fingerprint([[template_text(name, 1 + place) for place in range(WORDINGS)] for name in TEMPLATES])


def fill(name: str, fields: Mapping[str, str | Picture | None], *, wording: int = 1) -> Prompt:
    r"""Fill a template.

    Parameters
    ----------
    name
        One of :data:`TEMPLATES`.
    fields
        Value of each field; a picture or ``None`` for a field that may hold one.
    wording
        From 1 to :data:`WORDINGS`.

    Returns
    -------
    Prompt
        Text and pictures in the order of the template.

    Raises
    ------
    KeyError
        If a field of the template is missing in `fields`.

    Examples
    --------
    >>> fill("match_keywords", {"keywords": "blue, mug", "options": "A) Mug"}).content[0][:52]
    'Which item do these keywords describe: blue, mug?\nA)'
    """
    parts: list[str | Picture] = []
    for literal, field, _, _ in Formatter().parse(template_text(name, wording)):
        for part in (literal, fields[field] if field else None):
            if part is None or part == "":
                continue
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            else:
                parts.append(part)
    return Prompt(tuple(parts))
