"""Q3c: how much of what the language model adds to the blend its student keeps, and what not asking saves.

Part `language-model`, on movielens-posters: people, keywords and readout are those of Q3b, without pictures; each
person's last event against 20 uniform negatives. Students and blends are fitted on four fifths of the people and judged
on the others, in turn. The time is that of `recommend` for one person after the other, asking the language model, then
not asking it.

Part `known-teacher`, on microlens-50k: a language model that adds nothing leaves nothing to keep, so here the teacher
is one that is known to add much, the sequence model of Q1, and what it says is taken from what blend and student see.

Interrupted, it goes on where it was:

    python -m benches Q3c --data ../shared/data --workdir runs/q3c
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from benches.q1q2q6_recommenders import build_engine, fit_sequence_model
from benches.q3b_tuning import prepared
from benches.quality_data import interval, item_vectors, load_split
from mmsrarec.backbone import Backbone, Readout
from mmsrarec.data import Histories, sample_negatives
from mmsrarec.evaluate import bootstrap_interval, paired_test
from mmsrarec.evaluate.metrics import mid_ranks, ndcg
from mmsrarec.progress import track
from mmsrarec.rank import FEATURES, PLAIN, BlendRanker, MLLMRanker, Signals, Student, choose_candidates, logit
from mmsrarec.recommender.engine import Engine
from mmsrarec.retrieve import ContextBuilder
from mmsrarec.storage import atomic_path
from mmsrarec.tune import compare, compared_states, fit_readout, last_choices

MLLM, STUDENT = FEATURES.index("mllm_logit"), FEATURES.index("student_logit")
NEGATIVES = 20
FOLDS = 5
BUDGET = 30
ASKED = (10, 32, 500)
"""As many people as presets demo, quick and default ask about."""


@dataclass(frozen=True)
class Question:
    """What is asked of everybody.

    Attributes
    ----------
    whole
        Histories, the next item last.
    candidates
        int (people, 21), the next item first.
    sampled, retrieved
        Their features, and those of what `recommend` would find, the next item first or no rows; one matrix a person.
    inputs
        What a student reads of `sampled`.
    """

    whole: Histories
    candidates: np.ndarray
    sampled: list[np.ndarray]
    retrieved: list[np.ndarray]
    inputs: list[np.ndarray]


def ask_engine(engine: Engine, whole: Histories) -> Question:
    """Compute what the blend and the student are fitted on."""
    known = whole.without_last()
    drawn = sample_negatives(whole, n=NEGATIVES, n_items=engine.n_items, seed=0)
    candidates = np.column_stack([[history[-1] for history in whole], drawn])
    contexts = engine.builder.build(known)

    def found(row: int, signals: dict) -> np.ndarray:
        items = choose_candidates(signals, unseen(engine, known[row]), engine.budget)
        answer = candidates[row, :1]
        return np.concatenate([answer, items[items != answer]]) if answer in items else items[:0]

    sampled, retrieved = engine.features(known, contexts, [lambda row, _: candidates[row], found])
    return Question(
        whole,
        candidates,
        [matrix for _, matrix in sampled],
        [matrix for _, matrix in retrieved],
        list(engine.student_inputs(contexts, sampled)),
    )


def unseen(engine: Engine, history: np.ndarray) -> np.ndarray:
    """Return what may be recommended."""
    mask = np.ones(engine.n_items, bool)
    mask[history] = False
    return mask


def teachers(
    model: Backbone, builder: ContextBuilder, train: Histories, asked: Question, users: int, workdir: Path
) -> tuple[dict[str, np.ndarray], Readout | None]:
    """Return the logit of p, float (people, candidates), by the words yes and no, and with a readout."""
    known = asked.whole.without_last()
    prompts = [
        compare(context, builder.view, items.tolist(), paths)
        for context, items, paths in zip(
            builder.build(known),
            asked.candidates,
            builder.evidence(known, list(asked.candidates)),
            strict=True,
        )
    ]
    states, untuned = compared_states(model, prompts, workdir=workdir / "people")
    examples = last_choices(train, builder, count=users, seed=0)
    readout = fit_readout(*compared_states(model, examples, workdir=workdir / f"users-{users}")).readout
    found = {"untuned": untuned.astype(float)}
    if readout:
        beside = untuned if readout.layer is None else 0.0
        read = readout(torch.from_numpy(states[readout.layer])).numpy()
        found[f"readout of {users} users, read after {readout.layer or model.depth}"] = beside + read
    return found, readout


def with_the_sequence_model_for_a_teacher(asked: Question) -> tuple[Question, np.ndarray]:
    """Return the question without what the sequence model says, and what it says."""
    hidden = [name for name in PLAIN if name.startswith("sequence")]
    logits = np.stack([matrix[:, FEATURES.index("sequence")] for matrix in asked.sampled])

    def without(matrices: list[np.ndarray], columns: Sequence[str]) -> list[np.ndarray]:
        # A constant column says nothing.
        copies = [matrix.copy() for matrix in matrices]
        for matrix in copies:
            matrix[:, [columns.index(name) for name in hidden]] = 0.0
        return copies

    blind = replace(
        asked,
        sampled=without(asked.sampled, FEATURES),
        retrieved=without(asked.retrieved, FEATURES),
        inputs=without(asked.inputs, PLAIN),
    )
    return blind, logits


def student_of(asked: Question, logits: np.ndarray, people: Sequence[int]) -> Student:
    """Fit on some people."""
    return Student().fit([asked.inputs[one] for one in people], [logits[one] for one in people])


def out_of_fold(
    asked: Question, logits: np.ndarray, blended: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return scores (people, candidates) by blends that had not seen the person, and the guesses of such students.

    At most `blended` people of each training part are asked about; the others are there for the order all the same.
    """
    shape = asked.candidates.shape
    scores = {name: np.zeros(shape) for name in ("asking", "the student", "neither")}
    guesses = np.zeros(shape)
    fold = np.arange(len(asked.whole)) % FOLDS
    for number in range(FOLDS):
        inside, outside = (np.flatnonzero(held).tolist() for held in (fold != number, fold == number))
        taught = inside[:blended]
        student = student_of(asked, logits, taught)
        blend = fit_blend(asked, logits, inside, taught, student)
        for one in outside:
            guesses[one] = student.predict(asked.inputs[one])
            for name, column, values in (
                ("asking", MLLM, logits[one]),
                ("the student", STUDENT, guesses[one] if student.informative else np.nan),
                ("neither", MLLM, np.nan),
            ):
                matrix = asked.sampled[one].copy()
                matrix[:, column] = values
                scores[name][one] = blend.score(matrix)
    return scores, guesses


def fit_blend(
    asked: Question, logits: np.ndarray, people: Sequence[int], taught: Sequence[int], student: Student
) -> BlendRanker:
    """Fit on some people, as :func:`mmsrarec.recommender.blending.fit_blend` does."""
    own = dict(zip(taught, student.out_of_fold_, strict=True))
    sampled = []
    for one in people:
        matrix = asked.sampled[one].copy()
        if one in own:
            matrix[:, MLLM] = logits[one]
        if student.informative:
            matrix[:, STUDENT] = own[one] if one in own else student.predict(asked.inputs[one])
        sampled.append(matrix)
    return BlendRanker().fit([asked.retrieved[one] for one in people], sampled)


def agreement(logits: np.ndarray, guesses: np.ndarray) -> tuple[str, str]:
    """Say R² within a person, and Spearman's correlation, with 95 % intervals over people."""
    said, guessed = (values - values.mean(axis=1, keepdims=True) for values in (logits, guesses))
    spread = (said**2).sum(axis=1)
    explained = 1 - ((said - guessed) ** 2).sum(axis=1).sum() / spread.sum()
    low, high = bootstrap_interval((spread - ((said - guessed) ** 2).sum(axis=1)) / spread.mean())
    pairs = zip(logits, guesses, strict=True)
    ranks = np.array([spearmanr(*pair).statistic if np.ptp(pair[1]) else 0.0 for pair in pairs])
    least, most = bootstrap_interval(ranks)
    return f"{explained:.2f} [{low:.2f}, {high:.2f}]", f"{ranks.mean():.2f} [{least:.2f}, {most:.2f}]"


def quality_tables(asked: Question, said: dict[str, np.ndarray]) -> tuple[Table, Table]:
    """Say how well students guess what each teacher says, and what the blend makes of it."""
    people = len(asked.whole)
    most = int(np.ceil(people * (1 - 1 / FOLDS)))
    guessing = Table(
        "teacher", "people asked about", "R² within a person", "rank correlation", title="The student"
    )
    ranking = Table(
        "teacher", "blend with", "NDCG@5", "over neither", "p", "AUC", "over neither", "p",
        title=f"{people} people, 20 uniform negatives, blends of four fifths of them, the most people asked about",
    )  # fmt: skip
    for teacher, logits in said.items():
        for count in sorted({min(count, most) for count in ASKED}):
            scores, guesses = out_of_fold(asked, logits, count)
            guessing.add_row(teacher, str(count), *agreement(logits, guesses))
        places = {
            name: mid_ranks(values[:, 0], values[:, 1:])
            for name, values in {**scores, "p alone": logits}.items()
        }
        metrics: list[Callable[[np.ndarray], np.ndarray]] = [
            lambda place: ndcg(place, 5),
            lambda place: 1 - place / 20,
        ]
        for name, place in places.items():
            cells = []
            for metric in metrics:
                cells.append(interval(metric(place)))
                test = paired_test(metric(place), metric(places["neither"]))
                difference = f"{100 * test.difference:+.2f} [{100 * test.low:+.2f}, {100 * test.high:+.2f}]"
                cells += ["", ""] if name == "neither" else [difference, f"{test.p_value:.3f}"]
            ranking.add_row(teacher, name, *cells)
    return guessing, ranking


def time_table(engine: Engine, asked: Question, people: Sequence[int], workdir: Path) -> tuple[Table, str]:
    """Recommend to one person after the other, asking, then not; and say how the student does on what is found."""
    workdir.mkdir(parents=True, exist_ok=True)
    ways = {
        "asking": engine,
        "the student": engine.without_language_model(),
        "neither": replace(engine, ranker=None, student=None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    said, guessed = [], []
    for one in track(people, "recommending"):
        path = workdir / f"person-{one:04d}.npz"
        if not path.exists():
            history = asked.whole[one : one + 1].without_last()
            made, timed = {}, {}
            for name, way in ways.items():
                took = []
                # What is short is asked again, so that it does not pay for what the model pushed out of caches.
                for _ in range(1 if way.ranker else 5):
                    started = time.perf_counter()
                    [made[name]] = way.recommend(history, [unseen(engine, history[0])], k=10)
                    took.append(time.perf_counter() - started)
                timed[name] = np.median(took)
            by_item = dict(
                zip(made["the student"].items.tolist(), made["the student"].features[:, STUDENT], strict=True)
            )
            guess = np.nan_to_num([by_item[int(item)] for item in made["asking"].items])
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez(
                    file, said=logit(made["asking"].probabilities), guess=guess, seconds=list(timed.values())
                )
        with np.load(path, allow_pickle=False) as kept:
            said.append(kept["said"])
            guessed.append(kept["guess"])
            for name, took in zip(ways, kept["seconds"].tolist(), strict=True):
                seconds[name].append(took)
    shown = Table("recommend", "seconds a person", "times the student", title=f"{BUDGET} candidates, medians")
    for name, took in seconds.items():
        ratio = np.median(np.array(took) / seconds["the student"])
        shown.add_row(name, f"{np.median(took):.4f}", f"{ratio:.2f}")
    explained, ranks = agreement(np.stack(said), np.stack(guessed))
    return shown, f"of these candidates, the student explains {explained}, rank correlation {ranks}"


def language_model_part(options: argparse.Namespace, console: Console) -> None:
    """Ask the language model about people of movielens-posters."""
    split, model = load_split("P", options.data), Backbone.load("embedded")
    builder, sequence_model, train, whole = prepared(split, model, options.workdir, pictures=False)
    signals = Signals.fit(sequence_model, builder.similar_users, train, builder.view.all_keywords)
    engine = Engine(
        builder, signals, None, BlendRanker(), BUDGET, vectors=item_vectors(split).astype(np.float16)
    )
    asked = ask_engine(engine, whole)
    folder = options.workdir / split.name
    said, readout = teachers(model, builder, train, asked, options.users, folder)
    for table in quality_tables(asked, said):
        console.print(table)
    taught, timed = (part.tolist() for part in np.split(np.arange(len(whole)), [-options.timed]))
    logits = list(said.values())[-1]
    student = student_of(asked, logits, taught)
    ready = replace(
        engine,
        ranker=MLLMRanker(model, builder.view, adapter=None, readout=readout),
        blend=fit_blend(asked, logits, taught, taught, student),
        student=student,
    )
    for shown in time_table(ready, asked, timed, folder / "timed"):
        console.print(shown)


def known_teacher_part(options: argparse.Namespace, console: Console) -> None:
    """Let the sequence model teach people of microlens-50k what it is taken from."""
    split = load_split("M", options.data)
    folder = options.quality / split.name / "0"
    engine = build_engine(split, fit_sequence_model(split, 0, folder))
    engine = replace(engine, budget=BUDGET, vectors=item_vectors(split).astype(np.float16))
    whole = split.validation.select(np.flatnonzero(split.validation.lengths >= 2)[: options.people])
    blind, logits = with_the_sequence_model_for_a_teacher(ask_engine(engine, whole))
    for table in quality_tables(blind, {"sequence model": logits}):
        console.print(table)


PARTS = {"language-model": language_model_part, "known-teacher": known_teacher_part}


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data sets")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--users", type=int, default=160, help="training users the readout is fitted on")
    parser.add_argument("--timed", type=int, default=20, help="people recommended to with and without")
    parser.add_argument("--people", type=int, default=1000, help="people the known teacher is asked about")
    parser.add_argument("--workdir", type=Path, default=Path("runs/q3c"))
    parser.add_argument("--quality", type=Path, default=Path("build/quality"), help="workdir of Q1")
    options = parser.parse_args(words)
    options.workdir.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        PARTS[part](options, Console(width=150))


if __name__ == "__main__":
    main()
