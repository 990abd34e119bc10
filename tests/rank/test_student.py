"""The student: guesses what depends on what it reads, says so where nothing does, keeps the gain, survives saving."""

from pathlib import Path

import numpy as np
import pytest

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.rank import FEATURES, PLAIN, BlendRanker, Student, student_inputs
from mmsrarec.retrieve import UserContext
from mmsrarec.retrieve.context import NextItem
from mmsrarec.storage import read_json, write_json

MLLM, STUDENT = FEATURES.index("mllm_logit"), FEATURES.index("student_logit")
N_ITEMS, WIDTH = 400, 24


def shop(users: int, *, seed: int, telling: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Features of 21 candidates a user, and what a student reads of them.

    People take what is like their history, which no plain signal sees. The language model sees it, and its logit
    depends on the texts (`telling`), or it sees it in what no text says.
    """
    vectors = np.random.default_rng(0).normal(size=(N_ITEMS, WIDTH))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    matrices, inputs = [], []
    for _ in range(users):
        history, others = rng.choice(N_ITEMS, 5, replace=False), rng.choice(N_ITEMS, 3, replace=False)
        context = UserContext(tuple(history.tolist()), tuple(NextItem(0, int(item), 0.5) for item in others))
        items = rng.choice(N_ITEMS, 21, replace=False)
        liking = 12 * vectors[items] @ vectors[history].mean(axis=0) if telling else rng.normal(size=21) * 1.5
        answer = rng.choice(21, p=np.exp(liking) / np.exp(liking).sum())
        order = [answer, *np.delete(np.arange(21), answer)]
        matrix = np.full((21, len(FEATURES)), np.nan)
        matrix[:, [FEATURES.index(name) for name in PLAIN]] = rng.normal(size=(21, len(PLAIN)))
        matrix[:, MLLM] = liking[order] - 3 + rng.normal() + 0.3 * rng.normal(size=21)
        matrices.append(matrix)
        inputs.append(student_inputs(matrix, context, items[order], vectors))
    return matrices, inputs


def distilled(
    asked: int, *, telling: bool, seed: int = 1
) -> tuple[BlendRanker, Student, list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Fit as a fit does; return test users with p, with a guess of it, and with neither."""
    matrices, inputs = shop(asked, seed=seed, telling=telling)
    student = Student().fit(inputs, [matrix[:, MLLM] for matrix in matrices])
    if student.informative:
        for matrix, guess in zip(matrices, student.out_of_fold_, strict=True):
            matrix[:, STUDENT] = guess
    blend = BlendRanker().fit([matrix[:0] for matrix in matrices], matrices)
    with_p, read = shop(300, seed=99, telling=telling)
    neither = [matrix.copy() for matrix in with_p]
    for matrix in neither:
        matrix[:, MLLM] = np.nan
    guessed = [matrix.copy() for matrix in neither]
    for matrix, rows in zip(guessed, read, strict=True):
        if student.informative:
            matrix[:, STUDENT] = student.predict(rows)
    return blend, student, with_p, guessed, neither


def auc(blend: BlendRanker, matrices: list[np.ndarray]) -> float:
    scores = [blend.score(matrix) for matrix in matrices]
    return float(np.mean([(row[1:] < row[0]).mean() + 0.5 * (row[1:] == row[0]).mean() for row in scores]))


def test_the_gain_of_a_language_model_that_reads_texts_is_kept() -> None:
    blend, student, *asked = distilled(60, telling=True)
    with_p, guessed, neither = (auc(blend, matrices) for matrices in asked)
    assert student.informative
    assert with_p - neither > 0.15
    assert (guessed - neither) / (with_p - neither) > 0.8


def test_what_no_student_can_see_is_not_kept_and_it_says_so() -> None:
    """The control: the same gain, of a language model whose logit depends on nothing that is cheap."""
    blend, student, *asked = distilled(60, telling=False)
    with_p, guessed, neither = (auc(blend, matrices) for matrices in asked)
    assert not student.informative
    assert with_p - neither > 0.15
    assert guessed == neither
    assert "guesses the mean" in str(student)
    assert set(student.predict(shop(1, seed=5, telling=False)[1][0])) == {student._level}


def test_quality_is_that_for_people_left_out() -> None:
    _, inputs = shop(40, seed=2, telling=True)
    rng = np.random.default_rng(3)
    said = [3.0 * rng.normal() + rows[:, 0] + rng.normal(size=len(rows)) for rows in inputs]
    student = Student().fit(inputs, said)
    # Half of the spread within users is noise; the users' own levels, nine times as much, do not count.
    assert student.explained_ == pytest.approx(0.5, abs=0.12)
    assert student.rank_correlation_ == pytest.approx(0.7, abs=0.12)
    assert (student.users_, student.rows_) == (40, 840)
    # Guessed by those who had not seen the user: no better for them than for new people.
    _, others = shop(100, seed=4, telling=True)
    new = 1 - np.mean([np.var(rows[:, 0] - student.predict(rows)) + 1 for rows in others]) / 2
    assert new == pytest.approx(student.explained_, abs=0.12)


def test_many_users_get_trees_where_trees_are_better() -> None:
    _, inputs = shop(120, seed=6, telling=True)
    curved = Student().fit(inputs, [np.abs(rows[:, 1]) for rows in inputs])
    straight = Student().fit(inputs, [rows[:, 1] for rows in inputs])
    assert (curved.kind_, straight.kind_) == ("trees", "linear")
    assert curved.explained_ > 0.7


def test_it_reads_what_the_prompt_says() -> None:
    vectors = np.eye(6, 4)
    context = UserContext((0, 1), (NextItem(7, 2, 0.9),))
    matrix = np.zeros((3, len(FEATURES)))
    matrix[1, FEATURES.index("shared_paths")] = np.log(2)
    rows = student_inputs(matrix, context, np.array([1, 2, 3]), vectors)
    has_paths, nearness = rows[:, len(PLAIN)], rows[:, len(PLAIN) + 1 : -4]
    assert has_paths.tolist() == [0, 1, 0]
    assert nearness.tolist() == [[0.5, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]
    assert np.array_equal(rows[:, -4:], vectors[[1, 2, 3]])
    nobody = student_inputs(matrix, UserContext((), ()), np.array([1, 2, 3]), vectors)
    assert not nobody[:, len(PLAIN) + 1 : -4].any()
    assert student_inputs(matrix[:0], context, np.array([], int), vectors).shape == (0, rows.shape[1])


@pytest.mark.parametrize("kind", ["linear", "trees", "mean"])
def test_saved_and_loaded_to_the_bit(kind: str, tmp_path: Path) -> None:
    _, inputs = shop(120 if kind == "trees" else 20, seed=7, telling=True)
    rng = np.random.default_rng(0)
    said = {
        "linear": [rows[:, 1] for rows in inputs],
        "trees": [np.abs(rows[:, 1]) for rows in inputs],
        "mean": [rng.normal(size=21) for _ in inputs],
    }[kind]
    student = Student().fit(inputs, said)
    assert student.informative == (kind != "mean")
    student.save(tmp_path)
    again = Student.load(tmp_path)
    assert np.array_equal(again.predict(inputs[3]), student.predict(inputs[3]))
    assert str(again) == str(student)


def test_few_users_and_other_inputs(tmp_path: Path) -> None:
    _, inputs = shop(4, seed=8, telling=True)
    student = Student().fit(inputs, [rows[:, 1] for rows in inputs])
    assert not student.informative
    student.save(tmp_path)
    path = tmp_path / "student.json"
    write_json(path, read_json(path) | {"numbers": ["another"]})
    with pytest.raises(StoredFileError, match="was fitted on other inputs"):
        Student.load(tmp_path)
    with pytest.raises(InputError, match="the same candidates of one user or more, got 0 and 0"):
        Student().fit([], [])
    with pytest.raises(InputError, match="got 4 and 3"):
        Student().fit(inputs, [rows[:, 1] for rows in inputs[:3]])
