"""Q5: keywords of films not learned from: before and after GRPO, KeyBERT-style extraction, tf-idf terms.

All are judged by cosine to the text, NLL of the text given them, and number. Extraction reads the text that is judged
against, and gives as many keywords as the trained model gave for the item; the model reads title, categories and the
beginning of the description, and the picture. Training goes on where it was; ``--steps 0`` measures the warm start.
What each modality gives is Q5b.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console
from trl import GRPOConfig

from benches.posters import load_models, parser, print_means, read_films, rewards_of
from mmsrarec.backbone import SentenceEncoder
from mmsrarec.data import ItemContent
from mmsrarec.evaluate.intervals import paired_test
from mmsrarec.summarize import KeywordExtractor, KeywordTable, Summarizer
from mmsrarec.summarize.grpo import grpo_config
from mmsrarec.summarize.keywords import keyword_key
from mmsrarec.summarize.rewards import rewarded_text
from mmsrarec.summarize.targets import phrases

_DIVERSITY = 0.5


def keybert_style(encoder: SentenceEncoder, content: ItemContent, count: int) -> tuple[str, ...]:
    """Words and two-word phrases of the text by maximal marginal relevance (Grootendorst 2020; diversity 0.5)."""
    text = rewarded_text(content)
    candidates = list({keyword_key(phrase): phrase for phrase in phrases(text)}.values())
    if not candidates or not count:
        return ()
    embedded = encoder.encode([text, *candidates])
    near, among = embedded[1:] @ embedded[0], embedded[1:] @ embedded[1:].T
    chosen = [int(near.argmax())]
    while len(chosen) < min(count, len(candidates)):
        marginal = (1 - _DIVERSITY) * near - _DIVERSITY * among[:, chosen].max(axis=1)
        marginal[chosen] = -np.inf
        chosen.append(int(marginal.argmax()))
    return tuple(candidates[place] for place in chosen)


def summarized(summarizer: Summarizer, contents: Sequence[ItemContent]) -> list[tuple[str, ...]]:
    return summarizer.summarize(contents, KeywordTable(None))


def main(words: Sequence[str]) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--steps", type=int, default=10, help="of GRPO")
    arguments.add_argument(
        "--commonness", type=float, default=0.0, help="price of keywords that all answers hold"
    )
    arguments.add_argument("--early-stop-items", type=int, default=0)
    arguments.add_argument(
        "--grpo",
        type=json.loads,
        default={},
        metavar="JSON",
        help='what else than the defaults, as TRL calls it: {"learning_rate": 2e-4, "temperature": 1.0}',
    )
    arguments.add_argument("--show", type=int, default=30, help="films to print")
    given = arguments.parse_args(words)
    training, held_out, posters = read_films(given)
    backbone, encoder = load_models(given)

    def learner(warm_start_items: int, grpo: GRPOConfig | None) -> Summarizer:
        return Summarizer(
            backbone=backbone,
            encoder=encoder,
            warm_start_items=warm_start_items,
            grpo_steps=0,
            grpo=grpo,
            commonness=given.commonness,
            early_stop_items=given.early_stop_items,
        )

    # All training first, so that what was interrupted goes on without measuring again.
    warm = learner(given.warm_start_items, None).fit(
        training, workdir=given.workdir / "warm_start", seed=given.seed
    )
    reinforced = warm
    if given.steps:
        other = "".join(f"-{name}={value:g}" for name, value in sorted(given.grpo.items()))
        run = given.workdir / f"grpo-{given.steps}{other}-{given.commonness:g}-{given.early_stop_items}"
        usual = grpo_config(run, steps=given.steps, answer_tokens=24, seed=given.seed, cpu=True)
        config = replace(usual, **given.grpo, generation_batch_size=None)
        reinforced = learner(0, config).fit(training, workdir=run, seed=given.seed, start=warm)
    after = summarized(reinforced, held_out)
    if given.steps:
        # Found again, and put in the place of the other on the backbone.
        warm = warm.fit(training, workdir=given.workdir / "warm_start", seed=given.seed)
    before = summarized(warm, held_out)
    lists: dict[str, Sequence[tuple[str, ...]]] = {"before GRPO": before, "after GRPO": after}
    counts = [len(keywords) for keywords in after]
    terms = KeywordExtractor(training + held_out, limit=max(counts), categories=0)
    sized = list(zip(held_out, counts, strict=True))
    lists["KeyBERT-style"] = [keybert_style(encoder, content, count) for content, count in sized]
    lists["tf-idf"] = [terms.text_keywords(content)[:count] for content, count in sized]
    measured = {name: rewards_of(words, held_out, backbone, encoder) for name, words in lists.items()}
    print_means(f"{len(held_out)} films held out, mean (95 % bootstrap interval)", measured)
    console = Console(width=190)
    for name in ("before GRPO", "KeyBERT-style", "tf-idf"):
        test = paired_test(measured["after GRPO"]["total"], measured[name]["total"])
        console.print(
            f"total, after GRPO - {name}: {test.difference:+.3f} "
            f"({test.low:+.3f} to {test.high:+.3f}), p = {test.p_value:.4f}"
        )
    shown = np.sort(np.random.default_rng(given.seed).permutation(len(held_out))[: given.show])
    for place in shown:
        console.print(
            f"{posters[place]}  {held_out[place].title}\n    before: {', '.join(before[place])}\n"
            f"    after:  {', '.join(after[place])}",
            markup=False,
            highlight=False,
        )
    return 0
