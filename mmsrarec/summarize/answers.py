"""Asking the model about items: both prompts of each, in batches of like length, answers parsed.

Stands between the summarizer and the backbone's generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmsrarec.backbone import Backbone
from mmsrarec.data import ItemContent
from mmsrarec.summarize.keywords import ParsedAnswer, parse_answer
from mmsrarec.summarize.prompts import image_prompt, text_prompt

__all__ = ["ItemAnswers", "answer_items"]

_FEWEST_ITEMS = 16
_TOKENS_AN_ITEM = 192  # both prompts with their answers, generously


@dataclass(frozen=True)
class ItemAnswers:
    """What the model answered about one item.

    Attributes
    ----------
    content
        The item.
    image, text
        The answer to each prompt; ``None`` where the item lacks the modality.
    """

    content: ItemContent
    image: ParsedAnswer | None
    text: ParsedAnswer | None

    @property
    def answers(self) -> tuple[ParsedAnswer, ...]:
        """The answers there are."""
        return tuple(answer for answer in (self.image, self.text) if answer is not None)


def answer_items(
    backbone: Backbone,
    contents: Sequence[ItemContent],
    *,
    adapter: str | None,
    text_tokens: int,
    answer_tokens: int,
    limit: int,
) -> Iterator[list[ItemAnswers]]:
    """Ask about items, a batch at a time.

    Items of like length come together, longest first, so that batches hold little padding and the time left
    is overestimated rather than under.

    Parameters
    ----------
    backbone
        The model.
    contents
        The items.
    adapter
        Adapter to use; ``None`` is the base model.
    text_tokens
        Budget of an item's text.
    answer_tokens
        Longest answer.
    limit
        Most keywords of an answer.

    Yields
    ------
    list of ItemAnswers
        One batch; every item is in exactly one.
    """
    size = max(_FEWEST_ITEMS, backbone.batch_tokens // _TOKENS_AN_ITEM)
    order = sorted(range(len(contents)), key=lambda index: (-len(contents[index].text), index))
    for start in range(0, len(order), size):
        batch = [contents[index] for index in order[start : start + size]]
        yield _answer_batch(backbone, batch, adapter, text_tokens, answer_tokens, limit)


def _answer_batch(
    backbone: Backbone,
    batch: Sequence[ItemContent],
    adapter: str | None,
    text_tokens: int,
    answer_tokens: int,
    limit: int,
) -> list[ItemAnswers]:
    asked = [
        (index, kind, prompt)
        for index, content in enumerate(batch)
        for kind, prompt in (
            ("text", text_prompt(content, backbone.tokenizer, text_tokens)),
            ("image", image_prompt(content) if backbone.has_images else None),
        )
        if prompt is not None
    ]
    with backbone.adapter(adapter):
        written = backbone.generate([prompt for _, _, prompt in asked], max_new_tokens=answer_tokens)
    parsed: dict[tuple[int, str], ParsedAnswer] = {}
    for (index, kind, _), text in zip(asked, written, strict=True):
        tokens = len(backbone.tokenizer(text, add_special_tokens=False)["input_ids"])
        # An answer that ended by itself spent one of its tokens on saying so.
        parsed[index, kind] = parse_answer(text, limit=limit, cut_short=tokens >= answer_tokens)
    return [
        ItemAnswers(content, parsed.get((index, "image")), parsed.get((index, "text")))
        for index, content in enumerate(batch)
    ]
