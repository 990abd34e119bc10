"""Texts measured and cut in the backbone's own tokens, with the backbone or with its tokenizer alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

__all__ = ["count_tokens", "cut_text", "load_tokenizer", "save_tokenizer"]


def count_tokens(text: str, tokenizer: Any) -> int:
    """Return how many tokens a text takes, without control tokens."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def cut_text(text: str, tokenizer: Any, tokens: int) -> str:
    """Cut a text to at most `tokens` tokens, at the end of a word where there is one.

    Parameters
    ----------
    text
        Any text.
    tokenizer
        A fast tokenizer of transformers.
    tokens
        The budget, 1 or more.

    Returns
    -------
    str
        `text` if it fits, else its beginning.
    """
    # A token is seldom longer than 16 characters; text far beyond the budget is not even tokenized.
    head = text[: 16 * tokens + 64]
    offsets = tokenizer(head, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    if len(offsets) <= tokens:
        return head.rstrip()
    end = offsets[tokens - 1][1]
    if not head[end : end + 1].isspace():
        word_end = max(head.rfind(" ", 0, end), head.rfind("\n", 0, end))
        end = word_end if word_end > 0 else end
    return head[:end].rstrip()


def save_tokenizer(tokenizer: Any, path: str | Path) -> None:
    """Write all of a fast tokenizer that counting and cutting need as one JSON file."""
    tokenizer.backend_tokenizer.save(str(path))


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """Read what :func:`save_tokenizer` wrote; it counts and cuts as the one that was saved does.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from mmsrarec.testing import tiny_llama
    >>> _, tokenizer = tiny_llama()
    >>> with TemporaryDirectory() as folder:
    ...     save_tokenizer(tokenizer, f"{folder}/tokenizer.json")
    ...     again = load_tokenizer(f"{folder}/tokenizer.json")
    >>> count_tokens("a red lamp", again) == count_tokens("a red lamp", tokenizer)
    True
    """
    return PreTrainedTokenizerFast(tokenizer_file=str(path))
