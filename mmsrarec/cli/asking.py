"""``mmsrarec predict``, ``recommend``, ``explain`` and ``search``: questions to a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsrarec.cli.ids import item_ids, user_ids
from mmsrarec.cli.options import (
    At,
    Backbone,
    Device,
    Format,
    HistoryItems,
    Images,
    Model,
    OutputFormat,
    Users,
    Verbose,
)
from mmsrarec.cli.output import print_frame, say
from mmsrarec.errors import InputError
from mmsrarec.progress import console

if TYPE_CHECKING:
    import polars as pl

    from mmsrarec.recommender import Recommender

__all__ = ["explain", "load_model", "predict", "recommend", "recommendation_frame", "search"]

Allowed = Annotated[
    list[str] | None,
    typer.Option("--allow", help="Item id that alone may be recommended.", show_default=False),
]
NotAsked = Annotated[
    bool,
    typer.Option(
        "--no-language-model",
        help="Do not load or ask the language model; go by what it taught when the model was fitted, in real time.",
    ),
]
Blocked = Annotated[
    list[str] | None, typer.Option("--block", help="Item id that may not be recommended.", show_default=False)
]


def load_model(
    model: Path,
    backbone: str | None,
    images: Path | None,
    device: str | None,
    encoder: str | None = None,
    *,
    language_model: bool = True,
) -> Recommender:
    """Read a saved model, showing that it takes a moment."""
    from mmsrarec.storage import read_artefact

    # The manifest is looked at first: a wrong folder is then named before seconds of imports.
    read_artefact(model, "recommender", verify=False)
    with console.status("loading the model"):
        from mmsrarec.recommender import Recommender

        return Recommender.load(
            model,
            backbone=backbone,
            encoder=encoder,
            images=images,
            device=device,
            language_model=language_model,
        )


def recommend(
    model: Model,
    user: Users = None,
    history: HistoryItems = None,
    k: Annotated[int, typer.Option("-k", "--top", help="Recommendations a user.")] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Recommend what the person has taken already, too.")
    ] = False,
    allow: Allowed = None,
    block: Blocked = None,
    at: At = None,
    no_language_model: NotAsked = False,
    format: Format = OutputFormat.TABLE,
    backbone: Backbone = None,
    images: Images = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Recommend items out of the whole catalogue."""
    _one_of(user, history, at)
    recommender = load_model(model, backbone, images, device, language_model=not no_language_model)
    arguments: dict[str, Any] = {
        "k": k, "exclude_seen": not include_seen, "at": at, "language_model": not no_language_model
    }  # fmt: skip
    for option, words in (("allow", allow), ("block", block)):
        arguments[option] = None if words is None else item_ids(recommender, words, f"--{option}")
    if history is not None:
        arguments["histories"] = [item_ids(recommender, history, "--history")]
    else:
        arguments["users"] = user_ids(recommender, user or [])
    print_frame(recommendation_frame(recommender, recommender.recommend(**arguments)), format)


def recommendation_frame(recommender: Recommender, recommended: Any) -> pl.DataFrame:
    """Put titles and keywords beside recommended ids."""
    import narwhals as nw
    import polars as pl

    frame = nw.from_native(recommended, eager_only=True).to_polars()
    catalogue = recommender.parts_.catalogue
    rows = catalogue.item_index(frame["item_id"])
    keywords = recommender.parts_.retrieval.keywords
    return frame.with_columns(
        title=catalogue.items["title"].gather(rows),
        keywords=pl.Series([", ".join(keywords[row]) for row in rows], dtype=pl.String),
    )


def predict(
    model: Model,
    user: Annotated[str | None, typer.Option("--user", "-u", help="User id.", show_default=False)] = None,
    history: HistoryItems = None,
    item: Annotated[
        list[str] | None,
        typer.Option("--item", "-i", help="Item id; give it again for more.", show_default=False),
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Instead: a CSV file with user_id and item_id.", show_default=False)
    ] = None,
    at: At = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write CSV here instead of printing.", show_default=False),
    ] = None,
    format: Format = OutputFormat.TABLE,
    backbone: Backbone = None,
    images: Images = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Print the probability that an item is a person's next one."""
    import polars as pl

    if pairs is not None and (user or history or item):
        raise InputError("give either --pairs, or --item with --user or --history.")
    if pairs is None:
        _one_of(user, history, at)
        if not item:
            raise InputError("give --item ID, once or more.")
    table = None if pairs is None else _read_pairs(pairs)
    recommender = load_model(model, backbone, images, device)
    if table is not None:
        users, items = user_ids(recommender, table["user_id"]), item_ids(recommender, table["item_id"])
        frame = pl.DataFrame({"user_id": users, "item_id": items})
        probability = recommender.predict(users=users, items=items, at=at)
    else:
        items = item_ids(recommender, item or [])
        frame = pl.DataFrame({"item_id": items})
        if history is not None:
            probability = recommender.predict(
                histories=[item_ids(recommender, history, "--history")], items=[items]
            )[0]
        else:
            known = user_ids(recommender, [user or ""])
            frame = frame.select(pl.lit(known[0]).alias("user_id"), "item_id")
            probability = recommender.predict(users=known * len(items), items=items, at=at)
    frame = frame.with_columns(probability=pl.Series(probability, dtype=pl.Float32))
    if output is None:
        print_frame(frame, format)
        return
    from mmsrarec.storage import atomic_path

    with atomic_path(output) as temporary:
        frame.write_csv(temporary)
    say(f"{len(frame):,} probabilities are in {output}")


def _read_pairs(path: Path) -> dict[str, list[str]]:
    import polars as pl

    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"--pairs {path} cannot be read as CSV: {str(error).splitlines()[0]}") from error
    missing = [name for name in ("user_id", "item_id") if name not in frame.columns]
    if missing:
        raise InputError(
            f"--pairs {path} must have the columns user_id and item_id, got {', '.join(frame.columns)}."
        )
    empty = frame.select(pl.any_horizontal(pl.col("user_id", "item_id").is_null())).to_series().arg_true()
    if len(empty):
        raise InputError(f"--pairs {path} has no user_id or no item_id in row {empty[0] + 1}.")
    return {name: frame[name].to_list() for name in ("user_id", "item_id")}


def explain(
    model: Model,
    user: Annotated[str | None, typer.Option("--user", "-u", help="User id.", show_default=False)] = None,
    history: HistoryItems = None,
    item: Annotated[
        str | None,
        typer.Option(
            "--item", "-i", help="Item id; the first recommendation by default.", show_default=False
        ),
    ] = None,
    at: At = None,
    no_language_model: NotAsked = False,
    html: Annotated[Path | None, typer.Option(help="Write it as one page, too.", show_default=False)] = None,
    backbone: Backbone = None,
    images: Images = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Say why an item stands where it stands for a person."""
    _one_of(user, history, at)
    asking = not no_language_model
    recommender = load_model(model, backbone, images, device, language_model=asking)
    wanted = None if item is None else item_ids(recommender, [item])[0]
    if history is not None:
        taken = item_ids(recommender, history, "--history")
        explanation = recommender.explain(item=wanted, history=taken, language_model=asking)
    else:
        known = user_ids(recommender, [user or ""])[0]
        explanation = recommender.explain(known, wanted, at=at, language_model=asking)
    typer.echo(str(explanation))
    if html is not None:
        explanation.to_html(html)
        say(f"the page is {html}")


def search(
    model: Model,
    text: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    k: Annotated[int, typer.Option("-k", "--top", help="At most this many items.")] = 20,
    format: Format = OutputFormat.TABLE,
    backbone: Backbone = None,
    images: Images = None,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Find items by words."""
    import narwhals as nw

    recommender = load_model(model, backbone, images, device, language_model=False)
    found = nw.from_native(recommender.search(text, k), eager_only=True).to_polars()
    if not len(found) and format is OutputFormat.TABLE:
        say("no item shares a word with that; try other words")
        return
    print_frame(found, format)


def _one_of(user: object, history: object, at: str | None) -> None:
    if bool(user) == bool(history):
        raise InputError("give either --user ID, or --history with the item ids of an unknown person.")
    if history and at is not None:
        raise InputError(f"--at {at} says nothing beside --history, whose times are not known; give --user.")
