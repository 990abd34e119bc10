"""The parameters of ``SequenceModel`` and what each of them may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsrarec.errors import InputError

__all__ = ["NETWORK_PARAMETERS", "PARAMETERS", "check_parameters"]

NETWORK_PARAMETERS = ("kind", "dimension", "layers", "heads", "max_length", "dropout")
"""What the network is built from."""

PARAMETERS = (
    *NETWORK_PARAMETERS,
    "negatives",
    "id_dropout",
    "epochs",
    "patience",
    "batch_events",
    "learning_rate",
    "device",
    "seed",
)

_LEAST = {
    "dimension": 1,
    "layers": 1,
    "heads": 1,
    "max_length": 1,
    "epochs": 1,
    "patience": 1,
    "batch_events": 1,
    "seed": 0,
}


def check_parameters(given: dict[str, Any]) -> None:
    """Refuse values out of range.

    Parameters
    ----------
    given
        A value for each of :data:`PARAMETERS`.

    Raises
    ------
    InputError
        Naming the parameter, the value got and what is allowed.
    """
    if given["kind"] not in ("sasrec", "gru4rec"):
        raise InputError(f"kind must be 'sasrec' or 'gru4rec', got {given['kind']!r}.")
    for name, least in _LEAST.items():
        if not _is_whole(given[name], least):
            raise InputError(f"{name} must be a whole number of {least} or more, got {given[name]!r}.")
    if given["dimension"] % given["heads"]:
        raise InputError(
            f"dimension must be a multiple of heads, got {given['dimension']} with heads={given['heads']}."
        )
    for name in ("dropout", "id_dropout"):
        if not 0 <= given[name] < 1:
            raise InputError(f"{name} must be 0 or more and below 1, got {given[name]!r}.")
    if not given["learning_rate"] > 0:
        raise InputError(f"learning_rate must be above 0, got {given['learning_rate']!r}.")
    negatives = given["negatives"]
    if negatives not in ("auto", None) and not _is_whole(negatives, 1):
        raise InputError(f"negatives must be 'auto', None or a whole number of 1 or more, got {negatives!r}.")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)
