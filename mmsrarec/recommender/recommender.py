"""Recommender: the one object users hold. It maps ids and frames at the border and asks the engine."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import Dataset
from mmsrarec.errors import InputError
from mmsrarec.explain import Explanation
from mmsrarec.progress import logger
from mmsrarec.recommender.ablation import check_without, preset_without
from mmsrarec.recommender.border import Asked, allowed_items, read_candidates, read_people
from mmsrarec.recommender.components import Components, join
from mmsrarec.recommender.engine import Engine, Ranked
from mmsrarec.recommender.explaining import explain_candidate
from mmsrarec.recommender.fitting import Fit, FitSettings
from mmsrarec.recommender.parameters import (
    check_choice,
    check_flag,
    check_integer,
    check_weights,
    to_kind,
)
from mmsrarec.recommender.persistence import load_components, save_components
from mmsrarec.recommender.presets import Preset, find_preset
from mmsrarec.workspace import Workspace

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl import GRPOConfig, SFTConfig

__all__ = ["Recommender"]

_GENERAL_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_USERS_AT_ONCE = 16


class Recommender:
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

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters as given to the constructor.

        Parameters
        ----------
        deep
            Taken for scikit-learn's sake; there are no nested parameters.
        """
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> Recommender:
        """Change parameters; takes effect with the next :meth:`fit`.

        Raises
        ------
        InputError
            If a name is not a parameter.
        """
        known = self.get_params()
        for name, value in parameters.items():
            if name not in known:
                raise InputError(f"{name!r} is not a parameter; there are {sorted(known)}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value is not defaults[name].default and value != defaults[name].default
        ]
        return f"Recommender({', '.join(changed)})"

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
        settings = self._settings()
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

    def _settings(self) -> FitSettings:
        without = check_without(self.without)
        preset = preset_without(find_preset(self.preset), without)
        check_integer("history", self.history, 1)
        check_integer("similar_users", self.similar_users, 0)
        check_integer("max_keywords", self.max_keywords, 1)
        check_integer("workers", self.workers, 1)
        check_integer("seed", self.seed, 0)
        check_weights("reward_weights", self.reward_weights, 3)
        check_choice("reconstruction", self.reconstruction, ("perplexity", "nll", "clipped"))
        check_choice("sequence_model", self.sequence_model, ("sasrec", "gru4rec"))
        return FitSettings(
            preset=preset,
            align=isinstance(self.backbone, str) and self.backbone == "embedded",
            history=self.history,
            similar_users=self.similar_users,
            max_keywords=self.max_keywords,
            reward_weights=(self.reward_weights[0], self.reward_weights[1], self.reward_weights[2]),
            reconstruction=self.reconstruction,
            sequence_model=self.sequence_model,
            grpo=self.grpo,
            sft=self.sft,
            lora=self.lora,
            without=without,
            workers=int(self.workers),
            seed=self.seed,
        )

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

    def _take(self, parts: Components) -> None:
        self.parts_ = parts
        self.engine_ = join(parts, candidates=find_preset(self.preset).candidates)

    def predict(
        self,
        *,
        users: Sequence[Any] | None = None,
        histories: Sequence[Sequence[Any]] | None = None,
        items: Sequence[Any],
    ) -> Any:
        """Return the language model's probability that an item is the next one.

        p = p(yes) / (p(yes) + p(no)) of the first token (MMSRARec, stage 3).

        Parameters
        ----------
        users
            Known user ids, one an entry of `items`.
        histories
            Instead of `users`: item ids of people the model has never seen, oldest first.
        items
            One item id an entry, or one list of item ids an entry.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            float32 (n,), aligned with the input; for lists of items, one such array an entry.

        Raises
        ------
        InputError
            If an id is unknown or the lengths differ.
        """
        asked = read_people(self._parts, users, histories)
        candidates, ragged = read_candidates(self._parts.catalogue, items, len(asked.histories))
        # Entries of one person stand together so that the prompt's beginning is run once for all of them.
        order = sorted(
            range(len(candidates)), key=lambda row: (asked.histories[row].tobytes(), asked.exclude_users[row])
        )
        found = self._engine.probability(
            [asked.histories[row] for row in order],
            [candidates[row] for row in order],
            exclude_users=asked.exclude_users[order],
            progress="scoring",
        )
        by_row: list[np.ndarray] = [np.empty(0, np.float32)] * len(candidates)
        for row, probability in zip(order, found, strict=True):
            by_row[row] = probability
        if ragged:
            return by_row
        return np.concatenate([np.empty(0, np.float32), *by_row])

    def recommend(
        self,
        users: Sequence[Any] | None = None,
        *,
        histories: Sequence[Sequence[Any]] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        allow: Sequence[Any] | None = None,
        block: Sequence[Any] | None = None,
    ) -> Any:
        """Recommend items out of the whole catalogue.

        Parameters
        ----------
        users
            Known user ids.
        histories
            Instead of `users`: item ids of people the model has never seen; ``user_id`` in the result is then
            the position in this list.
        k
            Recommendations a user, 1 or more; fewer where fewer items are left.
        exclude_seen
            Leave out what the user has already taken.
        allow, block
            Item ids that alone may, or may not, be recommended.

        Returns
        -------
        frame
            Columns ``user_id, item_id, rank`` (from 1) and ``score`` (blended probability), of the kind that
            the training data came in.

        Raises
        ------
        InputError
            If an id is unknown, `k` is below 1 or above the size of the catalogue.
        """
        check_integer("k", k, 1)
        check_flag("exclude_seen", exclude_seen)
        catalogue = self._parts.catalogue
        asked = read_people(self._parts, users, histories)
        if k > catalogue.n_items:
            raise InputError(f"k must be at most {catalogue.n_items}, the size of the catalogue, got {k}.")
        allowed = allowed_items(
            catalogue, asked.histories, exclude_seen=exclude_seen, allow=allow, block=block
        )
        ranked = self._recommend(asked, k, allowed)
        counts = [min(k, len(found.items)) for found in ranked]
        rows = np.repeat(np.arange(len(ranked)), counts)
        items = np.concatenate([np.empty(0, np.int64), *(found.items[:k] for found in ranked)])
        frame = pl.DataFrame(
            {
                "user_id": asked.names[rows.tolist()],
                "item_id": catalogue.item_ids[items.tolist()],
                "rank": np.array([place for count in counts for place in range(1, count + 1)], np.int32),
                "score": np.concatenate([np.empty(0), *(found.scores[:k] for found in ranked)]).astype(
                    np.float32
                ),
            }
        )
        return to_kind(frame, self._parts.catalogue.frame_kind)

    def explain(
        self, user: Any = None, item: Any = None, *, history: Sequence[Any] | None = None
    ) -> Explanation:
        """Say why an item stands where it stands for a user.

        Parameters
        ----------
        user
            Known user id.
        item
            Item id; ``None`` takes the user's first recommendation.
        history
            Instead of `user`: item ids of a person the model has never seen.

        Returns
        -------
        Explanation
            Prints as text, shows as HTML in a notebook, and writes a page with ``to_html(path)``.

        Raises
        ------
        InputError
            If an id is unknown.
        """
        parts = self._parts
        asked = read_people(parts, None if user is None else [user], None if history is None else [history])
        wanted = None if item is None else int(parts.catalogue.item_index([item])[0])
        ranked = self._recommend(asked, 1, allowed_items(parts.catalogue, asked.histories))[0]
        places = np.arange(len(ranked.items)) if wanted is None else np.flatnonzero(ranked.items == wanted)
        rank: int | None = None
        if len(places):
            place, rank = int(places[0]), int(places[0]) + 1
        elif wanted is None:
            raise InputError("nothing is left to recommend to this user; name an item to explain.")
        else:
            place = 0
            ranked = self._engine.rank(
                asked.histories, [np.array([wanted])], exclude_users=asked.exclude_users
            )[0]
        return explain_candidate(
            ranked,
            place,
            user_id=user,
            rank=rank,
            whole_history=asked.histories[0],
            exclude_user=int(asked.exclude_users[0]),
            catalogue=parts.catalogue,
            view=parts.retrieval.view,
            paths=self._engine.signals.paths,
            blend=parts.blend,
            popularity=parts.popularity,
        )

    def search(self, query: str | Sequence[str], k: int = 20) -> Any:
        """Find items by words.

        Parameters
        ----------
        query
            Free text or a list of keywords.
        k
            At most this many items, 1 or more.

        Returns
        -------
        frame
            Columns ``item_id, title, keywords, rank, score``; items that share no word are not returned.
        """
        check_integer("k", k, 1)
        found, scores = self._engine.signals.search.search(query, k)
        view = self._parts.retrieval.view
        frame = pl.DataFrame(
            {
                "item_id": self._parts.catalogue.item_ids[found.tolist()],
                "title": pl.Series([view.contents[item].title for item in found], dtype=pl.String),
                "keywords": pl.Series(
                    [", ".join(view.keywords(int(item))) for item in found], dtype=pl.String
                ),
                "rank": np.arange(1, len(found) + 1, dtype=np.int32),
                "score": scores.astype(np.float32),
            }
        )
        return to_kind(frame, self._parts.catalogue.frame_kind)

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
            If the recommender is not fitted.
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
        images: str | Path | None = None,
        device: str | None = None,
    ) -> Recommender:
        """Read a saved recommender.

        Parameters
        ----------
        folder
            What :meth:`save` wrote.
        backbone
            Where the language model is to be found now, if not where it was.
        images
            Folder of the pictures, if not where it was.
        device
            As in the constructor.

        Returns
        -------
        Recommender
            Predicts as the saved one did.

        Raises
        ------
        StoredFileError
            If a file is missing, damaged, foreign or of a newer format, or the backbone is another one.
        """
        parts, parameters = load_components(folder, backbone=backbone, images=images, device=device)
        recommender = cls(**parameters)
        recommender._take(parts)
        return recommender

    @property
    def _engine(self) -> Engine:
        if not hasattr(self, "engine_"):
            raise InputError("this Recommender is not fitted; call fit, or Recommender.load.")
        return self.engine_

    @property
    def _parts(self) -> Components:
        _ = self._engine
        return self.parts_

    def _recommend(self, asked: Asked, k: int, allowed: Sequence[np.ndarray]) -> list[Ranked]:
        ranked: list[Ranked] = []
        for start in range(0, len(asked.histories), _USERS_AT_ONCE):
            part = slice(start, start + _USERS_AT_ONCE)
            ranked += self._engine.recommend(
                asked.histories[part],
                allowed[part],
                k=k,
                exclude_users=asked.exclude_users[part],
                progress="ranking candidates" if len(asked.histories) > 1 else None,
            )
        return ranked
