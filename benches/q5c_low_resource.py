"""Q5c: a summarizer learned on a generated shop, then on few films: keywords of films not learned from.

The same is done from a fresh adapter, so that what the shop gave can be seen. Only the supervised warm start, once over
the films of each size; ``--views`` above 1 adds other views of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from benches.posters import load_models, parser, print_means, read_films, rewards_of
from mmsrarec.data import make_catalogue
from mmsrarec.evaluate.intervals import bootstrap_interval
from mmsrarec.report import write_report
from mmsrarec.summarize import KeywordTable, Summarizer


def main(words: Sequence[str]) -> int:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--sizes", type=int, nargs="+", default=[0, 50, 200, 1000], help="films learned from"
    )
    arguments.add_argument("--shop-items", type=int, default=200, help="generated items learned from before")
    arguments.add_argument("--views", type=int, default=1, help="how often each film is seen")
    given = arguments.parse_args(words)
    training, held_out, _ = read_films(given)
    backbone, encoder = load_models(given)
    shop = make_catalogue(given.shop_items, 20, given.seed, folder=given.workdir / "shop")

    def learner(items: int) -> Summarizer:
        return Summarizer(
            backbone=backbone,
            encoder=encoder,
            warm_start_items=items,
            grpo_steps=0,
            warm_start_views=given.views,
        )

    general = learner(given.shop_items).fit(
        [shop.item_content(item) for item in range(shop.n_items)],
        workdir=given.workdir / "shop-run",
        seed=given.seed,
    )
    measured = {}
    for name, start in (("shop", True), ("fresh", False)):
        for size in given.sizes:
            if size:
                made = learner(size).fit(
                    training[:size],
                    workdir=given.workdir / f"{name}-{size}",
                    seed=given.seed,
                    start=general if start else None,
                )
            elif start:
                made = general
            else:
                made = Summarizer(backbone=backbone, encoder=encoder, warm_start_items=0, grpo_steps=0)
            keywords = made.summarize(held_out, KeywordTable(None))
            measured[f"{name}, then {size} films"] = rewards_of(keywords, held_out, backbone, encoder)
    print_means(f"{len(held_out)} films held out, mean (95 % bootstrap interval)", measured)
    curves = {
        f"{name}: {column}": [
            (size, float(measured[f"{name}, then {size} films"][column].mean())) for size in given.sizes
        ]
        for name in ("shop", "fresh")
        for column in ("cosine", "NLL")
    }
    intervals = {name: bootstrap_interval(frame["cosine"].to_numpy()) for name, frame in measured.items()}
    facts = {name: f"cosine {low:.3f} to {high:.3f}" for name, (low, high) in intervals.items()}
    path = write_report(given.workdir / "low_resource.html", title="Few films", facts=facts, curves=curves)
    print(f"drawn in {path}")
    return 0
