"""Asking the model about items: both prompts of each, in batches of like length, answers parsed.

Stands between the summarizer and the backbone's generation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.data import ItemContent
from mmsrarec.summarize.keywords import ParsedAnswer, merge_keywords, parse_answer
from mmsrarec.summarize.prompts import image_prompt, text_prompt

__all__ = ["ItemAnswers", "answer_items"]

_FEWEST_ITEMS = 16
_TOKENS_OF_A_PROMPT = (
    96  # with its answer; so the prompts of one kind of a batch of items are about one batch
)


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

    def merged(self, limit: int) -> tuple[str, ...]:
        """Return the item's keywords: those of both answers, merged."""
        image = self.image.keywords if self.image is not None else ()
        text = self.text.keywords if self.text is not None else ()
        return merge_keywords(image, text, limit=limit)


def answer_items(
    backbone: Backbone,
    contents: Sequence[ItemContent],
    *,
    adapter: str | None,
    text_tokens: int,
    answer_tokens: int,
    limit: int,
    alive: Callable[[], None] = lambda: None,
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
    alive
        Called when half of a batch is done, to show that the work goes on.

    Yields
    ------
    list of ItemAnswers
        One batch; every item is in exactly one.
    """
    size = max(_FEWEST_ITEMS, backbone.batch_tokens // _TOKENS_OF_A_PROMPT)
    order = sorted(range(len(contents)), key=lambda index: (-len(contents[index].text), index))
    for start in range(0, len(order), size):
        batch = [contents[index] for index in order[start : start + size]]
        asked = {
            "text": [text_prompt(content, backbone.tokenizer, text_tokens) for content in batch],
            "image": [image_prompt(content) if backbone.has_images else None for content in batch],
        }
        parsed: dict[str, list[ParsedAnswer | None]] = {}
        with backbone.adapter(adapter):
            for kind, prompts in asked.items():
                parsed[kind] = _answer_prompts(backbone, prompts, answer_tokens, limit)
                alive()
        yield [
            ItemAnswers(content, image, text)
            for content, image, text in zip(batch, parsed["image"], parsed["text"], strict=True)
        ]


def _answer_prompts(
    backbone: Backbone, prompts: Sequence[Prompt | None], answer_tokens: int, limit: int
) -> list[ParsedAnswer | None]:
    """Answer the prompts that are there, in their places."""
    written = iter(
        backbone.generate([prompt for prompt in prompts if prompt is not None], max_new_tokens=answer_tokens)
    )
    answers: list[ParsedAnswer | None] = []
    for prompt in prompts:
        if prompt is None:
            answers.append(None)
            continue
        text = next(written)
        tokens = len(backbone.tokenizer(text, add_special_tokens=False)["input_ids"])
        # An answer that ended by itself spent one of its tokens on saying so.
        answers.append(parse_answer(text, limit=limit, cut_short=tokens >= answer_tokens))
    return answers
