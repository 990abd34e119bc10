"""How sure a mean over users is: bootstrap intervals, and paired tests of two models on the same users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmsrarec.errors import InputError

__all__ = ["PairedTest", "bootstrap_interval", "paired_test"]

Values = npt.NDArray[np.float64]

LEVEL = 0.95
_DRAWS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class PairedTest:
    """Two models compared user by user.

    Attributes
    ----------
    difference
        Mean of first minus second.
    low, high
        95 % bootstrap interval of that mean.
    p_value
        Two-sided, of the hypothesis that neither is better.
    users
        Number of users.
    """

    difference: float
    low: float
    high: float
    p_value: float
    users: int


def bootstrap_interval(
    values: npt.ArrayLike, *, seed: int = 0, resamples: int = 1000
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Percentile bootstrap of the mean over users (Efron 1979), 95 %.

    Parameters
    ----------
    values
        float (users,) or (users, columns). All columns are resampled together, so that columns of different
        models stay paired.
    seed
        Seed of the resampling.
    resamples
        Number of resamples.

    Returns
    -------
    low, high : numpy.ndarray
        float64 () or (columns,).

    Raises
    ------
    InputError
        If there are no users.

    Examples
    --------
    >>> low, high = bootstrap_interval(np.arange(100) % 2)
    >>> bool(0.38 < low < 0.5 < high < 0.62)
    True
    """
    table = np.asarray(values, np.float64)
    users = len(table)
    if not users:
        raise InputError("values must hold one user or more, got none.")
    generator = np.random.default_rng(seed)
    at_once = max(_DRAWS_AT_ONCE // users, 1)
    means = []
    for first in range(0, resamples, at_once):
        rows = min(at_once, resamples - first)
        times = generator.multinomial(users, np.full(users, 1 / users), size=rows)  # (rows, users)
        means.append(times.astype(np.float64) @ table / users)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return low, high


def paired_test(
    first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int = 0, resamples: int = 10_000
) -> PairedTest:
    """Test whether two models differ on the same users, by flipping the signs of their differences.

    Parameters
    ----------
    first, second
        float (users,), a metric of each model, aligned.
    seed
        Seed of the permutations and of the interval.
    resamples
        Number of permutations; the smallest p-value is 1 / (resamples + 1).

    Returns
    -------
    PairedTest
        Difference, interval and p-value.

    Raises
    ------
    InputError
        If the shapes differ or there are no users.

    Examples
    --------
    >>> better = paired_test([1.0] * 30 + [0.0] * 20, [0.0] * 50)
    >>> better.difference, better.p_value < 0.001
    (0.6, True)
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if np.shape(first) != np.shape(second) or difference.ndim != 1:
        raise InputError(
            f"first and second must have one value a user each, got shapes {np.shape(first)} and {np.shape(second)}."
        )
    low, high = bootstrap_interval(difference, seed=seed)
    users = len(difference)
    observed = abs(difference.sum())
    generator = np.random.default_rng(seed)
    at_once = max(_DRAWS_AT_ONCE // users, 1)
    as_large = 0
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        flipped = generator.integers(0, 2, size=(rows, users), dtype=np.int8)
        sums = difference.sum() - 2 * (flipped @ difference)
        # A hair of tolerance: equal sums differ in their last bits with the order of addition.
        as_large += int((np.abs(sums) >= observed * (1 - 1e-12)).sum())
    return PairedTest(
        float(difference.mean()), float(low), float(high), (as_large + 1) / (resamples + 1), users
    )
