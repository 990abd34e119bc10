"""``mmsrarec demo``: the whole path on a generated shop, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsrarec.cli.asking import recommendation_frame
from mmsrarec.cli.fitting import fit_and_save, split_data
from mmsrarec.cli.held_out import save_held_out
from mmsrarec.cli.judging import save_evaluation, write_run_report
from mmsrarec.cli.options import OutputFormat, Seed, Split, Verbose
from mmsrarec.cli.output import print_frame, print_rich, print_table, say, section

if TYPE_CHECKING:
    import polars as pl

    from mmsrarec.recommender import Recommender

__all__ = ["demo", "most_matches"]

# With fewer users there is too little to learn a taste from, and popularity is hard to beat.
_ITEMS, _USERS = 60, 600
_USERS_EVALUATED = 8
_KEYWORDS_SHOWN = 5


def demo(
    workdir: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path(
        "runs/demo"
    ),
    backbone: Annotated[
        str, typer.Option(help="embedded, or a hub id or folder of a multimodal language model.")
    ] = "embedded",
    seed: Seed = 0,
    verbose: Verbose = False,
) -> None:
    """Show the whole path on a generated shop."""
    section("1  A generated shop, whose pictures show what its words do not")
    from mmsrarec.data import make_catalogue

    data = make_catalogue(items=_ITEMS, users=_USERS, seed=seed, folder=workdir / "shop")
    say(
        f"{data.n_items} items with pictures in {workdir / 'shop'}, {data.n_users} users, {data.n_interactions} events"
    )
    train, validation, test = split_data(data, Split.USER, seed)
    save_held_out(test, workdir, Split.USER.value, seed)

    section("2  Fit: keywords, similar users, a language model that learns when to say yes")
    from mmsrarec.recommender import Recommender

    recommender = Recommender(backbone=backbone, preset="demo", seed=seed)
    fit_and_save(recommender, train, validation, workdir, workdir / "model")

    section("3  What the model calls the items")
    _print_keywords(recommender)

    section("4  Recommendations")
    users = train.user_ids[:2].to_list()
    recommended = recommendation_frame(recommender, recommender.recommend(users, k=5))
    print_frame(recommended, OutputFormat.TABLE)

    section("5  Why one of them")
    explanation = recommender.explain(*most_matches(recommender, recommended))
    typer.echo(str(explanation))
    explanation.to_html(workdir / "explanation.html")

    section("6  How good it is, on users it has never seen")
    from mmsrarec.evaluate import evaluate_recommender

    table = evaluate_recommender(recommender, test, users=_USERS_EVALUATED, seed=seed)
    print_rich(table)

    section("7  The pages")
    save_evaluation(table, workdir)
    write_run_report(recommender, workdir, workdir / "report.html", users, k=5, evaluation=table)
    say(f"explanation: {workdir / 'explanation.html'}")
    say(f"report:      {workdir / 'report.html'}")


def most_matches(recommender: Recommender, recommended: pl.DataFrame) -> tuple[Any, Any]:
    """Choose the recommendation whose keywords occur most often in the latest history of its user."""
    from mmsrarec.explain import keywords_match

    parts = recommender.parts_
    keywords = parts.retrieval.keywords

    def matches(row: tuple[Any, Any]) -> int:
        history = parts.users.histories[parts.users.find([row[0]])[0]][-recommender.history :]
        own = keywords[parts.catalogue.item_index([row[1]])[0]]
        return sum(keywords_match(one, other) for one in own for item in history for other in keywords[item])

    return max(recommended.select("user_id", "item_id").rows(), key=matches)


def _print_keywords(recommender: Recommender) -> None:
    parts = recommender.parts_
    view = parts.retrieval.view
    print_table(
        [("item", False), ("title", False), ("keywords", False)],
        [
            (parts.catalogue.item_ids[item], view.contents[item].title, ", ".join(view.keywords(item)))
            for item in range(min(_KEYWORDS_SHOWN, parts.catalogue.n_items))
        ],
    )
