"""The prompts of the summarizer: one for the picture, one for the text, one to write the text back.

Stands between item contents and the backbone. The wording lies in text files under ``templates/``, whose
version is part of their name and whose content is part of the summarizer's fingerprint. The instruction
comes first and the item last, so that all items share the tokens before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from mmsrarec.backbone import Prompt, cut_text
from mmsrarec.data import ItemContent
from mmsrarec.storage import fingerprint

__all__ = [
    "TEMPLATES",
    "image_prompt",
    "read_template",
    "reconstruction_prompt",
    "template_fingerprint",
    "text_prompt",
]

TEMPLATES = {"image": 1, "text": 1, "reconstruct": 1}


@cache
def read_template(name: str) -> str:
    """Return the wording of a template at the version in use.

    Parameters
    ----------
    name
        One of the keys of :data:`TEMPLATES`.

    Examples
    --------
    >>> "{keywords}" in read_template("reconstruct")
    True
    """
    file = files("mmsrarec.summarize") / "templates" / f"{name}.v{TEMPLATES[name]}.txt"
    return file.read_text("utf-8").strip()


def template_fingerprint() -> str:
    """Return a hash of all wordings: another wording makes another summarizer."""
    return fingerprint({f"{name}.v{version}": read_template(name) for name, version in TEMPLATES.items()})


def image_prompt(content: ItemContent) -> Prompt | None:
    """Return the prompt that asks what the item's picture shows; ``None`` without a picture."""
    if content.picture is None:
        return None
    before, after = read_template("image").split("{image}")
    parts = (before, content.picture, after)
    return Prompt(tuple(part for part in parts if part != ""))


def text_prompt(content: ItemContent, tokenizer: Any, tokens: int) -> Prompt | None:
    """Return the prompt that asks what the item's text says; ``None`` without a text.

    Categories come before the description, so that a long description does not cut them off.

    Parameters
    ----------
    content
        The item.
    tokenizer
        The backbone's tokenizer.
    tokens
        Budget of the item's text; the instruction is not counted.
    """
    listed = f"{', '.join(content.categories)}." if content.categories else ""
    title = content.title.strip()
    title = title if not title or title.endswith((".", "!", "?")) else f"{title}."
    text = " ".join(part for part in (title, listed, content.description.strip()) if part)
    if not text:
        return None
    filled = read_template("text").replace("{text}", cut_text(text, tokenizer, tokens))
    return Prompt((filled,))


def reconstruction_prompt(keywords: Sequence[str]) -> Prompt:
    """Return the prompt after which the item's text is scored by the reconstruction reward.

    Parameters
    ----------
    keywords
        Keywords of the item; none at all is allowed and leaves the list empty.

    Examples
    --------
    >>> reconstruction_prompt(["tea", "mug"]).content[0][-8:]
    'tea, mug'
    """
    return Prompt((read_template("reconstruct").replace("{keywords}", ", ".join(keywords)),))
