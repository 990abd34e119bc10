"""``mmsrarec fit``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from mmsrarec.cli.data_files import read_data
from mmsrarec.cli.held_out import save_held_out
from mmsrarec.cli.options import Columns, Device, Preset, Seed, Split, Strict, Verbose
from mmsrarec.cli.output import print_table, say
from mmsrarec.errors import InputError

if TYPE_CHECKING:
    from mmsrarec.data import Dataset
    from mmsrarec.recommender import Recommender

Stage = TypeVar("Stage")

__all__ = ["fit", "fit_and_save", "split_data", "stage_order"]


def fit(
    workdir: Annotated[
        Path, typer.Option(help="Folder for finished and unfinished stages, and the log.", show_default=False)
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with interactions.csv, items.csv and images/.", show_default=False),
    ] = None,
    interactions: Annotated[
        Path | None, typer.Option(help="Table of user_id, item_id, timestamp.", show_default=False)
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Table of item_id, title, description, categories, image.", show_default=False),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures.", show_default=False)] = None,
    column: Columns = None,
    strict: Strict = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to save the model; WORKDIR/model by default.", show_default=False),
    ] = None,
    preset: Annotated[Preset, typer.Option(help="How much work: demo, quick or default.")] = Preset.DEFAULT,
    backbone: Annotated[
        str, typer.Option(help="embedded, or a hub id or folder of a multimodal language model.")
    ] = "embedded",
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Sentence encoder: embedded, a hub id or a folder; goes with the backbone by default.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        Split, typer.Option(help="What is held out: a tenth of the users, or each user's last event.")
    ] = Split.USER,
    history: Annotated[int, typer.Option(help="Most recent items shown to the model.")] = 5,
    similar_users: Annotated[int, typer.Option(help="Similar users whose next items are shown.")] = 3,
    max_keywords: Annotated[int, typer.Option(help="Keywords an item.")] = 8,
    workers: Annotated[int, typer.Option(help="Processes that summarize the catalogue.")] = 1,
    seed: Seed = 0,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Learn from a catalogue and its interactions."""
    dataset = read_data(data, interactions, items, images, column or [], strict)
    say(f"read {dataset.n_interactions:,} events of {dataset.n_users:,} users with {dataset.n_items:,} items")
    train, validation, test = split_data(dataset, split, seed)
    save_held_out(test, workdir, split.value, seed)

    say(f"loading {backbone}")
    from mmsrarec.recommender import Recommender

    recommender = Recommender(
        backbone=backbone,
        encoder=encoder,
        preset=preset.value,
        history=history,
        similar_users=similar_users,
        max_keywords=max_keywords,
        workers=workers,
        device=device,
        seed=seed,
    )
    folder = out or workdir / "model"
    fit_and_save(recommender, train, validation, workdir, folder)
    user = train.user_ids[0]
    say(f"saved in {folder}; go on with:")
    say(f"  mmsrarec recommend {folder} --user {user}")
    say(f"  mmsrarec evaluate {folder} --workdir {workdir}")


def split_data(data: Dataset, split: Split, seed: int) -> tuple[Dataset, Dataset | None, Dataset]:
    """Divide a data set into what is learned from and whole histories to be judged on.

    Returns
    -------
    train : Dataset
        What is learned from.
    validation : Dataset or None
        Other users; ``None`` leaves the choice to the fit.
    test : Dataset
        Whole histories; the last event of each is not in `train`.

    Raises
    ------
    InputError
        If there are too few users.
    """
    if split is Split.USER:
        if data.n_users < 3:
            raise InputError(
                f"--split user needs 3 users or more, got {data.n_users}; give more data, or --split last."
            )
        return data.split(by="user", ratios=(8, 1, 1), seed=seed)
    train, _ = data.hold_out_last(1)
    return train, None, data


def fit_and_save(
    recommender: Recommender, train: Dataset, validation: Dataset | None, workdir: Path, folder: Path
) -> None:
    """Fit, save, and print what each stage cost."""
    recommender.fit(train, validation=validation, workdir=workdir)
    recommender.save(folder)
    made = set(recommender.stages_made_)
    rows = [
        (name, times["seconds"], times["peak_memory_mebibytes"], "made now" if name in made else "kept")
        for name, times in stage_order(recommender.timings_)
    ]
    print_table(
        [("stage", False), ("seconds", True), ("peak memory, MiB", True), ("", False)],
        [(name, f"{seconds:.1f}", f"{memory:.0f}", what) for name, seconds, memory, what in rows],
    )


def stage_order(timings: Mapping[str, Stage]) -> list[tuple[str, Stage]]:
    """Put what is known of each stage of a workspace in the order in which a fit runs them.

    Examples
    --------
    >>> [name for name, _ in stage_order({"blend": {}, "keywords": {}, "summarizer": {}})]
    ['summarizer', 'keywords', 'blend']
    """
    order = [
        "alignment", "summarizer", "keywords", "item_vectors", "sequence_model", "similar_users", "ranker", "blend",
    ]  # fmt: skip
    places = {name: place for place, name in enumerate(order)}
    return sorted(timings.items(), key=lambda pair: places.get(pair[0], len(order)))
