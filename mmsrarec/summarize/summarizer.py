"""The summarizer: item contents in, keywords out, and how it is trained, measured, saved and loaded.

First stage of the method. Stands between the backbone and everything that works on keywords; the parts it
puts together lie beside it (prompts, parsing, warm start, rewards, GRPO, table).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shutil import copytree

import polars as pl
from peft import LoraConfig
from trl import GRPOConfig, SFTConfig

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.progress import logger, ticker
from mmsrarec.storage import exclusive_folder, file_sha256, fingerprint
from mmsrarec.summarize.catalogue import fill_table_by_workers
from mmsrarec.summarize.rewards import KeywordScorer, Reconstruction, RewardSettings
from mmsrarec.summarize.stored import read_stored, write_stored
from mmsrarec.summarize.table import KeywordTable
from mmsrarec.summarize.training import TrainedAdapters, TrainingPlan, train_adapters
from mmsrarec.summarize.writer import KeywordWriter

__all__ = ["Summarizer"]

ADAPTER = "summarize"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_MEASURED = "summarize_measured"
_STORED = (
    "max_keywords",
    "warm_start_items",
    "grpo_steps",
    "reward_weights",
    "reconstruction",
    "text_tokens",
    "answer_tokens",
    "commonness",
    "early_stop_items",
    "warm_start_views",
)


class Summarizer:
    """Writes each item's keywords with a language model, and learns to write better ones.

    An item's picture and its text are summarized apart, by two prompts, and merged
    (:func:`~mmsrarec.summarize.merge_keywords`), so that neither modality is ignored. Training has two steps,
    both of one LoRA adapter: a supervised warm start on keywords extracted from the catalogue's text, and GRPO
    on three verifiable rewards. Either may be switched off; without both, the bare backbone is asked. Where training
    finds that answers about pictures are not about their items, the keywords of items with a text are the text's.

    Parameters
    ----------
    backbone
        The language model.
    encoder
        The sentence encoder of the information reward.
    max_keywords
        Most keywords of an item, 1 or more.
    warm_start_items
        Items of the warm start; 0 goes without. Small models need it, large ones do not.
    warm_start_views
        How often the warm start sees each item: once as it is, then with other cuts of its text and crops of its
        picture. More than 1 is for catalogues of few items.
    grpo_steps
        Optimizer steps of GRPO where `grpo` is ``None``; 0 goes without.
    grpo
        TRL's own configuration of GRPO; ``None`` takes one for a quick run.
    warm_start
        TRL's own configuration of the warm start; ``None`` takes one for a quick run.
    lora
        PEFT's own configuration of the adapter; ``None``: rank 8 on every linear layer of the language model.
    reward_weights
        α, β, γ of information, reconstruction and length (in words).
    commonness
        How much more a keyword costs in the length reward that all recent answers hold; 0 is the paper's form. See
        :class:`~mmsrarec.summarize.rewards.RewardSettings`.
    early_stop_items
        Items that GRPO does not learn from and whose reward decides when it stops; 0 takes all steps.
    reconstruction
        Form of the reconstruction reward: ``"nll"``, ``"clipped"``, or the paper's ``"perplexity"``.
    text_tokens
        Budget of an item's text in the prompt, in tokens.
    answer_tokens
        Longest answer of one prompt, in tokens.

    Attributes
    ----------
    warm_start_log_
        Loss and learning rate of each step of the warm start.
    reward_log_
        Rewards of each step of GRPO, as :func:`mmsrarec.summarize.grpo.train_policy` returns them.
    images_admitted_
        Whether answers about pictures were found to be about their items (:mod:`mmsrarec.summarize.admission`). Where
        they were not, items with a text are asked about their text alone.

    Raises
    ------
    InputError
        If a number is out of its range.

    Examples
    --------
    >>> from mmsrarec.data import ItemContent
    >>> from mmsrarec.testing import tiny_llama
    >>> summarizer = Summarizer(
    ...     backbone=Backbone.load(tiny_llama()), encoder=None, warm_start_items=0, grpo_steps=0
    ... )
    >>> (keywords,) = summarizer.summarize([ItemContent("Red mug")], KeywordTable(None))
    >>> len(keywords) <= 8
    True
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        encoder: SentenceEncoder | None,
        max_keywords: int = 8,
        warm_start_items: int = 200,
        grpo_steps: int = 16,
        grpo: GRPOConfig | None = None,
        warm_start: SFTConfig | None = None,
        lora: LoraConfig | None = None,
        reward_weights: tuple[float, float, float] = (1.0, 1.0, 0.01),
        reconstruction: Reconstruction = "nll",
        text_tokens: int = 48,
        answer_tokens: int = 24,
        commonness: float = 0.0,
        early_stop_items: int = 0,
        warm_start_views: int = 1,
    ) -> None:
        for name, value, least in (
            ("max_keywords", max_keywords, 1),
            ("warm_start_items", warm_start_items, 0),
            ("grpo_steps", grpo_steps, 0),
            ("text_tokens", text_tokens, 1),
            ("answer_tokens", answer_tokens, 1),
            ("early_stop_items", early_stop_items, 0),
            ("warm_start_views", warm_start_views, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number of {least} or more, got {value!r}.")
        if len(reward_weights) != 3:
            raise InputError(f"reward_weights must be three numbers, got {reward_weights!r}.")
        self.backbone = backbone
        self.encoder = encoder
        self.max_keywords = max_keywords
        self.warm_start_items = warm_start_items
        self.grpo_steps = grpo_steps
        self.grpo = grpo
        self.warm_start = warm_start
        self.lora = lora
        self.reward_weights = reward_weights
        self.reconstruction = reconstruction
        self.text_tokens = text_tokens
        self.answer_tokens = answer_tokens
        self.commonness = commonness
        self.early_stop_items = early_stop_items
        self.warm_start_views = warm_start_views
        self._rewards = RewardSettings(*reward_weights, form=reconstruction, commonness=commonness)
        self._trained: TrainedAdapters | None = None
        self._writer = self._new_writer()

    def fit(
        self,
        contents: Sequence[ItemContent],
        *,
        workdir: str | Path,
        seed: int = 0,
        start: Summarizer | None = None,
    ) -> Summarizer:
        """Train the adapter on a catalogue; a fit that was interrupted goes on where it was.

        Parameters
        ----------
        contents
            The items to learn from; keep some out to measure with :meth:`evaluate`.
        workdir
            For finished adapters, checkpoints and logs. A second fit of the same settings, items and seed
            finds its result there.
        seed
            Of the choice of items, of the adapter's first weights and of sampling: same seed, same result.
        start
            A summarizer that was fitted on another catalogue, or loaded, over the same backbone: training begins with
            its adapter instead of a fresh one.

        Returns
        -------
        Summarizer
            Itself, with the trained adapter on the backbone.

        Raises
        ------
        InputError
            If `contents` is empty or holds no text at all, or another process works in `workdir`.
        """
        if not contents:
            raise InputError("contents must hold at least one item to learn from, got none.")
        begin = None if start is None else start._adapter_folder()
        first = None if begin is None else file_sha256(begin / ADAPTER_WEIGHTS)
        self._drop_adapter()
        made_from = fingerprint(self.settings_fingerprint, [content.key for content in contents], seed, first)
        with exclusive_folder(Path(workdir)):
            trained = train_adapters(
                self.backbone,
                self._scorer(),
                contents,
                self._plan(),
                workdir=workdir,
                made_from=made_from,
                seed=seed,
                start=begin,
            )
        self._take(trained)
        return self

    def summarize(
        self,
        contents: Sequence[ItemContent],
        table: KeywordTable,
        *,
        workers: int = 1,
        progress: str = "summarizing items",
    ) -> list[tuple[str, ...]]:
        """Return the keywords of items, asking the model only for those the table does not have.

        Items are worked on in batches of like length; each batch is written as it comes, so a run that was
        killed goes on behind the last of them. For an unchanged catalogue this is one look-up. Several processes
        may do this over one file at the same time, `workers` of them from here: none does what another has done
        or is doing, and what a killed one was doing is done by the others.

        Parameters
        ----------
        contents
            The items; equal contents are asked about once.
        table
            Where keywords are kept.
        workers
            Number of processes. 1 works in this one; more share its threads on a CPU, and have a GPU each where
            there are several.
        progress
            What to call the work on the progress bar.

        Returns
        -------
        list of tuple of str
            At most `max_keywords` keywords an item, in the order of `contents`.

        Raises
        ------
        InputError
            If this summarizer has training to do and was neither fitted nor loaded, or several workers are to share a
            table in memory.
        MmsrarecError
            If workers ended early and left items undone.
        """
        self._check_fitted()
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise InputError(f"workers must be a whole number of 1 or more, got {workers!r}.")
        made_by = self.fingerprint
        keys = [content.key for content in contents]
        known = table.get_many(keys, made_by=made_by)
        missing = {content.key: content for content in contents if content.key not in known}
        if missing:
            new = list(missing.values())
            if workers == 1:
                self.fill(new, table, made_by=made_by, progress=progress)
            else:
                with ticker(progress, len(new)) as shown:
                    fill_table_by_workers(
                        self, new, table.path, made_by=made_by, workers=workers, progress=shown
                    )
            known |= table.get_many(list(missing), made_by=made_by)
            repaired = sum(known[key].repaired for key in missing)
            logger.info("summarized %d items, %d answers were repaired", len(missing), repaired)
        return [known[key].keywords for key in keys]

    def fill(
        self,
        contents: Sequence[ItemContent],
        table: KeywordTable,
        *,
        made_by: str,
        progress: str = "summarizing items",
    ) -> None:
        """Write the rows of items that have none, in this process; the working part of :meth:`summarize`.

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
        self._writer.fill(contents, table, made_by=made_by, progress=progress)

    def evaluate(self, contents: Sequence[ItemContent]) -> pl.DataFrame:
        """Measure keywords without an adapter, after the warm start, and after GRPO.

        Parameters
        ----------
        contents
            Items with a text, best such that were not learned from.

        Returns
        -------
        polars.DataFrame
            One row for each of the steps (``stage``: ``"base"``, ``"warm_start"``, ``"grpo"``) and prompts (``prompt``:
            ``"text"``, ``"image"``, and ``"merged"`` for the item's final keywords), with the columns of
            :func:`mmsrarec.summarize.evaluation.measure`.

        Raises
        ------
        InputError
            If no item has a text.
        """
        contents = [content for content in contents if content.text]
        if not contents:
            raise InputError("contents must hold at least one item with a text to measure on, got none.")
        self._check_fitted()
        stages: dict[str, Path | None] = {"base": None}
        if self._trained is not None:
            stages |= self._trained.folders
        scorer, rows = self._scorer(), []
        for stage, folder in stages.items():
            if folder is not None:
                self.backbone.load_adapter(_MEASURED, folder)
            adapter, progress = None if folder is None else _MEASURED, f"measuring keywords ({stage})"
            try:
                measured = self._writer.measure(contents, scorer, adapter=adapter, progress=progress)
                rows += [{"stage": stage, **row} for row in measured]
            finally:
                if folder is not None:
                    self.backbone.remove_adapter(_MEASURED)
        return pl.DataFrame(rows)

    @property
    def settings_fingerprint(self) -> str:
        """Hash of all that decides what :meth:`fit` makes of a catalogue and a seed."""
        return fingerprint(
            self._writer.settings,
            self._plan().fingerprint,
            list(self.reward_weights),
            self.reconstruction,
            self.commonness,
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides an item's keywords: settings, wording, models and the adapter's weights."""
        return self._writer.fingerprint

    def save(self, folder: str | Path, *, training: bool = True) -> None:
        """Write adapters (safetensors), settings and logs (JSON) as a folder that is whole or absent.

        Parameters
        ----------
        folder
            Where to.
        training
            ``False`` writes what it takes to summarize, out of memory: the last adapter, without those of earlier steps
            and without the logs.

        Raises
        ------
        InputError
            If there is training to do and :meth:`fit` was not called.
        StoredFileError
            If `folder` exists and is something else, or cannot be written.
        """
        self._check_fitted()
        trained = self._trained or TrainedAdapters()
        write_stored(
            folder,
            settings={name: getattr(self, name) for name in _STORED},
            adapters={step: partial(copytree, adapter) for step, adapter in trained.folders.items()}
            if training
            else {step: partial(self.backbone.save_adapter, ADAPTER) for step in list(trained.folders)[-1:]},
            logs=(trained.warm_start_log, trained.reward_log) if training else ([], []),
            images_admitted=self._writer.images_admitted,
            made_from=self.settings_fingerprint,
            details={"backbone": self.backbone.fingerprint},
        )

    @classmethod
    def load(
        cls, folder: str | Path, *, backbone: Backbone, encoder: SentenceEncoder | None = None
    ) -> Summarizer:
        """Read a summarizer that :meth:`save` wrote, and put its adapter on the backbone.

        Parameters
        ----------
        folder
            The saved summarizer.
        backbone
            The model it was trained on; another one gives a warning.
        encoder
            The sentence encoder; needed to measure or to train again.

        Raises
        ------
        StoredFileError
            If the folder is not a saved summarizer, is damaged, or does not fit the backbone.
        """
        settings, trained = read_stored(folder)
        try:
            settings["reward_weights"] = tuple(settings["reward_weights"])
            summarizer = cls(backbone=backbone, encoder=encoder, **settings)
        except (KeyError, TypeError, InputError) as error:
            raise StoredFileError(f"{Path(folder) / 'settings.json'} is damaged: {error}") from error
        summarizer._drop_adapter()
        summarizer._take(trained)
        return summarizer

    def _adapter_folder(self) -> Path:
        if self._trained is None or not self._trained.folders:
            raise InputError("start must be a fitted or loaded summarizer that learned something.")
        return list(self._trained.folders.values())[-1]

    def _new_writer(self, adapter: str | None = None, *, images_admitted: bool = True) -> KeywordWriter:
        return KeywordWriter(
            self.backbone,
            self.encoder,
            adapter=adapter,
            max_keywords=self.max_keywords,
            text_tokens=self.text_tokens,
            answer_tokens=self.answer_tokens,
            images_admitted=images_admitted,
        )

    def _take(self, trained: TrainedAdapters) -> None:
        """Put the last trained adapter on the backbone."""
        if trained.folders:
            self.backbone.load_adapter(ADAPTER, list(trained.folders.values())[-1])
        self._trained = trained
        adapter = ADAPTER if trained.folders else None
        self._writer = self._new_writer(adapter, images_admitted=trained.images_admitted)
        self.warm_start_log_ = trained.warm_start_log
        self.reward_log_ = trained.reward_log
        self.images_admitted_ = trained.images_admitted

    def _drop_adapter(self) -> None:
        self._trained = None
        self._writer = self._new_writer()
        if ADAPTER in self.backbone.adapters:
            self.backbone.remove_adapter(ADAPTER)

    def _check_fitted(self) -> None:
        if self._trained is None and self._plan().learns:
            raise InputError(
                "the summarizer is not fitted; call fit(contents, workdir=...) first, or set warm_start_items=0 and "
                "grpo_steps=0 to ask the bare backbone."
            )

    def _scorer(self) -> KeywordScorer:
        if self.encoder is None:
            raise InputError("encoder must be a SentenceEncoder to compute rewards, got None.")
        return KeywordScorer(self.backbone, self.encoder, self._rewards)

    def _plan(self) -> TrainingPlan:
        return TrainingPlan(
            warm_start_items=self.warm_start_items,
            grpo_steps=self.grpo_steps,
            grpo=self.grpo,
            warm_start=self.warm_start,
            lora=self.lora,
            text_tokens=self.text_tokens,
            answer_tokens=self.answer_tokens,
            max_keywords=self.max_keywords,
            early_stop_items=self.early_stop_items,
            warm_start_views=self.warm_start_views,
        )
