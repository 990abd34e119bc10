"""Words of the command line as ids of the type that a model knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmsrarec.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from mmsrarec.recommender import Recommender

__all__ = ["item_ids", "to_ids", "user_ids"]


def to_ids(option: str, words: Sequence[str], dtype: pl.DataType) -> list[Any]:
    """Convert words to ids.

    Parameters
    ----------
    option
        Name for the error.
    words
        As typed.
    dtype
        Type of the ids of the model.

    Returns
    -------
    list
        ``int`` for whole-number ids, else the words.

    Raises
    ------
    InputError
        If the ids are whole numbers and a word is none.

    Examples
    --------
    >>> import polars as pl
    >>> to_ids("--user", ["17"], pl.Int64()), to_ids("--user", ["17"], pl.String())
    ([17], ['17'])
    """
    if not dtype.is_integer():
        return list(words)
    try:
        return [int(word) for word in words]
    except ValueError:
        wrong = next(word for word in words if not word.lstrip("+-").isdecimal())
        raise InputError(
            f"{option} must be a whole number, as the ids of this model are, got {wrong!r}."
        ) from None


def user_ids(recommender: Recommender, words: Sequence[str]) -> list[Any]:
    """Convert words to user ids of a fitted recommender."""
    return to_ids("--user", words, recommender.parts_.users.ids.dtype)


def item_ids(recommender: Recommender, words: Sequence[str], option: str = "--item") -> list[Any]:
    """Convert words to item ids of a fitted recommender."""
    return to_ids(option, words, recommender.parts_.catalogue.item_ids.dtype)
