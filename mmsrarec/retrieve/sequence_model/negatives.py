"""What the sampled softmax compares a next item with: items drawn for a whole batch, and how often each was expected.

Half of the draws are uniform, half by popularity. The sum over all items that the full softmax divides by is mostly
made of popular items, so they are worth seeing often; each draw is weighed by how unlikely it was, so that the sum is
estimated without bias (importance sampling: Bengio and Senécal, IEEE Transactions on Neural Networks 19(4), 2008). The
next item is always there and stands for itself (Khrylchenko et al., arXiv 2507.09331).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SharedNegatives"]

_BY_POPULARITY = 0.5


@dataclass(frozen=True)
class SharedNegatives:
    """Draws items that somebody took.

    Attributes
    ----------
    items
        int64 (seen,), what is drawn from.
    probability
        float64 (seen,), of each in one draw.

    Examples
    --------
    >>> negatives = SharedNegatives.of(np.array([6, 0, 2]))
    >>> negatives.items.tolist(), negatives.probability.tolist()
    ([0, 2], [0.625, 0.375])
    """

    items: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]

    @classmethod
    def of(cls, counts: npt.NDArray[np.int64]) -> SharedNegatives:
        """Take the items by their events, int64 (items,); those without any are never drawn."""
        items = np.flatnonzero(counts)
        by_popularity = counts[items] / counts.sum()
        return cls(items, (1 - _BY_POPULARITY) / len(items) + _BY_POPULARITY * by_popularity)

    def draw(
        self, count: int, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Draw with replacement.

        Returns
        -------
        items : numpy.ndarray
            int64 (count,).
        log_expected : numpy.ndarray
            float32 (count,), logarithm of how often each was to be expected among them.
        """
        drawn = generator.choice(len(self.items), count, p=self.probability)
        return self.items[drawn], np.log(count * self.probability[drawn]).astype(np.float32)
