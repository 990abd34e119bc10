"""BlendRanker: a learned order over all signals, the language model's among them, and a probability made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.rank.order import ORDERS, Groups, Order
from mmsrarec.rank.signals import FEATURES, PLAIN
from mmsrarec.storage import read_json, write_json

__all__ = ["BlendRanker"]

_MLLM, _STUDENT = FEATURES.index("mllm_logit"), FEATURES.index("student_logit")
# They stand together, so that a matrix of them alone is no copy.
_PLAIN = slice(FEATURES.index(PLAIN[0]), FEATURES.index(PLAIN[-1]) + 1)
_FOLDS = 5
# With fewer, trees that look better in cross-validation look so by chance.
_FEWEST_USERS_FOR_TREES = 200
_CUTOFF = 10
_SMALLEST_SLOPE = 1e-3


@dataclass(frozen=True)
class Calibration:
    """``log-odds = intercept + slope · score + language_model · logit`` (Platt 1999, with a second input)."""

    slope: float
    intercept: float
    language_model: float = 0.0

    def log_odds(self, scores: np.ndarray, logit: np.ndarray) -> np.ndarray:
        """Return float64 (rows,); `logit` is the language model's, or the student's guess of it."""
        known = self.language_model * logit if self.language_model else 0.0
        return self.intercept + self.slope * scores + known


class BlendRanker:
    """Orders candidates by plain signals, then weighs the order against the language model's p(yes).

    The order is learned from comparisons of a next item with other candidates: linear, or boosted trees where users are
    many and cross-validation prefers them. The language model's logit, which is known for few validation users, is
    joined to the score by a logistic model of two inputs, which makes a probability of it as well; its weight is the
    smaller the less these users can tell it from none. A student's guess of the logit has such a model of its own,
    fitted on guesses for users that the student had not seen. Where both are NaN, the score alone does.

    All of it is fitted on users outside the training of its inputs, so that a signal is trusted as far as it holds
    for people it has not seen; the logistic model is fitted on scores of an order that has not seen their user.

    Attributes
    ----------
    kind_
        ``"linear"`` or ``"trees"``.
    cross_validated_
        Kind → NDCG@10 of the next items of users left out.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> groups = [rng.normal(size=(5, len(FEATURES))) for _ in range(40)]
    >>> for group in groups:
    ...     group[0, FEATURES.index("sequence")] += 3
    ...     group[:, FEATURES.index("mllm_logit")] = np.nan
    >>> blend = BlendRanker().fit(groups, groups)
    >>> bool(blend.score(groups[0])[0] > blend.score(groups[0])[1:].max())
    True
    """

    def fit(self, retrieved: Groups, sampled: Groups) -> BlendRanker:
        """Fit the order and the probability.

        Parameters
        ----------
        retrieved
            One float (rows, features) matrix a user, columns as in :data:`mmsrarec.rank.FEATURES`: the next item, then
            the other candidates that were found for the user. A matrix without rows where the next item was not
            found: shown among them it would teach that what is not found is right.
        sampled
            The same users: the next item, then unseen items drawn uniformly.

        Returns
        -------
        BlendRanker
            Itself.

        Raises
        ------
        InputError
            If there is no user, the numbers of users differ, or a user has no item to compare with.
        """
        if not len(sampled) or len(retrieved) != len(sampled):
            raise InputError(
                f"sampled must hold a group for each user of retrieved, and one user or more, got {len(sampled)} and "
                f"{len(retrieved)}; give validation users with two events or more."
            )
        if min(len(group) for group in sampled) < 2:
            raise InputError("every group of sampled must hold the next item and one other or more.")
        plain_retrieved, plain_sampled = (
            [_plain(group) for group in groups] for groups in (retrieved, sampled)
        )
        kinds = ["linear", *(["trees"] if len(sampled) >= _FEWEST_USERS_FOR_TREES else [])]
        left_out = {kind: _cross_validate(kind, plain_retrieved, plain_sampled) for kind in kinds}
        self.cross_validated_ = {kind: quality for kind, (_, quality) in left_out.items()}
        self.kind_ = max(kinds, key=lambda kind: self.cross_validated_[kind])
        scores, _ = left_out[self.kind_]
        self._order = _fit_order(self.kind_, range(len(sampled)), plain_retrieved, plain_sampled)
        self._alone, self._joined, self._distilled = _calibrate(scores, sampled)
        return self

    def score(self, matrix: np.ndarray) -> np.ndarray:
        """Return the log-odds that a candidate is next, float64 (rows,); higher ranks first."""
        scores = self._order.scores(_plain(matrix))
        odds = self._alone.log_odds(scores, np.zeros(len(scores)))
        for column, calibration in self._with_logit:
            known = ~np.isnan(matrix[:, column])
            odds[known] = calibration.log_odds(scores[known], matrix[known, column])
        return odds

    def probability(self, matrix: np.ndarray) -> np.ndarray:
        """Return the probability among the fitting protocol's candidates, the uniform ones, float64 (rows,)."""
        return 1 / (1 + np.exp(-self.score(matrix)))

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each feature adds to the log-odds, float64 (rows, features).

        What all rows have in common is left out.
        """
        added = np.zeros(matrix.shape)
        slope = np.full(len(matrix), self._alone.slope)
        for column, calibration in self._with_logit:
            known = ~np.isnan(matrix[:, column])
            slope[known] = calibration.slope
            # One of the two speaks.
            added[known, _STUDENT] = added[known, _MLLM] = 0.0
            added[known, column] = calibration.language_model * matrix[known, column]
        added[:, _PLAIN] = self._order.contributions(_plain(matrix)) * slope[:, None]
        return added

    def save(self, folder: str | Path) -> None:
        """Write ``blend.json`` into `folder`."""
        write_json(
            Path(folder) / "blend.json",
            {
                "features": list(FEATURES),
                "kind": self.kind_,
                "cross_validated": self.cross_validated_,
                "order": self._order.state(),
                "alone": vars(self._alone),
                "joined": vars(self._joined),
                "distilled": vars(self._distilled),
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
        blend.kind_ = content["kind"]
        blend.cross_validated_ = content["cross_validated"]
        blend._order = ORDERS[blend.kind_].from_state(content["order"])
        blend._alone, blend._joined, blend._distilled = (
            Calibration(**content[name]) for name in ("alone", "joined", "distilled")
        )
        return blend

    @property
    def _with_logit(self) -> tuple[tuple[int, Calibration], ...]:
        """Columns that may be known, and what then holds; the last that is known has the word."""
        return (_STUDENT, self._distilled), (_MLLM, self._joined)


def _features(content: Any) -> Sequence[str]:
    return tuple(content.get("features", ())) if isinstance(content, dict) else ()


def _plain(matrix: np.ndarray) -> np.ndarray:
    return matrix[:, _PLAIN]


def _fit_order(kind: str, users: Sequence[int], retrieved: Groups, sampled: Groups) -> Order:
    groups = [group for user in users for group in (retrieved[user], sampled[user]) if len(group) > 1]
    return ORDERS[kind]().fit(groups)


def _cross_validate(kind: str, retrieved: Groups, sampled: Groups) -> tuple[list[np.ndarray], float]:
    """Return the scores of each user's sampled items by an order that has not seen the user, and its NDCG@10."""
    users = len(sampled)
    fold = np.arange(users) % _FOLDS
    scores: list[np.ndarray] = [np.empty(0)] * users
    gains = []
    for number in range(min(_FOLDS, users)):
        inside, outside = np.flatnonzero(fold == number).tolist(), np.flatnonzero(fold != number).tolist()
        # A single user is all there is to learn from.
        order = _fit_order(kind, outside or inside, retrieved, sampled)
        for user in inside:
            scores[user] = order.scores(sampled[user])
            gains += [
                _gain(order.scores(group)) for group in (retrieved[user], sampled[user]) if len(group) > 1
            ]
    return scores, float(np.mean(gains))


def _gain(scores: np.ndarray) -> float:
    """Return the NDCG@10 of row 0; ties share their ranks."""
    rank = (scores[1:] > scores[0]).sum() + 0.5 * (scores[1:] == scores[0]).sum()
    return float(1 / np.log2(rank + 2)) if rank < _CUTOFF else 0.0


def _calibrate(scores: Sequence[np.ndarray], sampled: Groups) -> tuple[Calibration, Calibration, Calibration]:
    """Return the calibration of the score alone, with the language model's logit, and with the student's."""
    is_next = np.concatenate([np.arange(len(group)) == 0 for group in sampled])
    user = np.repeat(np.arange(len(sampled)), [len(group) for group in sampled])
    flat = np.concatenate(scores)
    alone = _platt(flat[:, None], is_next)
    found = [alone]
    for column in (_MLLM, _STUDENT):
        logits = np.concatenate([group[:, column] for group in sampled])
        known = ~np.isnan(logits)
        inputs = np.column_stack([flat, logits])[known]
        found.append(_join(alone, inputs, is_next[known], user[known]) if known.any() else alone)
    return found[0], found[1], found[2]


def _join(alone: Calibration, inputs: np.ndarray, is_next: np.ndarray, user: np.ndarray) -> Calibration:
    """Go from the score alone towards two inputs, as far as the users can tell a weight from none.

    The share of an estimated weight w with the least squared error is ``w² / (w² + s²)`` for its standard error s;
    since the estimate's square is w² + s² on average, ``1 − s² / estimate²`` stands for it (James and Stein 1961).
    """
    joined = _platt(inputs, is_next)
    error = _standard_error(joined, inputs, is_next, user)
    weight = abs(joined.language_model)
    share = max(0.0, 1 - (error / weight) ** 2) if weight > 0 else 0.0
    return Calibration(
        *(one + share * (other - one) for one, other in zip(astuple(alone), astuple(joined), strict=True))
    )


def _standard_error(
    calibration: Calibration, inputs: np.ndarray, is_next: np.ndarray, user: np.ndarray
) -> float:
    """Return that of the language model's weight, over users: one user's rows are not independent (Huber 1967)."""
    users, place = np.unique(user, return_inverse=True)
    if len(users) < 2:
        return np.inf
    probability = 1 / (1 + np.exp(-calibration.log_odds(inputs[:, 0], inputs[:, 1])))
    design = np.column_stack([np.ones(len(inputs)), inputs])
    bread = np.linalg.pinv(design.T @ (design * (probability * (1 - probability))[:, None]))
    gradient = np.zeros((len(users), design.shape[1]))
    np.add.at(gradient, place, design * (is_next - probability)[:, None])
    variance = bread @ (gradient.T @ gradient) @ bread * len(users) / (len(users) - 1)
    return float(np.sqrt(variance[-1, -1]))


def _platt(inputs: np.ndarray, is_next: np.ndarray) -> Calibration:
    scale = np.maximum(inputs.std(axis=0), 1e-12)
    model = LogisticRegression(C=1.0, max_iter=1000).fit(inputs / scale, is_next)
    slope, *others = model.coef_[0] / scale
    # An order that users left out contradict is still the only one there is.
    return Calibration(max(float(slope), _SMALLEST_SLOPE), float(model.intercept_[0]), *map(float, others))
