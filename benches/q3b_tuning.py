"""Q3b: what tuning does to p on people held out, beside popularity, paths and the sequence model.

Training users are 60 % of all, people asked come from another 30 %, never in the knowledge base: their last event
against three uniform negatives and three drawn by popularity. Keywords are extracted from the texts, without a
summarizer. What a score adds to popularity is told by a logistic model of the two, fitted on four fifths of the people
and asked about the others. Interrupted, it goes on where it was:

    python -m benches Q3b --data ../shared/data --sets P --workdir runs/q3b
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from benches.quality_data import SETS, SPLIT_SEED, Split, interval, item_vectors, load_split
from mmsrarec.backbone import Backbone, count_tokens, cut_text, supervised_tune
from mmsrarec.backbone.supervised import supervised_config
from mmsrarec.data import Histories, sample_negatives
from mmsrarec.retrieve import CoInteraction, ContextBuilder, ItemView, PathFinder, SequenceModel, SimilarUsers
from mmsrarec.summarize.targets import KeywordExtractor
from mmsrarec.summarize.warm_start import add_fresh_adapter, language_lora
from mmsrarec.tune import (
    DEFAULT_MIXTURE,
    PAPER_MIXTURE,
    Example,
    compare,
    compared_states,
    each_auc,
    fit_readout,
    last_choices,
    sample_examples,
)

KINDS = ("uniform", "popularity")
NEGATIVES = 3
UNTUNED = "p, untuned"
MIXTURES = {"compare": {"compare": 1.0}, "default": DEFAULT_MIXTURE, "paper": PAPER_MIXTURE}


def prepared(
    split: Split, backbone: Backbone, workdir: Path, *, pictures: bool
) -> tuple[ContextBuilder, SequenceModel, Histories, Histories]:
    """Return what prompts are written from, training users, and whole histories of the people asked."""
    train, people, _ = (
        part.histories() for part in split.dataset.split(by="user", ratios=(6, 3, 1), seed=SPLIT_SEED)
    )
    contents = [split.dataset.item_content(item) for item in range(split.n_items)]
    extractor = KeywordExtractor(contents)
    model = workdir / f"sequence-{split.name}"
    if not model.exists():
        SequenceModel(epochs=10, seed=0).fit(
            train, split.n_items, content=item_vectors(split), validation=people
        ).save(model)
    sequence_model = SequenceModel.load(model)
    view = ItemView(
        contents,
        [extractor.text_keywords(content) for content in contents],
        lambda text, tokens: cut_text(text, backbone.tokenizer, tokens),
        pictures=pictures,
    )
    builder = ContextBuilder(
        view,
        SimilarUsers().fit(sequence_model, train),
        count_tokens=lambda text: count_tokens(text, backbone.tokenizer),
        paths=PathFinder(CoInteraction.from_arrays(train.indptr, train.items, split.n_items)),
    )
    return builder, sequence_model, train, people.select(np.flatnonzero(people.lengths >= 2))


def question(
    builder: ContextBuilder, split: Split, train: Histories, whole: Histories
) -> tuple[np.ndarray, list[Example]]:
    """Return each person's candidates, the right one first, and the prompts that ask for them."""
    popularity = np.bincount(train.items, minlength=split.n_items)
    drawn = [
        sample_negatives(whole, n=NEGATIVES, n_items=split.n_items, by=kind, popularity=popularity)
        for kind in KINDS
    ]
    candidates = np.column_stack([[history[-1] for history in whole], *drawn])
    known = whole.without_last()
    evidence = builder.evidence(known, list(candidates))
    asked = [
        compare(context, builder.view, items.tolist(), paths)
        for context, items, paths in zip(builder.build(known), candidates, evidence, strict=True)
    ]
    return candidates, asked


def table(
    data: Path,
    *,
    sets: Sequence[str] = ("P",),
    backbone: str = "embedded",
    users: int = 300,
    people: int = 100,
    pictures: bool = True,
    adapter: int = 0,
    mixture: str = "compare",
    learning_rate: float = 2e-4,
    workdir: Path = Path("runs/q3b"),
) -> Table:
    """Fit, ask and compare."""
    measured = ("AUC", "over untuned", "beside popularity, over it alone")
    shown = Table("set", "who", *(f"{what}, {kind}" for what in measured for kind in KINDS))
    model = Backbone.load(backbone)
    for name in sets:
        split = load_split(name, data)
        builder, sequence_model, train, whole = prepared(split, model, workdir, pictures=pictures)
        whole = whole[:people]
        candidates, asked = question(builder, split, train, whole)
        known = whole.without_last()
        popularity = np.bincount(train.items, minlength=split.n_items)[candidates]
        scores = {
            "popularity": popularity,
            "bridge users": np.array(
                [[p.bridge_users for p in row] for row in builder.evidence(known, list(candidates))]
            ),
            "sequence model": sequence_model.scores(known, candidates),
            **by_readout(model, train, builder, asked, users, workdir / name),
        }
        if adapter:
            scores[f"p, adapter of {adapter} examples, {mixture}, {learning_rate:g}"] = by_adapter(
                model,
                train,
                builder,
                asked,
                adapter,
                MIXTURES[mixture],
                learning_rate,
                workdir / f"{name}-adapter",
            )
        plain, alone = per_person(scores[UNTUNED]), per_person(joined(np.log1p(popularity)))
        for who, found in scores.items():
            values = per_person(found)
            beside = joined(np.log1p(popularity), np.log1p(found) if found.dtype.kind == "i" else found)
            told = np.column_stack([values, values - plain, per_person(beside) - alone])
            written = [interval(column, 1) for column in told.T]
            if not who.startswith("p, ") or who == UNTUNED:
                written[2:4] = ["", ""]
            shown.add_row(f"{name} ({len(whole)} people)", who, *written)
    return shown


def by_readout(
    model: Backbone,
    train: Histories,
    builder: ContextBuilder,
    asked: Sequence[Example],
    users: int,
    workdir: Path,
) -> dict[str, np.ndarray]:
    """Return the log-odds of p untuned, and with readouts of a quarter, half and all of the users.

    Each is fitted at the top alone, beside the words, and at the layer that cross-validation chooses.
    """
    states, untuned = compared_states(model, asked, workdir=workdir / "people")
    examples = last_choices(train, builder, count=users, seed=0)
    learned, words = compared_states(model, examples, workdir=workdir / f"users-{users}")
    scores = {UNTUNED: untuned}
    for count in (len(examples) // 4, len(examples) // 2, len(examples)):
        for name, layers in {"top": [None], "any layer": list(learned)}.items():
            readout = fit_readout({layer: learned[layer][:count] for layer in layers}, words[:count]).readout
            layer = readout.layer if readout else None
            said = untuned if layer is None else 0.0
            added = readout(torch.from_numpy(states[layer])).numpy() if readout else 0.0
            kept = f"read after {layer or model.depth}" if readout else "not kept"
            scores[f"p, readout of {count} users, {name}: {kept}"] = said + added
    return scores


def by_adapter(
    model: Backbone,
    train: Histories,
    builder: ContextBuilder,
    asked: Sequence[Example],
    count: int,
    mixture: dict[str, float],
    learning_rate: float,
    workdir: Path,
) -> np.ndarray:
    """Tune a fresh adapter, and ask again."""
    examples = sample_examples(train, builder, count=count, mixture=mixture, seed=0)
    add_fresh_adapter(model, "rank", language_lora(model), seed=0)
    config = supervised_config(workdir, seed=0, cpu=model.device.type == "cpu")
    supervised_tune(
        model,
        "rank",
        [example.prompt for example in examples],
        [example.answer for example in examples],
        workdir=workdir,
        config=replace(config, learning_rate=learning_rate),
    )
    with model.adapter("rank"):
        return compared_states(model, asked, workdir=workdir / "people")[1]


def joined(*columns: np.ndarray) -> np.ndarray:
    """Return log-odds of a logistic model of scores (people, candidates), each person's from a model of others."""
    people, candidates = columns[0].shape
    inputs = np.column_stack([(column.ravel() - column.mean()) / column.std() for column in columns])
    right = np.tile(np.arange(candidates) == 0, people)
    model = LogisticRegression(C=100.0, class_weight="balanced")
    groups = np.repeat(np.arange(people), candidates)
    return cross_val_predict(
        model, inputs, right, groups=groups, cv=GroupKFold(5), method="decision_function"
    ).reshape(people, candidates)


def per_person(scores: np.ndarray) -> np.ndarray:
    """Return each person's share of wrong candidates below the right one, by kind of negative."""
    kinds = np.split(scores[:, 1:], len(KINDS), axis=1)
    return np.column_stack([each_auc(np.column_stack([scores[:, :1], wrong])) for wrong in kinds])


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data sets")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["P"])
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--users", type=int, default=300, help="training users the readout is fitted on")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--pictures", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--adapter", type=int, default=0, help="also tune an adapter on so many examples")
    parser.add_argument("--mixture", choices=list(MIXTURES), default="compare")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--workdir", type=Path, default=Path("runs/q3b"))
    Console(width=200).print(table(**vars(parser.parse_args(words))))


if __name__ == "__main__":
    main()
