"""Q3d: from which layer a readout reads best, and what of it is more than popularity.

The last choices of training users of movielens-posters, each against four uniform negatives and four drawn by
popularity, as Q3b asks. Readouts of several layers are fitted on several kinds of negatives and judged on users left
out, alone and beside popularity (as in Q3b; the user's own event is not counted). Interrupted, it goes on:

    python -m benches Q3d --data ../shared/data --users 160 --layers 12 18 24 30 --workdir runs/q3d
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benches.q3b_tuning import KINDS, joined, per_person, prepared
from benches.quality_data import interval, load_split
from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone.first_token import answer_log_odds
from mmsrarec.data import Histories, sample_negatives
from mmsrarec.progress import track
from mmsrarec.retrieve import ContextBuilder
from mmsrarec.storage import atomic_path
from mmsrarec.tune import compare
from mmsrarec.tune.readout import _loss, _minimize

NEGATIVES = 4
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
FOLDS = 5
UNIFORM, POPULAR = [0, 1, 2, 3, 4], [0, 5, 6, 7, 8]
MIXED = "3 of 4 users uniform"
FITTED_ON = (MIXED, "half of each", "popular", "uniform, popularity a column that is dropped")


def asked(
    builder: ContextBuilder, train: Histories, n_items: int, count: int
) -> tuple[list[tuple[Prompt, ...]], np.ndarray]:
    """Return each user's prompts, the right one first, and popularity of their items (users, candidates)."""
    popularity = np.bincount(train.items, minlength=n_items)
    users = np.random.default_rng(0).permutation(np.flatnonzero(train.lengths >= 2))[:count]
    drawn = [
        sample_negatives(
            train, n=NEGATIVES, n_items=n_items, users=users, by=kind, popularity=popularity, seed=1
        )
        for kind in KINDS
    ]
    known = train.select(users).without_last()
    candidates = np.column_stack([[train[int(user)][-1] for user in users], *drawn])
    excluded = users.astype(np.int32)
    evidence = builder.evidence(known, list(candidates), exclude_users=excluded)
    contexts = builder.build(known, exclude_users=excluded)
    prompts = [
        compare(context, builder.view, items.tolist(), paths).prompt
        for context, items, paths in zip(contexts, candidates, evidence, strict=True)
    ]
    taken = popularity[candidates]
    taken[:, 0] -= 1
    return prompts, taken  # type: ignore[return-value]


def read(
    model: Backbone, prompts: Sequence[tuple[Prompt, ...]], layers: Sequence[int], workdir: Path
) -> np.ndarray:
    """Return states (users, candidates, layers, hidden), each user's kept in a file."""
    workdir.mkdir(parents=True, exist_ok=True)
    found = []
    for number, group in enumerate(track(prompts, "reading layers")):
        path = workdir / f"{'-'.join(map(str, layers))}-{number:04d}.npy"
        if not path.exists():
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, model.hidden_states(group, layers=layers), allow_pickle=False)
        found.append(np.load(path, allow_pickle=False))
    return np.stack(found)


def columns_of(fitted_on: str, users: int) -> np.ndarray:
    """Return which candidates of each user are fitted on."""
    if fitted_on == MIXED:
        return np.where(np.random.default_rng(3).random(users)[:, None] < 0.25, POPULAR, UNIFORM)
    chosen = {"half of each": [0, 1, 2, 5, 6], "popular": POPULAR}.get(fitted_on, UNIFORM)
    return np.tile(chosen, (users, 1))


def left_out(
    states: np.ndarray, said: np.ndarray, popularity: np.ndarray, fitted_on: str
) -> tuple[np.ndarray, float]:
    """Return scores (users, candidates) of users left out, and the penalty that told them best apart."""
    inputs = (states - states.mean((0, 1))) / np.maximum(states.std((0, 1)), 1e-6)
    logs = np.log1p(popularity)
    # A column of zeros where nothing is dropped; so large that its weight costs nothing where it is.
    column = 100.0 * (logs - logs.mean()) if fitted_on.endswith("dropped") else np.zeros_like(logs)
    inputs = np.concatenate([inputs, column[..., None]], axis=2)
    columns = columns_of(fitted_on, len(states))
    few, base = np.take_along_axis(inputs, columns[..., None], 1), np.take_along_axis(said, columns, 1)
    fold = np.arange(len(states)) % FOLDS
    tried = {}
    for strength in STRENGTHS:
        scores, judged = said.astype(np.float64), base.astype(np.float64)
        for number in range(FOLDS):
            out = fold == number
            weights, shift = _minimize(few[~out], base[~out], strength)
            scores[out] += inputs[out, :, :-1] @ weights[:-1] + shift
            judged[out] += few[out] @ weights + shift
        tried[strength] = _loss(judged)[0], scores
    best = min(tried, key=lambda strength: tried[strength][0])
    return tried[best][1], best


def table(data: Path, *, users: int = 160, layers: Sequence[int] = (12, 18, 24, 30), workdir: Path) -> Table:
    """Read, fit and judge; the last layer is the top, whose readout is added to the words."""
    model, split = Backbone.load("embedded"), load_split("P", data)
    builder, _, train, _ = prepared(split, model, workdir, pictures=False)
    prompts, popularity = asked(builder, train, split.n_items, users)
    states = read(model, prompts, layers, workdir / "states")
    with torch.no_grad():
        words = answer_log_odds(model)(torch.from_numpy(states[:, :, -1].reshape(-1, states.shape[-1])))
    words = words.numpy().reshape(popularity.shape)
    logs = np.log1p(popularity)
    alone = per_person(joined(logs))
    measured = ("AUC", "beside popularity, over it alone")
    shown = Table(
        "read after", "fitted on", "penalty", *(f"{what}, {kind}" for what in measured for kind in KINDS)
    )

    def add(*told: str, scores: np.ndarray) -> None:
        values = np.column_stack([per_person(scores), per_person(joined(logs, scores)) - alone])
        shown.add_row(*told, *(interval(column, 1) for column in values.T))

    shown.add_row("popularity", "", "", *(interval(column, 1) for column in per_person(logs).T), "", "")
    add("words alone", "", "", scores=words)
    for place, layer in enumerate(layers):
        said = words if place == len(layers) - 1 else np.zeros_like(words)
        for fitted_on in FITTED_ON:
            scores, strength = left_out(states[:, :, place], said, popularity, fitted_on)
            add(str(layer), fitted_on, str(strength), scores=scores)
    return shown


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data sets")
    parser.add_argument("--users", type=int, default=160)
    parser.add_argument("--layers", type=int, nargs="+", default=[12, 18, 24, 30], help="the top one last")
    parser.add_argument("--workdir", type=Path, default=Path("runs/q3d"))
    Console(width=180).print(table(**vars(parser.parse_args(words))))


if __name__ == "__main__":
    main()
