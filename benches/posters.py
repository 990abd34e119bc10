"""What the measurements on movielens-posters share: the films, those held out, the models, and rewards by item."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from mmsrarec.backbone import Backbone, SentenceEncoder, load_projector
from mmsrarec.data import Dataset, ItemContent
from mmsrarec.evaluate.intervals import bootstrap_interval
from mmsrarec.summarize import KeywordScorer, RewardSettings
from mmsrarec.summarize.admission import own_less_others
from mmsrarec.summarize.keywords import keyword_key, words_in
from mmsrarec.summarize.rewards import rewarded_text


def parser(description: str) -> argparse.ArgumentParser:
    """Return the arguments that all of them have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument(
        "--data", type=Path, default=os.environ.get("MMSRAREC_DATA"), help="folder with movielens-posters"
    )
    made.add_argument(
        "--workdir", type=Path, default=Path("runs/q5"), help="finished and unfinished training"
    )
    made.add_argument("--projector", type=Path, help="a projector aligned on posters, as `fit` leaves it")
    made.add_argument(
        "--held-out", type=int, default=32, help="films that are measured on and not learned from"
    )
    made.add_argument("--measured", type=int, help="how many of them are measured on; all if not given")
    made.add_argument("--warm-start-items", type=int, default=160)
    made.add_argument("--seed", type=int, default=0)
    return made


def read_films(arguments: argparse.Namespace) -> tuple[list[ItemContent], list[ItemContent], list[str]]:
    """Return films to learn from, films held out, and the poster names of the latter."""
    folder = Path(arguments.data) / "movielens-posters"
    films = Dataset.from_csv(folder / "interactions.csv", folder / "items.csv", images=folder / "images")
    order = np.random.default_rng(arguments.seed).permutation(films.n_items)
    held_out, training = order[: arguments.held_out], order[arguments.held_out :]
    held_out = held_out[: arguments.measured]
    contents = [films.item_content(int(item)) for item in held_out]
    names = [content.picture.name if content.picture is not None else "-" for content in contents]
    return [films.item_content(int(item)) for item in training], contents, names


def load_models(arguments: argparse.Namespace) -> tuple[Backbone, SentenceEncoder]:
    """Load the embedded backbone, with the aligned projector if one was given."""
    backbone = Backbone.load("embedded")
    if arguments.projector is not None:
        load_projector(backbone, arguments.projector)
    return backbone, SentenceEncoder.load()


def rewards_of(
    keywords: Sequence[Sequence[str]],
    contents: Sequence[ItemContent],
    backbone: Backbone,
    encoder: SentenceEncoder,
) -> pl.DataFrame:
    """Return cosine to the text, NLL of the text, number, total reward and what is beside it, a row an item."""
    judge = KeywordScorer(backbone, encoder, RewardSettings())
    made = judge.score(
        keywords, [words_in(words) for words in keywords], [rewarded_text(content) for content in contents]
    )
    return pl.DataFrame(
        {
            "cosine": made.information.numpy(),
            "NLL": -made.reconstruction.numpy(),
            "keywords": [len(words) for words in keywords],
            "words": -made.length.numpy(),
            "total": made.total.numpy(),
            "category recall": [recall(*pair) for pair in zip(keywords, contents, strict=True)],
            "own - others": own_less_others(
                keywords, [rewarded_text(content) for content in contents], encoder
            ),
            "same words": same_words(keywords),
            "run together": [run_together(*pair) for pair in zip(keywords, contents, strict=True)],
        }
    )


def recall(keywords: Sequence[str], content: ItemContent) -> float | None:
    """Share of an item's categories that are among its keywords."""
    held = {keyword_key(keyword) for keyword in keywords}
    wanted = [keyword_key(name) for name in content.categories]
    return sum(name in held for name in wanted) / len(wanted) if wanted else None


def run_together(keywords: Sequence[str], content: ItemContent) -> bool:
    """Whether a word of the keywords is several words of the item's text without their spaces."""
    words = [word.lower() for word in re.findall(r"\w+", content.text)]
    squeezed = "".join(words)
    return any(
        word in squeezed and not any(word in one for one in words)
        for keyword in keywords
        for word in re.findall(r"\w+", keyword)
    )


def same_words(keywords: Sequence[Sequence[str]]) -> list[float]:
    """For each item the share of the others whose keywords hold the same words."""
    words = [
        frozenset(word for keyword in of_item for word in keyword_key(keyword).split())
        for of_item in keywords
    ]
    return [sum(other == own for other in words) / len(words) for own in words]


def print_means(title: str, measured: dict[str, pl.DataFrame]) -> None:
    """Print the mean of each column of each frame with its 95 % bootstrap interval over items."""
    columns = next(iter(measured.values())).columns
    table = Table("", *columns, title=title)
    for name, frame in measured.items():
        cells = []
        for column in columns:
            values = frame[column].drop_nulls().to_numpy()
            low, high = bootstrap_interval(values)
            cells.append(f"{values.mean():.3f} ({low:.3f} to {high:.3f})")
        table.add_row(name, *cells)
    Console(width=190).print(table)
