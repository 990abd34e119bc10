"""Student: the language model's logit, guessed from what is cheap, so that a recommendation can be made in real time.

What it reads is what the prompt says, as numbers: the plain signals, whether a path is told, how near the candidate's
text is to those of the history and of the similar users' next items, and the candidate's text itself as a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import lightgbm
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.rank.signals import FEATURES, PLAIN
from mmsrarec.retrieve import UserContext
from mmsrarec.storage import read_json, write_json

__all__ = ["Student", "student_inputs"]

_PATHS = PLAIN.index("shared_paths")
_NUMBERS = (
    *PLAIN,
    "has_paths",
    "nearness_to_history",
    "nearness_to_nearest_of_history",
    "nearness_to_latest",
    "nearness_to_neighbours",
    "nearness_to_nearest_of_neighbours",
)
"""The columns before the candidate's vector."""

_FOLDS = 5
# With fewer, trees that look better in cross-validation look so by chance.
_FEWEST_USERS_FOR_TREES = 100
_PENALTIES = 10.0 ** np.arange(-1, 5)
# What all of the vector together weighs against one number. On prompts of movielens-posters 1 to 4 are alike.
_VECTOR_SCALE = 2.0
_ROUNDS = 150
_TREES = {
    "objective": "regression",
    "learning_rate": 0.03,
    "num_leaves": 7,
    "min_data_in_leaf": 30,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 0,
    "verbose": -1,
}


def student_inputs(
    matrix: np.ndarray, context: UserContext, items: np.ndarray, vectors: np.ndarray
) -> np.ndarray:
    """Return what the student reads of some candidates of one user.

    Parameters
    ----------
    matrix
        float (n, features), columns as in :data:`mmsrarec.rank.FEATURES`.
    context
        What the prompt says of the user.
    items
        int (n,), dense ids of the candidates.
    vectors
        float (n_items, width), what each item's text says, rows of length 1.

    Returns
    -------
    numpy.ndarray
        float64 (n, inputs).
    """
    plain = matrix[:, [FEATURES.index(name) for name in PLAIN]]
    candidates = vectors[items].astype(np.float64)  # (n, width)
    history = _nearness(candidates, vectors, context.history)
    neighbours = _nearness(candidates, vectors, [neighbour.item for neighbour in context.neighbours])
    numbers = [
        plain[:, _PATHS] > 0,
        history.mean(axis=1),
        history.max(axis=1),
        history[:, -1],
        neighbours.mean(axis=1),
        neighbours.max(axis=1),
    ]
    return np.column_stack([plain, *numbers, candidates])


def _nearness(candidates: np.ndarray, vectors: np.ndarray, told: Sequence[int]) -> np.ndarray:
    """Return the cosine of each candidate and each item told of; one column of zeros where none is."""
    if not len(told):
        return np.zeros((len(candidates), 1))
    return candidates @ vectors[np.asarray(told)].astype(np.float64).T


class Student:
    r"""Guesses the language model's logit of a candidate from numbers that are there anyway (knowledge distillation).

    Ridge regression, or, where 100 users or more were asked about, LightGBM if cross-validation prefers it. Only
    differences between candidates of one user are learned, since only they can change an order; the level is the mean
    of what was said.

    Attributes
    ----------
    kind_
        ``"linear"`` or ``"trees"``: what is left out is guessed best by it.
    explained_
        R² within users, for users left out: 1 − Σ(y − ŷ)² / Σ(y − ȳ)², all of it as differences from the user's own
        mean. 0 is the student that knows nothing.
    explained_error_
        Its standard error over users.
    rank_correlation_
        Mean over users of Spearman's correlation with what the language model said, for users left out.
    users_, rows_
        Users and candidates it was fitted on.
    out_of_fold_
        float64 guesses of each user's candidates by students that have not seen the user; not stored.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> asked = [rng.normal(size=(21, 40)) for _ in range(30)]
    >>> student = Student().fit(asked, [inputs[:, 3] - 2 for inputs in asked])
    >>> student.informative, student.explained_ > 0.9
    (True, True)
    >>> guessed = student.predict(np.eye(40))
    >>> int(guessed.argmax())
    3
    """

    def fit(self, inputs: Sequence[np.ndarray], logits: Sequence[np.ndarray]) -> Student:
        """Learn from what the language model said.

        Parameters
        ----------
        inputs
            One matrix of :func:`student_inputs` a user.
        logits
            float (candidates,), what the language model said of the same candidates.

        Returns
        -------
        Student
            Itself. Of fewer than five users nothing is learned, since nothing could be left out.

        Raises
        ------
        InputError
            If there is no user, or the two differ in users or candidates.
        """
        if not len(inputs) or [len(rows) for rows in inputs] != [len(said) for said in logits]:
            raise InputError(
                f"inputs and logits must hold the same candidates of one user or more, got {len(inputs)} and "
                f"{len(logits)} users."
            )
        self.users_, self.rows_ = len(inputs), sum(map(len, inputs))
        self._level = float(np.concatenate(logits).mean())
        kinds = ["linear", *(["trees"] if self.users_ >= _FEWEST_USERS_FOR_TREES else [])]
        self.kind_ = kinds[0]
        self.out_of_fold_ = [np.full(len(rows), self._level) for rows in inputs]
        self.explained_, self.explained_error_, self.rank_correlation_ = 0.0, 0.0, 0.0
        self._regressor: _Regressor | None = None
        if self.users_ < _FOLDS:
            return self
        left_out = {kind: self._leave_out(kind, inputs, logits) for kind in kinds}
        explained = {kind: _explained(guesses, logits) for kind, guesses in left_out.items()}
        self.kind_ = max(kinds, key=lambda kind: explained[kind][0])
        self.explained_, self.explained_error_ = explained[self.kind_]
        self.out_of_fold_ = left_out[self.kind_]
        self.rank_correlation_ = float(
            np.mean([_rank_correlation(*pair) for pair in zip(self.out_of_fold_, logits, strict=True)])
        )
        if self.informative:
            self._regressor = _REGRESSORS[self.kind_]().fit(inputs, _centred(logits))
        return self

    @property
    def informative(self) -> bool:
        """Whether it explains more than nothing, by more than its standard error; if not, it guesses the mean."""
        return self.explained_ > self.explained_error_

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return the guessed logit of each row of :func:`student_inputs`, float64 (rows,)."""
        if self._regressor is None or not len(inputs):
            return np.full(len(inputs), self._level)
        return self._level + self._regressor.predict(inputs)

    def __str__(self) -> str:
        return (
            f"{self.kind_}, R² {self.explained_:.2f} ± {self.explained_error_:.2f}, "
            f"rank correlation {self.rank_correlation_:.2f} "
            f"({self.rows_} candidates of {self.users_} users, each guessed by others); "
            + (
                "used"
                if self.informative
                else "it guesses the mean, so the blend is that without the language model"
            )
        )

    def save(self, folder: str | Path) -> None:
        """Write ``student.json`` into `folder`."""
        told = {
            name: value for name, value in vars(self).items() if name not in ("out_of_fold_", "_regressor")
        }
        state = None if self._regressor is None else self._regressor.state()
        write_json(Path(folder) / "student.json", {**told, "numbers": list(_NUMBERS), "regressor": state})

    @classmethod
    def load(cls, folder: str | Path) -> Student:
        """Read what :meth:`save` wrote.

        Raises
        ------
        StoredFileError
            If the file is missing or was fitted on other inputs.
        """
        path = Path(folder) / "student.json"
        content = read_json(path)
        if not isinstance(content, dict) or tuple(content.pop("numbers", ())) != _NUMBERS:
            raise StoredFileError(f"{path} was fitted on other inputs than this version uses; fit again.")
        student, state = cls(), content.pop("regressor")
        vars(student).update(content)
        student._regressor = None if state is None else _REGRESSORS[student.kind_].from_state(state)
        return student

    def _leave_out(
        self, kind: str, inputs: Sequence[np.ndarray], logits: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Return the guesses of each user's candidates by a regressor that has not seen the user."""
        centred = _centred(logits)
        fold = np.arange(len(inputs)) % _FOLDS
        guesses: list[np.ndarray] = [np.empty(0)] * len(inputs)
        for number in range(_FOLDS):
            kept, out = (np.flatnonzero(held).tolist() for held in (fold != number, fold == number))
            regressor = _REGRESSORS[kind]().fit(
                [inputs[user] for user in kept], [centred[user] for user in kept]
            )
            level = float(np.concatenate([logits[user] for user in kept]).mean())
            for user in out:
                guesses[user] = level + regressor.predict(inputs[user])
        return guesses


class _Regressor(Protocol):
    """Learns differences between the rows of one user."""

    def fit(self, inputs: Sequence[np.ndarray], centred: Sequence[np.ndarray]) -> _Regressor: ...

    def predict(self, rows: np.ndarray) -> np.ndarray: ...

    def state(self) -> dict[str, Any]: ...

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> _Regressor: ...


class _Ridge:
    """Least squares with an L2 penalty chosen by users left out, on columns that are centred by user."""

    def fit(self, inputs: Sequence[np.ndarray], centred: Sequence[np.ndarray]) -> _Ridge:
        rows = np.concatenate(inputs)
        self.mean_, deviation = rows.mean(axis=0), rows.std(axis=0)
        # A constant column says nothing; scale 1 keeps its standardized value at zero.
        self.scale_ = np.where(deviation > 1e-12, deviation, 1.0)
        width = rows.shape[1] - len(_NUMBERS)
        if width > 0:
            self.scale_[len(_NUMBERS) :] *= np.sqrt(width) / _VECTOR_SCALE
        standardized = np.concatenate(_centred([(one - self.mean_) / self.scale_ for one in inputs]))
        user = np.repeat(np.arange(len(inputs)), [len(one) for one in inputs])
        folds = GroupKFold(min(_FOLDS, len(inputs))).split(standardized, groups=user)
        model = RidgeCV(alphas=_PENALTIES, fit_intercept=False, cv=list(folds))
        self.coefficient_ = model.fit(standardized, np.concatenate(centred)).coef_
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.mean_) / self.scale_ @ self.coefficient_

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name).tolist() for name in ("mean_", "scale_", "coefficient_")}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> _Ridge:
        ridge = cls()
        vars(ridge).update({name: np.array(values) for name, values in state.items()})
        return ridge


class _BoostedTrees:
    """LightGBM on the differences from each user's mean."""

    def fit(self, inputs: Sequence[np.ndarray], centred: Sequence[np.ndarray]) -> _BoostedTrees:
        data = lightgbm.Dataset(np.concatenate(inputs), np.concatenate(centred))
        self.booster_ = lightgbm.train(_TREES, data, _ROUNDS)
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster_.predict(rows))

    def state(self) -> dict[str, Any]:
        return {"model": self.booster_.model_to_string()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> _BoostedTrees:
        trees = cls()
        trees.booster_ = lightgbm.Booster(model_str=state["model"])
        return trees


_REGRESSORS: dict[str, type[_Ridge] | type[_BoostedTrees]] = {"linear": _Ridge, "trees": _BoostedTrees}


def _centred(groups: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [group - group.mean(axis=0) if len(group) else group for group in groups]


def _explained(guesses: Sequence[np.ndarray], logits: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return R² within users, and its standard error over them."""
    said, guessed = _centred(logits), _centred(guesses)
    spread = np.array([(one**2).sum() for one in said])
    gained = spread - [((one - guess) ** 2).sum() for one, guess in zip(said, guessed, strict=True)]
    whole = max(float(spread.mean()), np.finfo(float).tiny)
    return float(gained.mean() / whole), float(gained.std() / np.sqrt(len(gained)) / whole)


def _rank_correlation(guesses: np.ndarray, logits: np.ndarray) -> float:
    """Return Spearman's correlation; 0 where one of them says the same of all."""
    if np.ptp(guesses) == 0 or np.ptp(logits) == 0:
        return 0.0
    return float(spearmanr(guesses, logits).statistic)
