"""BlendRanker: a logistic model over the language model's logit and plain signals, fitted on validation users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.rank.features import FEATURES
from mmsrarec.storage import read_json, write_json

__all__ = ["BlendRanker"]


class BlendRanker:
    """Logistic regression on standardized features.

    It is fitted on users outside the training of its inputs, so that a signal is trusted as far as it holds for
    people it has not seen.

    Attributes
    ----------
    mean_, scale_
        float64 (features,), mean and standard deviation on the fitting data.
    coefficient_
        float64 (features,), weight of each standardized feature.
    intercept_
        float.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> matrix = rng.normal(size=(200, len(FEATURES)))
    >>> blend = BlendRanker().fit(matrix, matrix[:, 1] > 0)
    >>> bool(blend.coefficient_[1] > abs(blend.coefficient_[0]))
    True
    """

    def fit(self, matrix: np.ndarray, is_next: np.ndarray) -> BlendRanker:
        """Fit the blend.

        Parameters
        ----------
        matrix
            float (rows, features), columns as in :data:`mmsrarec.rank.FEATURES`.
        is_next
            bool (rows,), whether the candidate was the user's next item.

        Returns
        -------
        BlendRanker
            Itself.

        Raises
        ------
        InputError
            If `is_next` holds one class only.
        """
        is_next = np.asarray(is_next, bool)
        if is_next.all() or not is_next.any():
            raise InputError(
                "is_next must hold positives and negatives; give validation users with at least two events."
            )
        self.mean_ = matrix.mean(axis=0)
        deviation = matrix.std(axis=0)
        # A constant feature says nothing; scale 1 keeps its standardized value at zero.
        self.scale_ = np.where(deviation > 1e-12, deviation, 1.0)
        model = LogisticRegression(C=1.0, max_iter=1000).fit((matrix - self.mean_) / self.scale_, is_next)
        self.coefficient_ = model.coef_[0]
        self.intercept_ = float(model.intercept_[0])
        return self

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each feature adds to the log-odds, float64 (rows, features)."""
        return (matrix - self.mean_) / self.scale_ * self.coefficient_

    def score(self, matrix: np.ndarray) -> np.ndarray:
        """Return the log-odds that a candidate is next, float64 (rows,); higher ranks first."""
        return self.contributions(matrix).sum(axis=1) + self.intercept_

    def probability(self, matrix: np.ndarray) -> np.ndarray:
        """Return the blended probability among the fitting protocol's candidates, float64 (rows,)."""
        return 1 / (1 + np.exp(-self.score(matrix)))

    def save(self, folder: str | Path) -> None:
        """Write ``blend.json`` into `folder`."""
        write_json(
            Path(folder) / "blend.json",
            {
                "features": list(FEATURES),
                "mean": self.mean_.tolist(),
                "scale": self.scale_.tolist(),
                "coefficient": self.coefficient_.tolist(),
                "intercept": self.intercept_,
            },
        )

    @classmethod
    def load(cls, folder: str | Path) -> BlendRanker:
        """Read what :meth:`save` wrote.

        Raises
        ------
        StoredFileError
            If the file is missing or was fitted on other features.
        """
        path = Path(folder) / "blend.json"
        content = read_json(path)
        if _features(content) != FEATURES:
            raise StoredFileError(
                f"{path} was fitted on features {_features(content)}, this version uses {FEATURES}; fit again."
            )
        blend = cls()
        blend.mean_ = np.array(content["mean"])
        blend.scale_ = np.array(content["scale"])
        blend.coefficient_ = np.array(content["coefficient"])
        blend.intercept_ = float(content["intercept"])
        return blend


def _features(content: object) -> Sequence[str]:
    return tuple(content.get("features", ())) if isinstance(content, dict) else ()
