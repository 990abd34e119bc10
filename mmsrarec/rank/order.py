"""What puts candidates in order: a linear model for few users, boosted trees for many; both learn from comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import lightgbm
import numpy as np
from sklearn.linear_model import LogisticRegression

__all__ = ["ORDERS", "LinearOrder", "Order", "TreeOrder"]

Groups = Sequence[np.ndarray]
"""One float (rows, columns) matrix a question; row 0 is the answer, the others are not."""

_ROUNDS = 200
_TREES = {
    "objective": "lambdarank",
    "lambdarank_truncation_level": 20,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 0,
    "verbose": -1,
}


class Order(Protocol):
    """Learns scores that put row 0 of each group first."""

    def fit(self, groups: Groups) -> Order:
        """Learn from groups of two rows or more."""

    def scores(self, matrix: np.ndarray) -> np.ndarray:
        """Return float64 (rows,), higher first."""

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each column adds to the score, float64 (rows, columns); the rest is the same for all rows."""

    def state(self) -> dict[str, Any]:
        """Return what :meth:`from_state` reads, as JSON has it."""

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Order:
        """Make one again."""


class LinearOrder:
    """Logistic regression on differences: P(answer before rival) = σ(w · (answer − rival)).

    Examples
    --------
    >>> groups = [np.array([[1.0, 0.0], [0.0, 0.5]]), np.array([[2.0, 1.0], [0.5, 1.0]])] * 20
    >>> scores = LinearOrder().fit(groups).scores(groups[0])
    >>> bool(scores[0] > scores[1])
    True
    """

    def fit(self, groups: Groups) -> LinearOrder:
        """Learn from groups of two rows or more."""
        # Group by group, in float64: all rows at once would be a copy of what is the largest thing of a fit.
        count = sum(map(len, groups))
        self.mean_ = sum(group.sum(axis=0, dtype=np.float64) for group in groups) / count
        deviation = np.sqrt(sum(((group - self.mean_) ** 2).sum(axis=0) for group in groups) / count)
        # A constant column says nothing; scale 1 keeps its standardized value at zero.
        self.scale_ = np.where(deviation > 1e-12, deviation, 1.0)
        differences = np.concatenate([group[:1] - group[1:] for group in groups])
        # A group counts once, however many rivals it has.
        weight = np.concatenate([np.full(len(group) - 1, 2 / (len(group) - 1)) for group in groups])
        if len(differences) == 1:
            differences, weight = np.repeat(differences, 2, axis=0), np.repeat(weight / 2, 2)
        # Turned round with its label, a difference costs the same: every second one is, so that there are two classes.
        differences /= self.scale_
        differences[1::2] *= -1
        answer_first = np.arange(len(differences)) % 2 == 0
        model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000)
        model.fit(differences, answer_first, sample_weight=weight)
        self.coefficient_ = model.coef_[0].astype(np.float64)
        return self

    def scores(self, matrix: np.ndarray) -> np.ndarray:
        """Return float64 (rows,), higher first."""
        return self.contributions(matrix).sum(axis=1)

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each column adds to the score, float64 (rows, columns)."""
        return (matrix - self.mean_) / self.scale_ * self.coefficient_

    def state(self) -> dict[str, Any]:
        """Return what :meth:`from_state` reads."""
        return {
            "mean": self.mean_.tolist(),
            "scale": self.scale_.tolist(),
            "coefficient": self.coefficient_.tolist(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> LinearOrder:
        """Make one again."""
        order = cls()
        order.mean_, order.scale_ = np.array(state["mean"]), np.array(state["scale"])
        order.coefficient_ = np.array(state["coefficient"])
        return order


class TreeOrder:
    """LightGBM's LambdaMART (Burges 2010): boosted trees whose gradients are the changes of NDCG."""

    def fit(self, groups: Groups) -> TreeOrder:
        """Learn from groups of two rows or more."""
        rows = np.concatenate(groups)
        answers = np.concatenate([np.arange(len(group)) == 0 for group in groups]).astype(np.int32)
        data = lightgbm.Dataset(rows, answers, group=[len(group) for group in groups]).construct()
        # It has its own now, a byte a value.
        del rows
        self.booster_ = lightgbm.train(_TREES, data, _ROUNDS)
        return self

    def scores(self, matrix: np.ndarray) -> np.ndarray:
        """Return float64 (rows,), higher first."""
        return np.asarray(self.booster_.predict(matrix)) if len(matrix) else np.zeros(0)

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each column adds to the score (TreeSHAP; Lundberg et al. 2020), float64 (rows, columns)."""
        if not len(matrix):
            return np.zeros((0, self.booster_.num_feature()))
        return np.asarray(self.booster_.predict(matrix, pred_contrib=True))[:, :-1]

    def state(self) -> dict[str, Any]:
        """Return what :meth:`from_state` reads."""
        return {"model": self.booster_.model_to_string()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> TreeOrder:
        """Make one again."""
        order = cls()
        order.booster_ = lightgbm.Booster(model_str=state["model"])
        return order


ORDERS: dict[str, type[LinearOrder] | type[TreeOrder]] = {"linear": LinearOrder, "trees": TreeOrder}
"""By the name in ``blend.json``."""
