"""Prompt templates as files: read, filled, fingerprinted.

A template is text with named fields. A field takes text or a picture, so the same file serves models with and
without an image side. Text put into a field is never parsed again: braces in a title stay braces.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Formatter

from mmsrarec.backbone import Prompt
from mmsrarec.data import Picture
from mmsrarec.storage import fingerprint

__all__ = ["TEMPLATES", "fill", "template_fingerprint", "template_text"]

TEMPLATES = ("yes_no", "choose_next", "next_keywords", "match_keywords")


@cache
def template_text(name: str) -> str:
    """Return the text of a template.

    Parameters
    ----------
    name
        One of :data:`TEMPLATES`.

    Examples
    --------
    >>> "{candidate}" in template_text("yes_no")
    True
    """
    return (files("mmsrarec.tune") / "templates" / f"{name}.txt").read_text("utf-8").strip()


def template_fingerprint() -> str:
    """Return one fingerprint of all templates: a changed wording makes another model."""
    return fingerprint({name: template_text(name) for name in TEMPLATES})


def fill(name: str, fields: Mapping[str, str | Picture | None]) -> Prompt:
    r"""Fill a template.

    Parameters
    ----------
    name
        One of :data:`TEMPLATES`.
    fields
        Value of each field; a picture or ``None`` for a field that may hold one.

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
    for literal, field, _, _ in Formatter().parse(template_text(name)):
        for part in (literal, fields[field] if field else None):
            if part is None or part == "":
                continue
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            else:
                parts.append(part)
    return Prompt(tuple(parts))
