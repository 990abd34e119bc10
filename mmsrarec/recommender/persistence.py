"""Saves and loads the fitted parts as one artefact: safetensors, Parquet and JSON.

========================  =======================================================================
``parameters.json``       the constructor's parameters, and what identifies the backbone
``catalogue/``            the items: ids, texts, names of pictures
``keywords.parquet``      the keywords of each item, and its events in training
``users.parquet``         known users and their histories
``sequence_model/``       SASRec or GRU4Rec
``similar_users/``        the knowledge base
``ranker/``               the tuned adapter, if there is one
``alignment/``            the aligned projector, if there is one
``blend.json``            the learned order and its calibration
``backbone/``             the language model itself, only if it was given as a loaded pair
========================  =======================================================================
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from mmsrarec.backbone import Backbone, load_projector, save_projector
from mmsrarec.data import BadRows, Dataset
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.rank import BlendRanker
from mmsrarec.recommender.components import RANK_ADAPTER, Components, Retrieval
from mmsrarec.recommender.known_users import KnownUsers
from mmsrarec.recommender.presets import Preset
from mmsrarec.retrieve import SequenceModel, SimilarUsers
from mmsrarec.storage import atomic_path, fingerprint, read_artefact, read_json, write_artefact, write_json
from mmsrarec.tune import template_fingerprint

__all__ = ["KIND", "load_components", "save_components"]

KIND = "recommender"
_NOT_STORED = ("lora", "grpo", "sft", "encoder", "device")


def save_components(parts: Components, parameters: dict[str, Any], folder: str | Path) -> None:
    """Write the fitted parts; see the module's table for the files.

    Parameters
    ----------
    parts
        What the fit made.
    parameters
        The recommender's constructor parameters. Training configurations are not stored: they are not
        needed to predict.
    folder
        Final name of the artefact.
    """
    loaded_pair = isinstance(parameters["backbone"], tuple | list)
    images = parts.catalogue.images
    stored = {name: value for name, value in parameters.items() if name not in _NOT_STORED}
    stored["backbone"] = None if loaded_pair else str(parameters["backbone"])
    preset = parameters["preset"]
    stored["preset"] = vars(preset) if isinstance(preset, Preset) else preset
    stored["without"] = sorted(parts.without)
    about = {
        "parameters": stored,
        "backbone_fingerprint": parts.backbone.fingerprint,
        "tuned": parts.tuned,
        "templates": template_fingerprint(),
        "aligned": parts.aligned,
        "images": None if images is None else str(Path(images.root).resolve()),
    }

    def write(path: Path) -> None:
        write_json(path / "parameters.json", about)
        _without_interactions(parts.catalogue).save(path / "catalogue")
        with atomic_path(path / "keywords.parquet") as temporary:
            _keywords_frame(parts).write_parquet(temporary)
        parts.users.save(path / "users.parquet")
        parts.retrieval.sequence_model.save(path / "sequence_model")
        parts.retrieval.similar_users.save(path / "similar_users")
        parts.blend.save(path)
        if parts.tuned:
            parts.backbone.save_adapter(RANK_ADAPTER, path / "ranker")
        if parts.aligned:
            save_projector(parts.backbone, path / "alignment")
        if loaded_pair:
            parts.backbone.save_pretrained(path / "backbone")

    made_from = fingerprint(about["backbone_fingerprint"], parts.retrieval.keywords, parts.popularity)
    write_artefact(folder, KIND, made_from, write)


def load_components(
    folder: str | Path, *, backbone: Any, images: str | Path | None, device: str | None
) -> tuple[Components, dict[str, Any]]:
    """Read what :func:`save_components` wrote.

    Returns
    -------
    parts : Components
        The fitted parts.
    parameters : dict
        Constructor parameters of the recommender.

    Raises
    ------
    StoredFileError
        If the folder is damaged, foreign or of a newer format, or the backbone is not the one it was
        fitted with.
    """
    folder = Path(folder)
    read_artefact(folder, KIND)
    blend = BlendRanker.load(folder)  # first, since it says so at once if the model is of an older version
    about = read_json(folder / "parameters.json")
    if about["tuned"] and about.get("templates") != template_fingerprint():
        raise StoredFileError(
            f"{folder} was tuned on prompts that this version words differently; load it with the version that "
            "fitted it, or fit again."
        )
    parameters = dict(about["parameters"])
    if isinstance(parameters["preset"], dict):
        parameters["preset"] = Preset(**parameters["preset"])
    parameters["reward_weights"] = tuple(parameters["reward_weights"])
    parameters["device"] = device
    if backbone is not None or parameters["backbone"] is None:
        parameters["backbone"] = backbone if backbone is not None else str(folder / "backbone")
    model = Backbone.load(
        parameters["backbone"], device=device, trust_remote_code=parameters["trust_remote_code"]
    )
    if about["aligned"]:
        load_projector(model, folder / "alignment")
    if model.fingerprint != about["backbone_fingerprint"]:
        raise StoredFileError(
            f"{folder} was fitted with another backbone than {parameters['backbone']!r} is now; give the model "
            "it was fitted with as backbone=, or fit again."
        )
    if about["tuned"]:
        model.load_adapter(RANK_ADAPTER, folder / "ranker")
    catalogue = _load_catalogue(folder / "catalogue", images if images is not None else about["images"])
    words = pl.read_parquet(folder / "keywords.parquet")
    sequence_model = SequenceModel.load(folder / "sequence_model")
    users = KnownUsers.load(folder / "users.parquet")
    retrieval = Retrieval.assemble(
        model,
        [catalogue.item_content(item) for item in range(catalogue.n_items)],
        [tuple(keywords) for keywords in words["keywords"].to_list()],
        sequence_model,
        SimilarUsers.load(folder / "similar_users", sequence_model),
        users.training_histories(),
        history=parameters["history"],
        neighbours=parameters["similar_users"],
        without=frozenset(parameters["without"]),
    )
    parts = Components(
        catalogue=catalogue,
        users=users,
        popularity=words["training_events"].to_numpy(),
        backbone=model,
        aligned=about["aligned"],
        tuned=about["tuned"],
        retrieval=retrieval,
        blend=blend,
        without=frozenset(parameters["without"]),
    )
    return parts, parameters


def _keywords_frame(parts: Components) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": parts.catalogue.item_ids,
            "keywords": pl.Series(
                [list(words) for words in parts.retrieval.keywords], dtype=pl.List(pl.String)
            ),
            "training_events": pl.Series(parts.popularity, dtype=pl.Int64),
        }
    )


def _without_interactions(catalogue: Dataset) -> Dataset:
    return replace(
        catalogue,
        interactions=catalogue.interactions.clear(),
        user_ids=catalogue.user_ids.clear(),
        bad_rows=BadRows(),
    )


def _load_catalogue(folder: Path, images: str | Path | None) -> Dataset:
    if images is not None and not Path(images).is_dir():
        raise InputError(
            f"images folder {images} is not there; give its place as images= "
            "(pictures are part of what the model reads)."
        )
    return Dataset.load(folder, images=images)
