"""Answers that cannot be anything but a list of keywords: the rule that generation keeps token by token.

Stands between the backbone's generation and ``keywords``, whose limits it shares: what this rule lets through,
:func:`~mmsrarec.summarize.keywords.parse_answer` reads without having to repair it. In short::

    answer  = keyword ("," keyword)*          at most `limit` keywords
    keyword = word (" " word)*                at most 4 words, 48 characters
    word    = letters, marks and digits of any script, with ' ’ & + - behind the first

Each token of the vocabulary belongs to a class by its text, read once; a step then costs one look-up an answer.
"""

from __future__ import annotations

import codecs
import re
import sys
import unicodedata
from functools import lru_cache
from typing import Any

import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

from mmsrarec.summarize.keywords import MAX_CHARACTERS, MAX_WORDS, keyword_key, normalize_keyword

__all__ = ["KeywordRule"]

_INNER = "'’&+-"
_SEPARATORS = ",;、，；،؛"
_JOINERS = "\u200c\u200d"  # stand within words of Persian and Indic scripts
_PART = "\ufffd"  # what a tokenizer writes for a token that holds only part of a character
_LONGEST_TOKEN = 16
# A token by the kinds of its characters: w of a word, p part of a character, i inner sign, s space, c separator.
_CLASSES = {
    "first": re.compile(r"[wp][wpi]*"),
    "spaced first": re.compile(r"s[wp][wpi]*"),
    "spaced sign": re.compile(r"si+"),
    "sign": re.compile(r"i[wpi]*"),
    "space": re.compile(r"s"),
    "separator": re.compile(r"c"),
}
_ANCHOR = "a"


class KeywordRule:
    """The rule for one vocabulary; an :class:`~mmsrarec.backbone.constraint.AnswerRule`.

    An answer also ends where a keyword comes for the second time: a small model that repeats itself has nothing more to
    say, and would go on until its budget is spent.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers.
    stop_ids
        Tokens that end an answer.
    limit
        Most keywords of an answer, 1 or more.

    Examples
    --------
    >>> from mmsrarec.testing.tiny_models import tiny_tokenizer
    >>> tokenizer = tiny_tokenizer()
    >>> state = KeywordRule(tokenizer, [tokenizer.eos_token_id], limit=2).start()
    >>> bool(state.allowed[tokenizer.eos_token_id])
    False
    >>> for token in tokenizer.encode("red lamp"):
    ...     state.push(token)
    >>> bool(state.allowed[tokenizer.eos_token_id])
    True
    """

    VERSION = 3
    """Part of a summarizer's fingerprint: another rule, or another reading of answers, gives other keywords."""

    def __init__(self, tokenizer: Any, stop_ids: list[int], *, limit: int) -> None:
        self.limit = limit
        self.decode = tokenizer.decode
        texts = _token_texts(tokenizer)
        control = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
        self.parts = {
            token: _bytes_of(tokenizer.convert_ids_to_tokens(token))
            for token, text in enumerate(texts)
            if _PART in text and token not in control
        }
        self.sizes = [len(_folded(text)) for text in texts]
        self.kinds: list[str | None] = []
        for token, text in enumerate(texts):
            usable = token not in control and (token not in self.parts or self.spells(b"", token))
            self.kinds.append(_class_of(text) if usable else None)
        self._by_class = {name: torch.tensor([kind == name for kind in self.kinds]) for name in _CLASSES}
        self._by_class["stop"] = torch.zeros(len(texts), dtype=torch.bool)
        self._by_class["stop"][stop_ids] = True
        self._unions: dict[tuple[str, ...], torch.Tensor] = {}
        self._continuing: dict[tuple[bytes, bool], torch.Tensor] = {}

    def start(self) -> _ListState:
        """Return the state of an answer of which nothing is written."""
        return _ListState(self)

    def union(self, classes: tuple[str, ...]) -> torch.Tensor:
        """Tokens of any of these classes, bool (vocabulary,); made once and shared, so not to be written to."""
        if classes not in self._unions:
            self._unions[classes] = torch.stack([self._by_class[name] for name in classes]).any(dim=0)
        return self._unions[classes]

    def continuing(self, begun: bytes, *, separates: bool) -> torch.Tensor:
        """Tokens that go on with a character of which some bytes are written, bool (vocabulary,); shared."""
        if (begun, separates) not in self._continuing:
            goes_on = torch.zeros(len(self.kinds), dtype=torch.bool)
            goes_on[[token for token in self.parts if self.spells(begun, token, separates=separates)]] = True
            self._continuing[begun, separates] = goes_on
        return self._continuing[begun, separates]

    def spells(self, begun: bytes, token: int, *, separates: bool = False) -> bool:
        """Whether bytes and a token make characters of a word, or where it `separates`, a separator."""
        try:
            whole, rest = self.read(begun, token)
        except UnicodeDecodeError:
            return False
        if separates and whole in _SEPARATORS and whole:
            return not rest
        if not begun:
            whole = whole.removeprefix(
                " "
            )  # many vocabularies have a space and the first bytes of a letter in one token
        return all(_sign_of(character) in "wi" for character in whole) and rest in _beginnings()

    def read(self, begun: bytes, token: int) -> tuple[str, bytes]:
        """Return the characters that bytes and a token make, and the bytes of an unfinished one behind them."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        return decoder.decode(begun + self.parts[token]), decoder.getstate()[0]


class _ListState:
    """Where in a list of keywords one answer is."""

    def __init__(self, rule: KeywordRule) -> None:
        self.finished = False
        self._rule = rule
        self._keyword: list[int] = []  # tokens of the keyword being written
        self._words = self._characters = 0
        self._after_space = self._spelled = False
        self._begun = b""  # bytes of a character that is not whole yet
        self._keys: list[str] = []  # of the keywords that are whole

    @property
    def allowed(self) -> torch.Tensor:
        """Tokens that may come next, bool (vocabulary,)."""
        if self._begun:
            return self._rule.continuing(self._begun, separates=self._spelled and self._goes_on)
        return self._rule.union(self._classes())

    @property
    def _goes_on(self) -> bool:
        return len(self._keys) + 1 < self._rule.limit

    def _classes(self) -> tuple[str, ...]:
        if self._after_space:
            return ("first",)
        if not self._spelled and self._words:
            return ("first",)
        if not self._words:
            # A list of which something is written goes on with a space in most languages.
            return ("first", "spaced first", "space") if self._keys else ("first", "spaced first")
        open_classes: tuple[str, ...] = ("stop",)
        if self._characters + _LONGEST_TOKEN <= MAX_CHARACTERS:
            open_classes += ("first", "sign")
            if self._words < MAX_WORDS:
                open_classes += ("spaced first", "spaced sign", "space")
        if self._goes_on:
            open_classes += ("separator",)
        return open_classes

    def push(self, token: int) -> None:
        """Take note of the token that was written."""
        kind = self._rule.kinds[token]
        spelled = ""
        if token in self._rule.parts:
            spelled, self._begun = self._rule.read(self._begun, token)
        if kind == "separator" or (spelled and spelled in _SEPARATORS):
            self._separate()
            return
        starts_word = kind in ("spaced first", "spaced sign") or not self._words or self._after_space
        self._keyword.append(token)
        self._characters += self._rule.sizes[token]
        if spelled and not self._begun:
            # Only now it is known which character it was: one that folds to several, or a mark, no keyword alone.
            keyword = self._rule.decode(self._keyword)
            self._characters = len(_folded(keyword))
            self._spelled = bool(normalize_keyword(keyword))
        elif kind != "space" and not self._begun:
            self._spelled = True
        self._after_space = kind == "space"
        self._words += int(starts_word and not self._after_space)

    def _separate(self) -> None:
        # Bytes of a separator that was spelled are still there, and decode to nothing.
        key = keyword_key(self._rule.decode(self._keyword).rstrip(_PART))
        self.finished = key in self._keys
        self._keys.append(key)
        self._keyword, self._words, self._characters = [], 0, 0
        self._after_space = self._spelled = False


def _token_texts(tokenizer: Any) -> list[str]:
    """Return what each token adds to a text; alone, some tokenizers drop its leading space."""
    anchor = tokenizer(_ANCHOR, add_special_tokens=False)["input_ids"]
    before = len(tokenizer.decode(anchor))
    texts = tokenizer.batch_decode([[*anchor, token] for token in range(len(tokenizer))])
    return [text[before:] for text in texts]


def _bytes_of(token: str) -> bytes:
    """Return the bytes of a token that is part of a character, from a byte-level or byte-fallback vocabulary."""
    named = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token)
    if named:
        return bytes([int(named[1], 16)])
    values = {sign: value for value, sign in bytes_to_unicode().items()}
    return bytes(values.get(sign, 0xFF) for sign in token)


def _class_of(text: str) -> str | None:
    if len(_folded(text)) > _LONGEST_TOKEN:
        return None
    signs = "".join(map(_sign_of, text))
    return next((name for name, pattern in _CLASSES.items() if pattern.fullmatch(signs)), None)


def _sign_of(character: str) -> str:
    if character == " ":
        return "s"
    if character in _SEPARATORS:
        return "c"
    if character in _INNER:
        return "i"
    if character == _PART:
        return "p"
    folded = _folded(character)
    # By what it is folded to: "½" becomes "1⁄2", which is no word.
    return "w" if all(unicodedata.category(one)[0] in "LMN" or one in _JOINERS for one in folded) else "o"


@lru_cache(maxsize=1)
def _beginnings() -> frozenset[bytes]:
    """Return every part of a character that can still become one of a word, and no part at all."""
    # The category first: folding all of Unicode takes a second.
    letters = (
        chr(point)
        for point in range(0x80, sys.maxunicode + 1)
        if unicodedata.category(chr(point))[0] in "LMN"
    )
    words = (character for character in (*letters, *_JOINERS, *_INNER) if _sign_of(character) in "wi")
    return frozenset(code[:length] for code in map(str.encode, words) for length in range(len(code)))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
