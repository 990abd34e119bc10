"""How keywords are written once there is nothing left to learn: items are asked about, answers become rows.

Stands between :class:`~mmsrarec.summarize.Summarizer`, which trains, saves and loads, and the parts that ask
(``answers``), merge (``duplicates``), keep (``catalogue``) and measure (``evaluation``).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import ItemContent
from mmsrarec.progress import Ticker, ticker
from mmsrarec.storage import fingerprint
from mmsrarec.summarize.answers import AskBatch, ItemAnswers, asking, items_of_a_batch, longest_first
from mmsrarec.summarize.catalogue import fill_table
from mmsrarec.summarize.constraint import KeywordRule
from mmsrarec.summarize.duplicates import NearDuplicates
from mmsrarec.summarize.evaluation import measure_items
from mmsrarec.summarize.prompts import template_fingerprint
from mmsrarec.summarize.rewards import KeywordScorer
from mmsrarec.summarize.table import KeywordRow, KeywordTable

__all__ = ["KeywordWriter"]


@dataclass
class KeywordWriter:
    """Asks about items and turns answers into keywords.

    Attributes
    ----------
    backbone, encoder
        The language model, and the encoder that tells near-duplicates.
    adapter
        The adapter that learned to write them; ``None`` is the base model.
    max_keywords, text_tokens, answer_tokens
        As of :class:`~mmsrarec.summarize.Summarizer`.
    images_admitted
        ``False`` asks about the picture only of items without a text.
    """

    backbone: Backbone
    encoder: SentenceEncoder | None
    adapter: str | None
    max_keywords: int
    text_tokens: int
    answer_tokens: int
    images_admitted: bool
    _fingerprinted: tuple[int | None, str] = field(default=(None, ""), init=False, repr=False)

    @property
    def settings(self) -> list[Any]:
        """What decides an item's keywords beside the adapter and whether images are admitted, for fingerprints."""
        return [
            template_fingerprint(),
            KeywordRule.VERSION,
            self.backbone.fingerprint,
            None if self.encoder is None else self.encoder.fingerprint,
            self.max_keywords,
            self.text_tokens,
            self.answer_tokens,
        ]

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides an item's keywords; counted again only when a weight has changed."""
        weights = self.backbone.model.parameters()
        encoder = None if self.encoder is None else self.encoder.fingerprint
        version = hash((encoder, *((weight.data_ptr(), weight._version) for weight in weights)))
        if version != self._fingerprinted[0]:
            self._fingerprinted = version, self._make_fingerprint()
        return self._fingerprinted[1]

    def _make_fingerprint(self) -> str:
        weights = {} if self.adapter is None else self.backbone.adapter_weights(self.adapter)
        return fingerprint(self.settings, weights, self.images_admitted)

    def fill(
        self,
        contents: Sequence[ItemContent],
        table: KeywordTable,
        *,
        made_by: str,
        progress: str,
    ) -> None:
        """Write the rows of items that have none.

        Parameters
        ----------
        contents
            The items, each content once.
        table
            Where the rows go.
        made_by
            Under which fingerprint.
        progress
            What to call the work on the progress bar.
        """
        with (
            ticker(progress, len(contents)) as shown,
            self._asking(self.adapter, shown, images_admitted=self.images_admitted) as ask,
        ):
            fill_table(
                ask,
                self._rows,
                contents,
                table,
                made_by=made_by,
                batch_items=items_of_a_batch(self.backbone),
                progress=shown,
            )

    def measure(
        self, contents: Sequence[ItemContent], scorer: KeywordScorer, *, adapter: str | None, progress: str
    ) -> list[dict[str, float | str]]:
        """Ask both prompts about items with a text, and measure the answers and what they merge into.

        Parameters
        ----------
        contents
            The items, 1 or more.
        scorer
            Computes the rewards.
        adapter
            The adapter of a step of training; ``None`` is the base model.
        progress
            What to call the work on the progress bar.

        Returns
        -------
        list of dict
            As :func:`~mmsrarec.summarize.evaluation.measure_items` returns them.
        """
        ordered = longest_first(contents)
        size = items_of_a_batch(self.backbone)
        items: list[ItemAnswers] = []
        with (
            ticker(progress, len(ordered)) as shown,
            self._asking(adapter, shown, images_admitted=True) as ask,
        ):
            for start in range(0, len(ordered), size):
                items += ask(ordered[start : start + size])
                shown.advance(len(items) - start)
        return measure_items(items, scorer, merge=self._merged)

    def _asking(
        self, adapter: str | None, shown: Ticker, *, images_admitted: bool
    ) -> AbstractContextManager[AskBatch]:
        return asking(
            self.backbone,
            adapter=adapter,
            text_tokens=self.text_tokens,
            answer_tokens=self.answer_tokens,
            limit=self.max_keywords,
            images_admitted=images_admitted,
            alive=partial(shown.advance, 0),
        )

    @cached_property
    def _distinct(self) -> NearDuplicates:
        return NearDuplicates(self.encoder)

    def _merged(self, items: Sequence[ItemAnswers]) -> list[tuple[str, ...]]:
        """Return the keywords of each item: both answers merged, near-duplicates dropped, cut to the limit."""
        # Merged without a limit first: what a near-duplicate leaves free goes to the next keyword.
        merged = [item.merged(2 * self.max_keywords, images_admitted=self.images_admitted) for item in items]
        self._distinct.learn(merged)
        return [self._distinct(words)[: self.max_keywords] for words in merged]

    def _rows(self, items: Sequence[ItemAnswers]) -> list[KeywordRow]:
        return [
            KeywordRow(
                item.content.key,
                item.image.keywords if item.image is not None else (),
                item.text.keywords if item.text is not None else (),
                keywords,
                sum(answer.repaired for answer in item.answers),
            )
            for item, keywords in zip(items, self._merged(items), strict=True)
        ]
