"""From a model's answer to keywords: parsing, normalizing, and merging the two modalities.

Stands between the backbone's generated text and everything that uses keywords: rewards, the keyword
table, the keyword index and the prompts of later stages. Nothing here is learned or random, so the same
answer always gives the same keywords.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

__all__ = [
    "ParsedAnswer",
    "keyword_key",
    "merge_keywords",
    "normalize_keyword",
    "parse_answer",
    "words_in",
]

MAX_WORDS = 4
MAX_CHARACTERS = 48

_SEPARATORS = re.compile(r"[,;|/\t\u2022\u00b7\u060c\u061b\u3001\uff0c\uff1b\uff5c]+")
_LABEL = re.compile(r"^[^,:：]{0,60}\bkey[ -]?(?:words?|phrases?|terms?)\b[^,:：]{0,60}[:：]", re.IGNORECASE)
_ECHO = re.compile(r"key[ -]?(?:word|phrase|term)s?\b", re.IGNORECASE)
_LIST_MARK = re.compile(r"^\s*(?:[-*+\u2013\u2014\u2022\u00b7]+|\(?\d{1,2}[.)])\s+")
# Words that join others and name nothing, but for those that are nouns in a language of many shops (or, is, her, but).
_JOINING = frozenset(
    [
        "a",
        "an",
        "and",
        "by",
        "for",
        "from",
        "of",
        "that",
        "the",
        "their",
        "to",
        "which",
        "who",
        "whose",
        "with",
    ]
)
_EDGE = " \t\"'`.:!?()[]{}<>*_#~=+-\u2013\u2014\u2018\u2019\u201c\u201d\u00ab\u00bb\u3002\u300c\u300d"


@dataclass(frozen=True)
class ParsedAnswer:
    """One answer of the model, as keywords.

    Attributes
    ----------
    keywords
        Distinct, normalized keywords in the order in which they were written.
    written
        How many words the answer wrote, repeats included: the |W| of the length reward, so that what says
        nothing new costs its length. Words and not keywords, or a phrase would be as dear as a word.
    repaired
        Whether the answer was not a plain list of short keywords and the rule of :func:`parse_answer`
        had to make one of it.
    """

    keywords: tuple[str, ...]
    written: int
    repaired: bool


def normalize_keyword(text: str) -> str:
    """Bring one keyword into its stored form: NFKC, lower case, single spaces, no outer punctuation.

    Parameters
    ----------
    text
        A keyword as written, in any language.

    Returns
    -------
    str
        The stored form; empty if nothing but punctuation and control characters was there.

    Examples
    --------
    >>> normalize_keyword("  ＳＣＩ-fi   Movies. ")
    'sci-fi movies'
    >>> normalize_keyword("#冒険")
    '冒険'
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = "".join(" " if unicodedata.category(sign)[0] in "CZ" else sign for sign in text)
    text = " ".join(text.split()).strip(_EDGE)
    # Lower-casing can decompose a sign (U+0130), so the composed form is restored at the end.
    text = unicodedata.normalize("NFKC", text)
    return text if any(sign.isalnum() for sign in text) else ""


def _singular(word: str) -> str:
    if not word.isascii() or not word.isalpha() or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def keyword_key(keyword: str) -> str:
    """Return what two keywords must share to count as the same one.

    Case, Unicode compatibility forms, hyphens and English plurals are folded. The key is compared, never
    shown: a keyword stays as the model wrote it.

    Parameters
    ----------
    keyword
        Any keyword, normalized or not.

    Returns
    -------
    str
        The folded form.

    Examples
    --------
    >>> keyword_key("Space Battles") == keyword_key("space-battle")
    True
    >>> keyword_key("glass"), keyword_key("comedies")
    ('glass', 'comedy')
    """
    words = normalize_keyword(keyword).casefold().replace("-", " ").split()
    return " ".join(_singular(word) for word in words)


def words_in(keywords: Iterable[str]) -> int:
    """Count the words of keywords, as |W| counts them.

    Examples
    --------
    >>> words_in(["red mug", "tea"])
    3
    """
    return sum(len(keyword.split()) for keyword in keywords)


def _distinct(keywords: Iterable[str]) -> tuple[str, ...]:
    by_key: dict[str, str] = {}
    for keyword in keywords:
        by_key.setdefault(keyword_key(keyword), keyword)
    by_key.pop("", None)
    return tuple(by_key.values())


def _trim(keyword: str) -> str:
    words = keyword.split()
    naming = [place for place, word in enumerate(words) if word not in _JOINING]
    trimmed = normalize_keyword(" ".join(words[naming[0] : naming[-1] + 1])) if naming else ""
    return keyword if trimmed in ("", keyword) else _trim(trimmed)


def _shorten(keyword: str) -> str:
    words = keyword.split()[:MAX_WORDS]
    while len(words) > 1 and len(" ".join(words)) > MAX_CHARACTERS:
        words.pop()
    return normalize_keyword(" ".join(words)[:MAX_CHARACTERS])


def _words_of_prose(sentence: str) -> list[str]:
    words = (normalize_keyword(word) for word in sentence.split())
    return [word for word in words if word and word not in ENGLISH_STOP_WORDS]


def _answer_line(answer: str) -> str:
    lines = [_LABEL.sub("", line, count=1) for line in answer.splitlines()]
    lines = [line for line in lines if normalize_keyword(line)]
    if not lines:
        return ""
    if not _LIST_MARK.match(lines[0]):
        return lines[0]
    return ", ".join(line for line in lines if _LIST_MARK.match(line))


def parse_answer(
    answer: str, *, limit: int = 8, cut_short: bool = False, as_written: bool = False
) -> ParsedAnswer:
    """Turn a generated answer into at most `limit` keywords.

    The rule, in this order:

    1. A leading label (``Keywords:``, ``Here are the keywords:``) is dropped. Then only the first line that
       is not empty counts, unless it begins with a list mark (``1.``, ``-``): such lines are one list.
    2. It is split at commas, semicolons, bars, slashes and bullets of any script, list marks are dropped,
       and each part is normalized by :func:`normalize_keyword`.
    3. If generation ran into its limit (`cut_short`), the last part is dropped unless it is the only one:
       it may be half a word.
    4. A part of more than four words or 48 characters is not a keyword. `as_written`, it is left out. Otherwise, if
       the answer is one such part (prose instead of a list), its words without English stop words become the keywords;
       if not, the part keeps its first four words. All count as `repaired`, as does an answer without a keyword.
    5. English words that only join others ("a", "of", "who") are dropped at both ends of a keyword, unless it is
       nothing else.
    6. A part that begins with the word "keyword" repeats the instruction; it is written, but no keyword, and
       counts as `repaired`. Repeats (by :func:`keyword_key`) are dropped, then all beyond `limit`.

    Parameters
    ----------
    answer
        The generated text, special tokens removed.
    limit
        Most keywords to keep, 1 or more.
    cut_short
        Whether generation stopped at its token limit.
    as_written
        Leave out what the rule of generation (:class:`~mmsrarec.summarize.constraint.KeywordRule`) would not have let
        through, as the rewards do: what pays in training must be possible afterwards.

    Returns
    -------
    ParsedAnswer
        The keywords, the number of words written, and whether the answer had to be repaired.

    Examples
    --------
    >>> parse_answer("Keywords: Space battles, robots, Robot, 宇宙")
    ParsedAnswer(keywords=('space battles', 'robots', '宇宙'), written=5, repaired=False)
    >>> parse_answer("a story of, the red mug, who").keywords
    ('story', 'red mug', 'who')
    >>> parse_answer("This is a film about a boy and his dog").keywords
    ('film', 'boy', 'dog')
    >>> parse_answer("red mug, striped ha", cut_short=True).keywords
    ('red mug',)
    """
    line = _answer_line(answer)
    parts = [normalize_keyword(_LIST_MARK.sub("", part)) for part in _SEPARATORS.split(line)]
    parts = [part for part in parts if part]
    if cut_short and len(parts) > 1:
        parts.pop()
    written = words_in(parts)
    too_long = [len(part.split()) > MAX_WORDS or len(part) > MAX_CHARACTERS for part in parts]
    if as_written:
        parts = [part for part, long in zip(parts, too_long, strict=True) if not long]
    elif len(parts) == 1 and too_long[0] and len(parts[0].split()) > MAX_WORDS:
        parts = _words_of_prose(parts[0])
    parts = [_trim(_shorten(part)) for part in parts]
    named = [part for part in parts if not _ECHO.match(part)]
    keywords = _distinct(named)[:limit]
    return ParsedAnswer(keywords, written, any(too_long) or len(named) < len(parts) or not keywords)


def merge_keywords(
    image_keywords: Sequence[str], text_keywords: Sequence[str], *, limit: int = 8
) -> tuple[str, ...]:
    """Merge the keywords of an item's image and text so that neither modality is ignored.

    The two lists take turns, text first, each giving its next keyword that is not there yet; when one is
    used up the other fills the rest. With `limit` 2 or more, an item whose two lists are not the same keeps
    keywords of both.

    Parameters
    ----------
    image_keywords, text_keywords
        Keywords of each modality, best first. Either may be empty.
    limit
        Most keywords to return, 1 or more.

    Returns
    -------
    tuple of str
        Distinct keywords by :func:`keyword_key`, in normalized form.

    Examples
    --------
    >>> merge_keywords(["Striped", "mug"], ["tea", "mugs", "kitchen"], limit=4)
    ('tea', 'striped', 'mugs', 'kitchen')
    """
    text = _distinct(normalize_keyword(keyword) for keyword in text_keywords)
    image = _distinct(normalize_keyword(keyword) for keyword in image_keywords)
    turns = chain.from_iterable(zip_longest(text, image, fillvalue=""))
    return _distinct(turns)[:limit]
