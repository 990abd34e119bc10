"""Q5b: what each modality gives: text alone, picture alone, both, and both with another film's picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benches.posters import load_models, parser, print_means, read_films, rewards_of
from mmsrarec.data import ItemContent
from mmsrarec.summarize import KeywordTable, Summarizer


def main(words: Sequence[str]) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--steps", type=int, default=0, help="of GRPO")
    given = arguments.parse_args(words)
    training, held_out, _ = read_films(given)
    backbone, encoder = load_models(given)
    summarizer = Summarizer(
        backbone=backbone,
        encoder=encoder,
        warm_start_items=given.warm_start_items,
        grpo_steps=given.steps,
    ).fit(training, workdir=given.workdir / f"steps-{given.steps}", seed=given.seed)
    pictures = [content.picture for content in held_out]
    shown = {
        "text": [replace(content, picture=None) for content in held_out],
        "picture": [ItemContent("", picture=picture) for picture in pictures],
        "both": held_out,
        "both, another's picture": [
            replace(content, picture=picture)
            for content, picture in zip(held_out, pictures[1:] + pictures[:1], strict=True)
        ],
        "another's picture": [ItemContent("", picture=picture) for picture in pictures[1:] + pictures[:1]],
    }
    measured = {
        name: rewards_of(summarizer.summarize(contents, KeywordTable(None)), held_out, backbone, encoder)
        for name, contents in shown.items()
    }
    print_means(f"{len(held_out)} films held out, mean (95 % bootstrap interval)", measured)
    return 0
