"""Words and numbers as people read them, and text from outside made harmless before it is shown.

Used by the terminal form, the HTML form and the report page, so that all three say the same.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

__all__ = [
    "also_took",
    "bridge_users",
    "display_width",
    "explain_probability",
    "feature_name",
    "join_words",
    "number",
    "percent",
    "plain",
    "shorten",
    "signed",
    "wrap",
]

MINUS = "\u2212"
ELLIPSIS = "\u2026"
REPLACEMENT = "\ufffd"
# Embedding, override and isolate controls can turn the text around them; marks (LRM, RLM) cannot.
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_FEATURE_NAMES = {
    "mllm_logit": "language model: p(yes)",
    "student_logit": "what the language model taught",
    "sequence": "sequence model",
    "keywords": "matching keywords",
    "neighbours": "similar users",
    "item_knn": "taken together",
    "transitions": "taken in a row",
}
_SCIENTIFIC_FROM = 1e9
_SPACES = re.compile(r"\s+")


def plain(text: object, limit: int = 200) -> str:
    r"""Return `text` on one line, without anything that could act on a terminal or on the text around it.

    Parameters
    ----------
    text
        A title, keyword or id from outside; turned into a string.
    limit
        Longest result in characters; longer text ends in an ellipsis.

    Returns
    -------
    str
        White space collapsed, bidirectional controls removed, other control characters and lone surrogates
        replaced by U+FFFD. It can always be encoded as UTF-8. It is **not** HTML-escaped: templates do that.

    Examples
    --------
    >>> plain("two\nlines \x1b[31mred")
    'two lines \ufffd[31mred'
    >>> plain("abcdef", limit=4)
    'abc\u2026'
    """
    cleaned = _BIDI_CONTROLS.sub("", str(text)[: 4 * limit])
    cleaned = _UNPRINTABLE.sub(REPLACEMENT, _SPACES.sub(" ", cleaned)).strip()
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1].rstrip() + ELLIPSIS


def display_width(text: str) -> int:
    """Return the number of terminal columns of `text`: wide characters take two, combining marks none.

    Examples
    --------
    >>> display_width("abc"), display_width("\u5bff\u53f8"), display_width("e\u0301")
    (3, 4, 1)
    """
    width = 0
    for character in text:
        if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
            continue
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return width


def shorten(text: str, width: int) -> str:
    """Cut `text` to `width` terminal columns; a cut text ends in an ellipsis.

    Examples
    --------
    >>> shorten("a long title", 7)
    'a long\u2026'
    """
    if display_width(text) <= width:
        return text
    kept = ""
    for character in text:
        if display_width(kept + character) >= width:
            break
        kept += character
    return kept.rstrip() + ELLIPSIS


def wrap(pieces: Sequence[str], width: int) -> list[str]:
    """Fill lines of at most `width` terminal columns with pieces that stay whole where they can.

    Examples
    --------
    >>> wrap(["red wool,", "blue"], 12)
    ['red wool,', 'blue']
    >>> wrap([], 12)
    ['']
    """
    lines = [""]
    for piece in pieces:
        if display_width(piece) > width:
            piece = shorten(piece, width)
        longer = f"{lines[-1]} {piece}".lstrip()
        if display_width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(piece)
    return lines


def join_words(words: Sequence[str], limit: int = 4) -> str:
    """Join words as a sentence does.

    Examples
    --------
    >>> join_words(["wool"]), join_words(["wool", "blue", "striped"]), join_words(list("abcdef"))
    ('wool', 'wool, blue and striped', 'a, b, c, d and 2 more')
    """
    shown = list(words[:limit])
    if len(words) > limit:
        shown.append(f"{len(words) - limit} more")
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def number(value: float, digits: int = 3) -> str:
    """Format a number to `digits` decimals; what is not finite is named.

    Examples
    --------
    >>> number(0.12345), number(float("nan"))
    ('0.123', 'not a number')
    """
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else f"{MINUS}infinite"
    text = f"{abs(value):.{digits}{'e' if abs(value) >= _SCIENTIFIC_FROM else 'f'}}"
    return MINUS + text if value < 0 and float(text) else text


def signed(value: float, digits: int = 2) -> str:
    """Format a number with its sign.

    Examples
    --------
    >>> signed(0.5), signed(-0.5), signed(0.0)
    ('+0.50', '\u22120.50', '0.00')
    """
    text = number(value, digits)
    return f"+{text}" if value > 0 and math.isfinite(value) and float(text) else text


def percent(value: float) -> str:
    """Format a probability as a percentage that never claims certainty it does not have.

    Examples
    --------
    >>> percent(0.834), percent(0.9999), percent(0.0001), percent(1.0)
    ('83 %', '> 99 %', '< 1 %', '100 %')
    """
    if 0 < value < 0.005:
        return "< 1 %"
    if 0.995 <= value < 1:
        return "> 99 %"
    return f"{value:.0%}".replace("%", " %")


def feature_name(name: str) -> str:
    """Give the name of a feature of the blend as people read it.

    Examples
    --------
    >>> feature_name("mllm_logit"), feature_name("shared_paths")
    ('language model: p(yes)', 'shared paths')
    """
    return _FEATURE_NAMES.get(name) or plain(name.replace("_", " "), limit=60)


def bridge_users(users: int) -> str:
    """Say how many people connect the history with the candidate.

    Examples
    --------
    >>> bridge_users(1), bridge_users(12)
    ('1 user took this and something of the history.', '12 users took this and something of the history.')
    """
    return f"{_users(users)} took this and something of the history."


def also_took(users: int, name: str) -> str:
    """Say how many people an item of the history shares with the candidate.

    Examples
    --------
    >>> also_took(3, "Hat")
    '3 users who also took Hat took this.'
    """
    return f"{_users(users)} who also took {name} took this."


def _users(number: int) -> str:
    return "1 user" if number == 1 else f"{number} users"


def explain_probability(probability: float) -> str:
    """Say in a sentence what the number p means."""
    return (
        f"Asked whether this is the next item, the model gives \u201cyes\u201d {percent(probability)} "
        "of the weight it puts on \u201cyes\u201d and \u201cno\u201d."
    )
