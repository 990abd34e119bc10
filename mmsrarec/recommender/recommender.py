"""Recommender: the one object users hold. What it is asked once it is fitted stands in ``fitted.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import Dataset
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.progress import logger
from mmsrarec.recommender.fitted import Fitted
from mmsrarec.recommender.fitting import Fit
from mmsrarec.recommender.growing import add_interactions, add_items
from mmsrarec.recommender.parameters import HasParameters, check_flag
from mmsrarec.recommender.persistence import load_components, save_components
from mmsrarec.recommender.presets import Preset
from mmsrarec.recommender.settings import FitSettings
from mmsrarec.workspace import KEYWORDS, Workspace

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl import GRPOConfig, SFTConfig

__all__ = ["Recommender"]

_GENERAL_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


class Recommender(HasParameters, Fitted):
    """Recommends items of a catalogue with pictures and text, and says why in words.

    Parameters are stored as given and checked by :meth:`fit`; attributes that a fit makes end in ``_``.

    Parameters
    ----------
    backbone
        ``"embedded"``, a hub id or folder of any image-text-to-text model of transformers (or of a text-only
        causal model: pictures are then left out), or a pair ``(model, processor)``.
    encoder
        Sentence encoder of the information reward and of what items are to the sequence model: ``"embedded"``,
        a hub id, a folder, or a loaded ``SentenceTransformer``. ``None``: the embedded one for the embedded
        backbone, else all-MiniLM-L6-v2 from the hub.
    preset
        ``"demo"`` (minutes on two cores), ``"quick"`` (under an hour on two cores), ``"default"`` (one GPU), or
        a :class:`~mmsrarec.recommender.Preset`.
    history
        Most recent items shown to the model, 1 or more.
    similar_users
        Similar users whose next items are shown, 0 or more.
    max_keywords
        Keywords an item, 1 or more.
    reward_weights
        α, β, γ of the information, reconstruction and length rewards (MMSRARec, stage 1).
    reconstruction
        ``"perplexity"`` (the paper's −exp(NLL)), ``"nll"`` or ``"clipped"``.
    sequence_model
        ``"sasrec"`` or ``"gru4rec"``.
    lora, grpo, sft
        PEFT's and TRL's own configurations, where the defaults do not fit.
    without
        Names of parts of the method to leave out, to see what each is worth:
        :data:`mmsrarec.recommender.ablation.PARTS`.
    workers
        Processes that summarize the catalogue in a fit, 1 or more; they share the threads, or have a GPU each. The
        keywords are the same.
    device
        ``"cpu"``, ``"cuda"``, …; ``None`` takes a GPU if there is one.
    trust_remote_code
        Let transformers run code that comes with a model. Off by default.
    seed
        Same seed, same data, same machine: same result.

    Examples
    --------
    >>> from mmsrarec import Recommender
    >>> Recommender(history=5).get_params()["history"]
    5
    """

    def __init__(
        self,
        *,
        backbone: Any = "embedded",
        encoder: Any = None,
        preset: str | Preset = "default",
        history: int = 5,
        similar_users: int = 3,
        max_keywords: int = 8,
        reward_weights: tuple[float, float, float] = (1.0, 1.0, 0.01),
        reconstruction: Literal["perplexity", "nll", "clipped"] = "nll",
        sequence_model: Literal["sasrec", "gru4rec"] = "sasrec",
        lora: LoraConfig | None = None,
        grpo: GRPOConfig | None = None,
        sft: SFTConfig | None = None,
        without: Sequence[str] = (),
        workers: int = 1,
        device: str | None = None,
        trust_remote_code: bool = False,
        seed: int = 0,
    ) -> None:
        self.backbone = backbone
        self.encoder = encoder
        self.preset = preset
        self.history = history
        self.similar_users = similar_users
        self.max_keywords = max_keywords
        self.reward_weights = reward_weights
        self.reconstruction = reconstruction
        self.sequence_model = sequence_model
        self.lora = lora
        self.grpo = grpo
        self.sft = sft
        self.without = without
        self.workers = workers
        self.device = device
        self.trust_remote_code = trust_remote_code
        self.seed = seed

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        workdir: str | Path | None = None,
        shared: Sequence[str | Path] = (),
    ) -> Recommender:
        """Learn from a catalogue and its interactions.

        Parameters
        ----------
        train
            Items, and the users whose next items become the knowledge base.
        validation
            Other users of the same catalogue, for early stopping and for the blend. ``None`` sets a seeded
            tenth of the training users aside.
        workdir
            Folder for finished and unfinished stages. A fit that was interrupted goes on where it was; one
            that is already done does nothing. ``None`` works in a folder that is removed afterwards.
        shared
            Workdirs of other fits, whose finished stages are used where they were made from the same.

        Returns
        -------
        Recommender
            Itself.

        Raises
        ------
        InputError
            If a parameter or the data is not usable.
        StoredFileError
            If `workdir` cannot be written to.
        """
        settings = FitSettings.of(self.get_params())
        if not isinstance(train, Dataset):
            raise InputError(f"train must be a Dataset, got {type(train).__name__}; see Dataset.from_frames.")
        if not train.n_interactions:
            raise InputError("train holds no interactions; nothing can be learned from it.")
        if validation is None:
            train, validation = self._set_aside(train)
        elif validation.item_ids.to_list() != train.item_ids.to_list():
            raise InputError(
                "validation must have the same catalogue as train; make both with Dataset.split."
            )
        if workdir is None:
            with TemporaryDirectory(prefix="mmsrarec-") as temporary:
                return self.fit(train, validation, workdir=temporary, shared=shared)
        backbone = self._load_backbone()
        fit = Fit(settings, backbone, self._load_encoder(), train, validation)
        with Workspace(workdir, shared=shared) as workspace:
            parts = fit.run(workspace)
            if not workspace.made:
                logger.warning("everything was already done in %s; nothing was fitted again", workdir)
            self.stages_made_ = tuple(workspace.made)
            self.timings_ = workspace.timings()
            self.made_from_ = fit.made_from
        self._take(parts)
        return self

    def _set_aside(self, train: Dataset) -> tuple[Dataset, Dataset]:
        if train.n_users < 2:
            raise InputError(
                f"train has {train.n_users} user; two are needed so that one can be set aside for validation."
            )
        kept, validation, _ = train.split(by="user", ratios=(9, 1, 0), seed=self.seed)
        return kept, validation

    def _load_backbone(self) -> Backbone:
        return Backbone.load(self.backbone, device=self.device, trust_remote_code=self.trust_remote_code)

    def _load_encoder(self) -> SentenceEncoder:
        if self.encoder is not None:
            return SentenceEncoder.load(self.encoder)
        return SentenceEncoder.load("embedded" if self.backbone == "embedded" else _GENERAL_ENCODER)

    def add_items(
        self,
        new_items: Any,
        *,
        images: str | Path | None = None,
        columns: Mapping[str, str] | None = None,
        strict: bool = False,
        workdir: str | Path | None = None,
    ) -> Recommender:
        """Take in new items without a fit: they are summarized, and can be recommended and found at once.

        A new item gets keywords from the summarizer of the fit, and is embedded by what its text says, as items that
        nobody took in training are. A known item whose text and picture are what they were is passed over. One that
        changed is summarized again, and its embedding, and the similar users that took it, follow its text; what was
        learned of it by id, and everybody's events, stay.

        If anything fails or is interrupted, the recommender stays as it was.

        Parameters
        ----------
        new_items
            Frame of item_id, title, description, categories, image, as :class:`Dataset` reads it, or the path of a CSV,
            TSV or Parquet file of it.
        images
            Folder of the pictures, if the recommender has none yet; otherwise they lie where the others do.
        columns
            Standard name → the name it has here.
        strict
            Raise at bad rows. By default they are dropped, counted in ``bad_rows_`` and shown in one warning.
        workdir
            Folder of the fit, or any other: keywords are kept in its table while they are made, so that
            an interrupted call goes on where it was. ``None`` keeps them in memory.

        Returns
        -------
        Recommender
            Itself.

        Raises
        ------
        InputError
            If a needed column is missing, `images` is another folder, `strict` and there are bad rows, or the
            recommender was loaded without its language model.
        StoredFileError
            If the sentence encoder is not that of the fit, or `workdir` cannot be written to.
        """
        parts = self._parts
        encoder = parts.require_language_model().summarizer.encoder or self._load_encoder()
        if encoder.fingerprint != parts.encoder_fingerprint:
            raise StoredFileError(
                f"the recommender was fitted with another sentence encoder than {encoder.name!r} is now; give that "
                "one as encoder= to Recommender.load."
            )
        table = None if workdir is None else Path(workdir) / KEYWORDS
        grown, self.bad_rows_ = add_items(
            parts, new_items, encoder, images, columns, strict=strict, table=table
        )
        self._take(grown)
        return self

    def update(
        self, new_interactions: Any, *, columns: Mapping[str, str] | None = None, strict: bool = False
    ) -> Recommender:
        """Take in new events of known users and of new ones without a fit.

        Histories grow and new users become known. Item-kNN, transitions, paths and popularity are counted again from
        all events, and the similar users' knowledge base holds what people have taken since; the same as
        if all had been counted at once. The language model, the sequence model's weights and the blend stay
        as they were fitted.

        A new user is as a training user from then on: a neighbour and a bridge for others. Validation users stay out
        of what is known of others, also with their new events. Events that a model is to be judged on do not
        belong here.

        Parameters
        ----------
        new_interactions
            Frame of user_id, item_id, timestamp, as :class:`Dataset` reads it, or the path of a CSV, TSV or Parquet
            file of it. Events are put where their time belongs, also between older ones. Those of unknown
            items (add these first), with bad values, or of a user and an item that met before are bad rows.
        columns
            Standard name → the name it has here.
        strict
            Raise at bad rows. By default they are dropped, counted in ``bad_rows_`` and shown in one warning.

        Returns
        -------
        Recommender
            Itself. If anything fails, it stays as it was.

        Raises
        ------
        InputError
            If a needed column is missing or of an impossible type, or `strict` and there are bad rows.
        """
        grown, self.bad_rows_ = add_interactions(self._parts, new_interactions, columns, strict=strict)
        self._take(grown)
        return self

    def save(self, folder: str | Path) -> None:
        """Write the fitted recommender as safetensors, Parquet and JSON.

        Parameters
        ----------
        folder
            Final name; whole or absent, whatever happens while it is written. A saved recommender that stands
            there is replaced, any other folder is refused.

        Raises
        ------
        InputError
            If the recommender is not fitted, or was loaded without its language model.
        StoredFileError
            If `folder` cannot be written to.
        """
        save_components(self._parts, self.get_params(), folder)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        backbone: Any = None,
        encoder: Any = None,
        images: str | Path | None = None,
        device: str | None = None,
        language_model: bool = True,
    ) -> Recommender:
        """Read a saved recommender.

        Parameters
        ----------
        folder
            What :meth:`save` wrote.
        backbone
            Where the language model is to be found now, if not where it was.
        encoder
            The same of the sentence encoder. It is loaded when :meth:`add_items` needs it.
        images
            Folder of the pictures, if not where it was.
        device
            As in the constructor.
        language_model
            ``False`` leaves the language model where it is, and it need not be there: a recommender for real time, that
            recommends and explains with ``language_model=False``, searches and updates as the whole one does. It has no
            p(yes), and takes in no new items. ``alignment``, ``backbone``, ``ranker``, ``readout.safetensors`` and
            ``summarizer`` may then be missing from `folder`.

        Returns
        -------
        Recommender
            Predicts as the saved one did.

        Raises
        ------
        StoredFileError
            If a file is missing, damaged, foreign or of a newer format, or the backbone is another one.
        """
        check_flag("language_model", language_model)
        parts, parameters = load_components(
            folder,
            backbone=backbone,
            encoder=encoder,
            images=images,
            device=device,
            language_model=language_model,
        )
        recommender = cls(**parameters)
        recommender._take(parts)
        return recommender
