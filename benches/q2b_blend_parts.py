"""Q2b: what each source of candidates finds, and what each feature adds to the blend, on validation users.

The sequence model is the one that Q1 trained, or is trained now. Recall: for how many people the next item is among the
candidates, by one source alone, by all, and by all but one, at several budgets. Features: the order is learned by other
people (five folds) with a feature, or a family of them, left out; what NDCG loses is paired by user. Test users are
not asked.

    python -m benches Q2b --sets M P --seed 0
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benches.q1q2q6_recommenders import build_engine, fit_sequence_model, interval, place_among
from benches.quality_data import SETS, Split, load_split
from mmsrarec.data import sample_negatives
from mmsrarec.evaluate import paired_test
from mmsrarec.evaluate.metrics import mid_ranks, ndcg
from mmsrarec.progress import track
from mmsrarec.rank import FEATURES, PLAIN, UserSignals, choose_candidates
from mmsrarec.rank.order import ORDERS
from mmsrarec.recommender.engine import Engine

BUDGETS = (50, 100, 200, 500)
SOURCES = ("sequence", "item_knn", "transitions", "neighbours", "keywords", "shared_paths")
NEGATIVES = 20
FOLDS = 5
FAMILIES = {"sequence model": ("sequence", "sequence_margin", "sequence_rank")}


@dataclass(frozen=True)
class Collected:
    """What is asked of every order: candidates of each user, their features, and where all other items stand.

    Attributes
    ----------
    wanted
        int (users,), next items.
    retrieved, sampled
        One (items, matrix) a user; of the sampled, row 0 is the next item.
    below
        float (users,), how many items that were not retrieved the sequence model puts above the next item.
    recall
        Source → budget → bool (users,).
    """

    wanted: np.ndarray
    retrieved: list[tuple[np.ndarray, np.ndarray]]
    sampled: list[tuple[np.ndarray, np.ndarray]]
    below: np.ndarray
    recall: dict[str, dict[int, np.ndarray]]


def main(words: Sequence[str]) -> int:
    """Print both tables of each set."""
    parser = argparse.ArgumentParser(
        prog="python -m benches Q2b",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", default=["M", "P"], choices=list(SETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, default=2500, help="validation users at most")
    parser.add_argument("--kind", choices=list(ORDERS), default="linear", help="of order")
    parser.add_argument("--workdir", type=Path, default=Path("build/quality"))
    arguments = parser.parse_args(words)
    for name in arguments.sets:
        split = load_split(name, arguments.data)
        folder = arguments.workdir / name / str(arguments.seed)
        engine = build_engine(split, fit_sequence_model(split, arguments.seed, folder))
        collected = collect(split, engine, arguments.users, arguments.seed)
        Console(width=130).print(recall_table(name, collected))
        Console(width=130).print(feature_table(name, collected, arguments.kind))
    return 0


def collect(split: Split, engine: Engine, users: int, seed: int) -> Collected:
    """Ask every source about every user once."""
    asked = np.flatnonzero(split.validation.lengths >= 2)[:users]
    whole = split.validation.select(asked)
    histories, wanted = whole.without_last(), whole.last_items
    drawn = sample_negatives(whole, n=NEGATIVES, n_items=split.n_items, seed=seed)
    own = split.knowledge_base_ids(asked)
    contexts = engine.builder.build(histories, exclude_users=own)
    recall = {
        who: {budget: np.zeros(len(asked), bool) for budget in BUDGETS}
        for who in ("all", *SOURCES, *(f"all but {source}" for source in SOURCES))
    }
    retrieved, sampled, below = [], [], np.zeros(len(asked))
    every = track(engine.signals.of(histories, contexts, own), "asking", total=len(asked))
    for row, signals in enumerate(every):
        unseen = np.ones(split.n_items, bool)
        unseen[histories[row]] = False
        for who, found in recall.items():
            heard = only(signals, who)
            for budget in BUDGETS:
                found[budget][row] = wanted[row] in choose_candidates(heard, unseen, budget)
        items = choose_candidates(signals, unseen, engine.budget)
        protocol = np.concatenate([wanted[row : row + 1], drawn[row]])
        for pairs, chosen in ((retrieved, items), (sampled, protocol)):
            pairs.append((chosen, engine.signals.features(signals, histories[row], chosen)))
        by_sequence = np.where(unseen, signals["sequence"], -np.inf)
        nowhere = np.zeros(len(items))
        below[row] = (
            place_among(nowhere, items, by_sequence, int(wanted[row])) if wanted[row] not in items else 0
        )
    return Collected(wanted, retrieved, sampled, below, recall)


def only(signals: UserSignals, who: str) -> UserSignals:
    """Return signals in which the sources left out have nothing to say."""
    silent = {"sequence": np.full_like(signals["sequence"], -np.inf)}
    left_out = (
        [who.removeprefix("all but ")] if who.startswith("all") else [name for name in SOURCES if name != who]
    )
    return {
        name: silent.get(name, np.zeros_like(scores)) if name in left_out else scores
        for name, scores in signals.items()
    }


def recall_table(name: str, collected: Collected) -> Table:
    """Make the table of recall."""
    table = Table(
        "source", *map(str, BUDGETS), title=f"{name}: next item among the candidates, % of users, by budget"
    )
    for who, found in collected.recall.items():
        table.add_row(who, *(interval(found[budget].astype(float)) for budget in BUDGETS))
    return table


def feature_table(name: str, collected: Collected, kind: str) -> Table:
    """Make the table of what is lost without a feature."""
    table = Table(
        "without", "NDCG@5, 20 uniform negatives", "lost", "p", "NDCG@10, catalogue", "lost", "p",
        title=f"{name}: {len(collected.wanted)} validation users, {kind} order, out of fold",
    )  # fmt: skip
    whole = out_of_fold(collected, kind, ())
    table.add_row("nothing", interval(whole[0]), "", "", interval(whole[1]), "", "")
    single = {feature: (feature,) for feature in PLAIN}
    for label, features in {**FAMILIES, **single}.items():
        less = out_of_fold(collected, kind, features)
        cells = []
        for ours, theirs in zip(whole, less, strict=True):
            test = paired_test(ours, theirs)
            lost = f"{100 * test.difference:+.2f} [{100 * test.low:+.2f}, {100 * test.high:+.2f}]"
            cells += [f"{100 * theirs.mean():.2f}", lost, f"{test.p_value:.4f}"]
        table.add_row(label, *cells)
    return table


def out_of_fold(collected: Collected, kind: str, without: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return NDCG@5 among the sampled and NDCG@10 over the catalogue, by orders that have not seen the user."""
    kept = [FEATURES.index(name) for name in PLAIN if name not in without]
    users = len(collected.wanted)
    sampled = [matrix[:, kept] for _, matrix in collected.sampled]
    retrieved = [matrix[:, kept] for _, matrix in collected.retrieved]
    fold = np.arange(users) % FOLDS
    places, over_all = np.zeros(users), np.zeros(users)
    for number in range(FOLDS):
        groups = []
        for user in np.flatnonzero(fold != number):
            items, wanted = collected.retrieved[user][0], collected.wanted[user]
            if wanted in items:
                is_next = items == wanted
                groups.append(np.concatenate([retrieved[user][is_next], retrieved[user][~is_next]]))
            groups.append(sampled[user])
        order = ORDERS[kind]().fit(groups)
        for user in np.flatnonzero(fold == number):
            scores = order.scores(sampled[user])
            places[user] = mid_ranks(scores[None, 0], scores[None, 1:])[0]
            items, wanted = collected.retrieved[user][0], int(collected.wanted[user])
            if wanted in items:
                found = order.scores(retrieved[user])
                own = found[items == wanted][0]
                over_all[user] = (found > own).sum() + 0.5 * ((found == own).sum() - 1)
            else:
                over_all[user] = collected.below[user]
    return ndcg(places, 5), ndcg(over_all, 10)
