"""Asking the model about items: both prompts of each, in batches of like length, answers parsed.

Stands between the summarizer and the backbone's generation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from mmsrarec.backbone import Backbone
from mmsrarec.backbone.packed_weights import packed_weights
from mmsrarec.data import ItemContent
from mmsrarec.summarize.constraint import KeywordRule
from mmsrarec.summarize.keywords import ParsedAnswer, merge_keywords, parse_answer
from mmsrarec.summarize.prompts import image_prompt, text_prompt

__all__ = ["AnswersSoFar", "AskBatch", "ItemAnswers", "asking", "items_of_a_batch", "longest_first"]

_FEWEST_ITEMS = 16
_TOKENS_OF_A_PROMPT = (
    96  # with its answer; so the prompts of one kind of a batch of items are about one batch
)


@dataclass(frozen=True)
class AnswersSoFar:
    """What was answered of a batch before it was interrupted, and who is told of each new answer.

    Attributes
    ----------
    known
        Answers as they were written, by the key of the item's content and the prompt, ``"text"`` or ``"image"``.
    keep
        Called with key, prompt and answer as soon as an answer is whole.
    """

    known: Mapping[tuple[str, str], str] = field(default_factory=dict)
    keep: Callable[[str, str, str], None] = lambda key, prompt, answer: None


class AskBatch(Protocol):
    """Asks about the items of one batch."""

    def __call__(self, batch: Sequence[ItemContent], so_far: AnswersSoFar = ..., /) -> list[ItemAnswers]:
        """Return the answers about each item, in order; what is known already is not asked again."""


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

    def merged(self, limit: int, *, images_admitted: bool) -> tuple[str, ...]:
        """Return the item's keywords: those of both answers, merged, or the text's where images are not admitted."""
        heard = self.image is not None and (images_admitted or self.text is None)
        image = self.image.keywords if self.image is not None and heard else ()
        text = self.text.keywords if self.text is not None else ()
        return merge_keywords(image, text, limit=limit)


def longest_first(contents: Sequence[ItemContent]) -> list[ItemContent]:
    """Order items so that batches hold little padding and the time left is overestimated rather than under."""
    order = sorted(range(len(contents)), key=lambda index: (-len(contents[index].text), index))
    return [contents[index] for index in order]


def items_of_a_batch(backbone: Backbone) -> int:
    """Return how many items to ask about at once: their prompts of one kind are about one pass of the model."""
    return max(_FEWEST_ITEMS, backbone.batch_tokens // _TOKENS_OF_A_PROMPT)


@contextmanager
def asking(
    backbone: Backbone,
    *,
    adapter: str | None,
    text_tokens: int,
    answer_tokens: int,
    limit: int,
    images_admitted: bool = True,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[AskBatch]:
    """Get the model ready to be asked about many items.

    Answers keep :class:`~mmsrarec.summarize.constraint.KeywordRule`, and the weights are laid out for speed
    (:func:`~mmsrarec.backbone.packed_weights.packed_weights`) as long as the block lasts.

    Parameters
    ----------
    backbone
        The model.
    adapter
        Adapter to use; ``None`` is the base model.
    text_tokens
        Budget of an item's text.
    answer_tokens
        Longest answer.
    limit
        Most keywords of an answer.
    images_admitted
        ``False`` asks about the picture only of items without a text.
    alive
        Called with each answer, to show that the work goes on.

    Yields
    ------
    callable
        From the items of one batch to their answers, in order.
    """
    rule = KeywordRule(backbone.tokenizer, backbone.stop_ids, limit=limit)

    def ask(batch: Sequence[ItemContent], so_far: AnswersSoFar = AnswersSoFar(), /) -> list[ItemAnswers]:
        prompts = {}
        for content in batch:
            text = text_prompt(content, backbone.tokenizer, text_tokens)
            if text is not None:
                prompts[content.key, "text"] = text
            image = image_prompt(content) if backbone.has_images else None
            if image is not None and (images_admitted or text is None):
                prompts[content.key, "image"] = image
        written = {place: so_far.known[place] for place in prompts if place in so_far.known}
        places = [place for place in prompts if place not in written]

        def keep(number: int, answer: str) -> None:
            written[places[number]] = answer
            so_far.keep(*places[number], answer)
            alive()

        asked = [prompts[place] for place in places]
        backbone.generate(asked, max_new_tokens=answer_tokens, rule=rule, answered=keep)
        read = {place: _read(backbone, answer, answer_tokens, limit) for place, answer in written.items()}
        return [
            ItemAnswers(content, read.get((content.key, "image")), read.get((content.key, "text")))
            for content in batch
        ]

    with backbone.adapter(adapter), packed_weights(backbone):
        yield ask


def _read(backbone: Backbone, text: str, answer_tokens: int, limit: int) -> ParsedAnswer:
    tokens = len(backbone.tokenizer(text, add_special_tokens=False)["input_ids"])
    # An answer that ended by itself spent one of its tokens on saying so.
    return parse_answer(text, limit=limit, cut_short=tokens >= answer_tokens)
