"""The stages of a fit, in order, each skipped when its fingerprint says that it is done.

alignment → summarizer → keywords → item_vectors → sequence_model → similar_users → ranker → blend
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from mmsrarec import __version__
from mmsrarec.backbone import Backbone, Readout, SentenceEncoder, load_projector, save_projector
from mmsrarec.backbone.align import caption_of
from mmsrarec.backbone.identity import config_text
from mmsrarec.data import Dataset, Histories, ItemContent
from mmsrarec.errors import InputError
from mmsrarec.progress import logger
from mmsrarec.rank import FEATURES, BlendRanker, Student
from mmsrarec.recommender.blending import MOST_BLEND_USERS, fit_blend
from mmsrarec.recommender.components import RANK_ADAPTER, READOUT, Components, LanguageModel, Retrieval, join
from mmsrarec.recommender.contents import content_keys, read_contents
from mmsrarec.recommender.known_users import KnownUsers
from mmsrarec.recommender.settings import FitSettings
from mmsrarec.recommender.tuning import make_readout, tune_adapter
from mmsrarec.retrieve import SequenceModel, SimilarUsers
from mmsrarec.storage import atomic_path, fingerprint
from mmsrarec.summarize import KeywordTable, Summarizer
from mmsrarec.tune import READ_BELOW, ranking_validation, template_fingerprint
from mmsrarec.workspace import CHECKPOINT, KEYWORDS, Workspace

__all__ = ["Fit"]

_VECTORS = "vectors.safetensors"


class Fit:
    """One run of all stages over one workspace.

    Parameters
    ----------
    settings
        Sizes and seeds of the stages.
    backbone, encoder
        The loaded models.
    train
        Users whose next items become the knowledge base.
    validation
        Users outside it, for early stopping and the blend.
    """

    def __init__(
        self,
        settings: FitSettings,
        backbone: Backbone,
        encoder: SentenceEncoder,
        train: Dataset,
        validation: Dataset,
    ) -> None:
        self.settings = settings
        self.backbone = backbone
        self.encoder = encoder
        train, self.contents = read_contents(train, range(train.n_items))
        self.train = train
        self.histories = train.histories()
        self.users = KnownUsers.from_datasets(train, validation)
        self.validation_users = self.users.find(validation.user_ids.to_list())
        self.validation_histories = self.users.histories.select(self.validation_users)

    @property
    def _tunes(self) -> bool:
        return self.settings.preset.tune_examples > 0

    def run(self, workspace: Workspace) -> Components:
        """Run or skip every stage and return the fitted parts."""
        self._logs = workspace.folder / "logs"
        settings, preset = self.settings, self.settings.preset
        # The version stands for the stages' own defaults: another version makes everything again.
        keys = content_keys(self.contents)
        catalogue_print = fingerprint(__version__, keys)
        data_print = fingerprint(catalogue_print, _prints(self.histories), _prints(self.validation_histories))
        aligned = settings.align and preset.align_items > 0 and preset.align_epochs > 0
        pictured = [one for one in self.contents if one.picture is not None and caption_of(one)]
        if aligned and not pictured:
            logger.info("no item has a picture and a text: the projector stays as it came")
            aligned = False
        if aligned:
            align_print = fingerprint(
                self.backbone.fingerprint,
                catalogue_print,
                preset.align_items,
                preset.align_epochs,
                settings.seed,
            )
            workspace.stage(
                "alignment",
                align_print,
                lambda folder: self._align(pictured, folder),
                lambda folder: load_projector(self.backbone, folder / "projector"),
            )
        summarizer = self._summarizer()
        summarizer_print = fingerprint(
            summarizer.settings_fingerprint, catalogue_print, preset.held_out_items, settings.seed
        )
        summarizer = workspace.stage(
            "summarizer",
            summarizer_print,
            lambda folder: self._fit_summarizer(summarizer, folder),
            self._load_summarizer,
        )
        table_path = workspace.folder / KEYWORDS
        keywords = workspace.stage(
            "keywords",
            fingerprint(summarizer.fingerprint, catalogue_print),
            lambda folder: self._summarize(summarizer, table_path, folder),
            self._load_keywords,
        )
        vectors_print = fingerprint(self.encoder.fingerprint, catalogue_print)
        vectors = workspace.stage("item_vectors", vectors_print, self._embed_texts, self._load_vectors)
        sequence_print = fingerprint(
            data_print,
            self.encoder.fingerprint,
            settings.sequence_model,
            preset.sequence_epochs,
            settings.seed,
        )
        sequence_model = workspace.stage(
            "sequence_model",
            sequence_print,
            lambda folder: self._fit_sequence_model(vectors, folder),
            lambda folder: SequenceModel.load(folder / "model"),
        )
        similar_users = workspace.stage(
            "similar_users",
            sequence_print,
            lambda folder: SimilarUsers().fit(sequence_model, self.histories).save(folder / "model"),
            lambda folder: SimilarUsers.load(folder / "model", sequence_model),
        )
        retrieval = Retrieval.assemble(
            self.backbone.tokenizer,
            self.contents,
            keywords,
            sequence_model,
            similar_users,
            self.users.training_histories(),
            history=settings.history,
            neighbours=settings.similar_users,
            without=settings.without,
        )
        parts = Components(
            users=self.users,
            content_keys=keys,
            language_model=LanguageModel(
                self.backbone, aligned=aligned, tuned=self._tunes, summarizer=summarizer
            ),
            encoder_fingerprint=self.encoder.fingerprint,
            retrieval=retrieval,
            blend=BlendRanker(),
            without=settings.without,
        )
        self._rank_stages(workspace, parts, vectors, fingerprint(sequence_print, keywords))
        return parts

    def _align(self, pictured: list[ItemContent], folder: Path) -> None:
        rng = np.random.default_rng(self.settings.seed)
        chosen = rng.permutation(len(pictured))[: self.settings.preset.align_items]
        self.backbone.align(
            [pictured[item] for item in chosen],
            epochs=self.settings.preset.align_epochs,
            seed=self.settings.seed,
            workdir=folder / CHECKPOINT,
        )
        save_projector(self.backbone, folder / "projector")

    def _summarizer(self) -> Summarizer:
        settings = self.settings
        return Summarizer(
            backbone=self.backbone,
            encoder=self.encoder,
            max_keywords=settings.max_keywords,
            warm_start_items=settings.preset.warm_start_items,
            grpo_steps=settings.preset.grpo_steps,
            grpo=settings.grpo,
            lora=settings.lora,
            reward_weights=settings.reward_weights,
            reconstruction=settings.reconstruction,
        )

    def _fit_summarizer(self, summarizer: Summarizer, folder: Path) -> None:
        training, held_out = self._hold_out_items()
        checkpoint = folder / CHECKPOINT
        summarizer.fit(training, workdir=checkpoint, seed=self.settings.seed)
        summarizer.save(folder / "model")
        if held_out:
            with atomic_path(folder / "held_out_rewards.parquet") as temporary:
                summarizer.evaluate(held_out).write_parquet(temporary)
        self._keep_logs(checkpoint, "summarizer")

    def _hold_out_items(self) -> tuple[list[ItemContent], list[ItemContent]]:
        """Set seeded items aside that rewards are measured on; never more than a fifth of the catalogue."""
        order = np.random.default_rng(self.settings.seed).permutation(len(self.contents))
        count = min(self.settings.preset.held_out_items, len(self.contents) // 5)
        held_out = set(order[:count].tolist())
        training = [content for item, content in enumerate(self.contents) if item not in held_out]
        return training, [self.contents[item] for item in sorted(held_out)]

    def _keep_logs(self, checkpoint: Path, stage: str) -> None:
        """Copy the logs of training beside the stages: they hold times, which artefacts must not."""
        for path in sorted(checkpoint.rglob("*.jsonl")):
            name = "-".join([stage, *path.relative_to(checkpoint).with_suffix("").parts])
            with atomic_path(self._logs / f"{name}.jsonl") as temporary:
                shutil.copyfile(path, temporary)

    def _load_summarizer(self, folder: Path) -> Summarizer:
        return Summarizer.load(folder / "model", backbone=self.backbone, encoder=self.encoder)

    def _summarize(self, summarizer: Summarizer, table_path: Path, folder: Path) -> None:
        with KeywordTable(table_path) as table:
            keywords = summarizer.summarize(self.contents, table, workers=self.settings.workers)
        frame = pl.DataFrame(
            {
                "item_id": self.train.item_ids,
                "title": self.train.items["title"],
                "keywords": pl.Series([list(words) for words in keywords], dtype=pl.List(pl.String)),
            }
        )
        with atomic_path(folder / "keywords.parquet") as temporary:
            frame.write_parquet(temporary)

    def _load_keywords(self, folder: Path) -> list[tuple[str, ...]]:
        by_item = pl.read_parquet(folder / "keywords.parquet")["keywords"].to_list()
        return [tuple(words) for words in by_item]

    def _embed_texts(self, folder: Path) -> None:
        vectors = self.encoder.encode([content.text for content in self.contents], progress="reading texts")
        with atomic_path(folder / _VECTORS) as temporary:
            save_file({"vectors": vectors}, temporary)

    def _load_vectors(self, folder: Path) -> np.ndarray:
        return load_file(folder / _VECTORS)["vectors"]

    def _fit_sequence_model(self, vectors: np.ndarray, folder: Path) -> None:
        model = SequenceModel(
            kind=self.settings.sequence_model,
            epochs=self.settings.preset.sequence_epochs,
            seed=self.settings.seed,
        )
        model.fit(
            self.histories,
            self.train.n_items,
            content=vectors,
            validation=self.validation_histories,
            workdir=folder / CHECKPOINT,
        )
        model.save(folder / "model")

    def _rank_stages(
        self, workspace: Workspace, parts: Components, vectors: np.ndarray, retrieval_print: str
    ) -> None:
        settings, model = self.settings, parts.require_language_model()
        # What does not change the ranker's prompts and examples has its own place in what these come from.
        left_out = sorted(settings.without - {"grpo", "sft"} - self._nothing_to_leave_out())
        ranker_print = fingerprint(
            retrieval_print,
            self.backbone.fingerprint,
            template_fingerprint(),
            settings.preset.tune_examples,
            settings.preset.tune_validation_users,
            settings.preset.readout_users,
            READ_BELOW,
            settings.preset.blend_users,
            left_out,
            settings.history,
            settings.similar_users,
            config_text(settings.sft),
            config_text(settings.lora),
            settings.seed,
        )
        if self._tunes or settings.preset.readout_users:
            model.readout = workspace.stage(
                "ranker",
                ranker_print,
                lambda folder: self._fit_ranker(parts, folder),
                self._load_ranker,
            )
        if not self._tunes and model.readout is None:
            # p is that of the bare model, however long a readout was looked for.
            ranker_print = fingerprint(
                retrieval_print,
                self.backbone.fingerprint,
                template_fingerprint(),
                left_out,
                settings.history,
                settings.similar_users,
                settings.seed,
            )
        self.made_from = fingerprint(ranker_print, settings.preset.blend_users, FEATURES)
        parts.vectors = vectors.astype(np.float16)
        parts.blend, parts.student = workspace.stage(
            "blend",
            self.made_from,
            lambda folder: self._fit_blend(parts, folder),
            lambda folder: (
                BlendRanker.load(folder),
                None if "mllm" in settings.without else Student.load(folder),
            ),
        )
        if parts.student is None or not parts.student.informative:
            parts.vectors = None

    def _nothing_to_leave_out(self) -> set[str]:
        """Name the parts that this fit lacks anyway."""
        lacks = set() if self._tunes else {"multi_task"}
        return lacks if any(content.picture is not None for content in self.contents) else {*lacks, "image"}

    def _fit_ranker(self, parts: Components, folder: Path) -> None:
        settings, checkpoint = self.settings, folder / CHECKPOINT
        if self._tunes and not (folder / "adapter").exists():
            tune_adapter(
                parts,
                settings,
                self.histories,
                validate=self._tune_validation(parts.retrieval),
                folder=folder / "adapter",
                checkpoint=checkpoint,
            )
        elif self._tunes:
            self._load_ranker(folder)
        if settings.preset.readout_users:
            readout = make_readout(parts, settings, self.histories, checkpoint=checkpoint / "readout")
            if readout:
                readout.save(folder / READOUT)
        self._keep_logs(checkpoint, "ranker")

    def _tune_validation(self, retrieval: Retrieval) -> Callable[[], float] | None:
        preset = self.settings.preset
        users = self._usable_validation_users()
        # The blend's users come first; those behind them are looked at here, as far as there are any.
        chosen = users[max(0, min(preset.blend_users, len(users) - preset.tune_validation_users)) :]
        chosen = np.sort(chosen[: preset.tune_validation_users])
        if not len(chosen):
            return None
        return ranking_validation(
            self.backbone,
            retrieval.builder,
            self.validation_histories.select(chosen),
            exclude_users=self.users.knowledge_base_id[self.validation_users[chosen]],
            seed=self.settings.seed,
        )

    def _usable_validation_users(self) -> np.ndarray:
        """Return the validation users with two events or more, in seeded order."""
        usable = np.flatnonzero(self.validation_histories.lengths >= 2)
        return np.random.default_rng(self.settings.seed).permutation(usable)

    def _load_ranker(self, folder: Path) -> Readout | None:
        if RANK_ADAPTER in self.backbone.adapters:
            self.backbone.remove_adapter(RANK_ADAPTER)
        if self._tunes:
            self.backbone.load_adapter(RANK_ADAPTER, folder / "adapter")
        return Readout.load(folder / READOUT) if (folder / READOUT).exists() else None

    def _fit_blend(self, parts: Components, folder: Path) -> None:
        usable = self._usable_validation_users()
        if not len(usable):
            raise InputError(
                "validation holds no user with two events, so the blend cannot be fitted; give longer histories."
            )
        users = usable[:MOST_BLEND_USERS]
        blend, student = fit_blend(
            join(parts, candidates=self.settings.preset.candidates),
            self.validation_histories.select(users),
            exclude_users=self.users.knowledge_base_id[self.validation_users[users]],
            asked=self.settings.preset.blend_users,
            seed=self.settings.seed,
        )
        blend.save(folder)
        if student is not None:
            student.save(folder)


def _prints(histories: Histories) -> str:
    return fingerprint(histories.indptr, histories.items, histories.timestamps)
