"""How far a probability can be taken at its word: what was said against what came true, in bins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from mmsrarec.errors import InputError

__all__ = ["calibration_error", "reliability"]

_BINS = 10


def reliability(probability: npt.ArrayLike, is_next: npt.ArrayLike) -> pl.DataFrame:
    """Compare probabilities with what came true, in ten bins of equal width.

    Parameters
    ----------
    probability
        Float of any shape, between 0 and 1.
    is_next
        Bool of the same shape.

    Returns
    -------
    polars.DataFrame
        One row a bin that is not empty, in order: ``predicted``, the mean probability; ``observed``, the share that
        came true; ``count``.

    Raises
    ------
    InputError
        If the shapes differ, or a probability is not between 0 and 1.

    Examples
    --------
    >>> reliability([0.04, 0.02, 0.75], [False, False, True]).rows()
    [(0.03, 0.0, 2), (0.75, 1.0, 1)]
    """
    said, true = np.asarray(probability, np.float64), np.asarray(is_next, bool)
    if said.shape != true.shape:
        raise InputError(f"is_next must have the shape of probability, {said.shape}, got {true.shape}.")
    if not ((said >= 0) & (said <= 1)).all():
        raise InputError("probability must be between 0 and 1; give probabilities, not scores.")
    said, true = said.ravel(), true.ravel()
    bins = np.minimum((said * _BINS).astype(int), _BINS - 1)
    count = np.bincount(bins, minlength=_BINS)
    filled = np.flatnonzero(count)
    return pl.DataFrame(
        {
            "predicted": np.bincount(bins, said, _BINS)[filled] / count[filled],
            "observed": np.bincount(bins, true, _BINS)[filled] / count[filled],
            "count": count[filled],
        }
    )


def calibration_error(bins: pl.DataFrame) -> float:
    """Return the expected calibration error: the mean gap between said and true, each bin by its count.

    Guo et al. 2017, "On Calibration of Modern Neural Networks".

    Parameters
    ----------
    bins
        As :func:`reliability` gives them.

    Examples
    --------
    >>> round(calibration_error(reliability([0.04, 0.02, 0.75], [False, False, True])), 4)
    0.1033
    """
    gaps = (bins["predicted"] - bins["observed"]).abs().to_numpy()
    return float(np.average(gaps, weights=bins["count"].to_numpy()))
