"""Q5b: what each modality gives: text alone, picture alone, both merged, and with another film's picture.

Each prompt is asked once and the answers are merged here, whether or not the summarizer found pictures to be about
their films, so that what it decided, which is printed, can be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benches.posters import load_models, parser, print_means, read_films, rewards_of
from mmsrarec.backbone import SentenceEncoder
from mmsrarec.data import ItemContent
from mmsrarec.summarize import KeywordTable, Summarizer, merge_keywords
from mmsrarec.summarize.duplicates import NearDuplicates


def merged(
    pictures: Sequence[tuple[str, ...]],
    texts: Sequence[tuple[str, ...]],
    encoder: SentenceEncoder,
    limit: int,
) -> list[tuple[str, ...]]:
    distinct = NearDuplicates(encoder)
    lists = [
        merge_keywords(picture, text, limit=2 * limit) for picture, text in zip(pictures, texts, strict=True)
    ]
    distinct.learn(lists)
    return [distinct(words)[:limit] for words in lists]


def main(words: Sequence[str]) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--steps", type=int, default=0, help="of GRPO")
    given = arguments.parse_args(words)
    training, films, _ = read_films(given)
    backbone, encoder = load_models(given)
    summarizer = Summarizer(
        backbone=backbone,
        encoder=encoder,
        warm_start_items=given.warm_start_items,
        grpo_steps=given.steps,
    ).fit(training, workdir=given.workdir / f"steps-{given.steps}", seed=given.seed)

    def answers(contents: Sequence[ItemContent]) -> list[tuple[str, ...]]:
        return summarizer.summarize(contents, KeywordTable(None))

    text = answers([replace(film, picture=None) for film in films])
    picture = answers([ItemContent("", picture=film.picture) for film in films])
    another = picture[1:] + picture[:1]
    lists = {
        "text": text,
        "picture": picture,
        "another's picture": another,
        "both": merged(picture, text, encoder, summarizer.max_keywords),
        "both, another's picture": merged(another, text, encoder, summarizer.max_keywords),
    }
    measured = {name: rewards_of(keywords, films, backbone, encoder) for name, keywords in lists.items()}
    print_means(f"{len(films)} films held out, mean (95 % bootstrap interval)", measured)
    print(f"pictures admitted: {summarizer.images_admitted_}")
    print(f"different lists: { {name: len(set(keywords)) for name, keywords in lists.items()} }")
    return 0
