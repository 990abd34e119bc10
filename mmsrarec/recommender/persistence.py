"""Saves and loads the fitted parts as one artefact: safetensors, Parquet and JSON.

========================  =======================================================================
``parameters.json``       the constructor's parameters, and what identifies the backbone
``data/``                 the items (ids, texts, names of pictures), known users and their events
``training.safetensors``  which users and events are knowledge about others
``keywords.parquet``      the keywords of each item, and the hash of what they were made from
``summarizer/``           what writes the keywords of new items
``sequence_model/``       SASRec or GRU4Rec
``similar_users/``        the knowledge base
``tokenizer.json``        the language model's tokenizer, all of it that a load without the model needs
``ranker/``               the tuned adapter, if there is one
``readout.safetensors``   the readout, if there is one
``alignment/``            the aligned projector, if there is one
``blend.json``            the learned order and its calibration
``student.json``          what guesses p(yes) where the language model is not to be asked, unless that was left out
``vectors.safetensors``   what the items' texts say, if the student reads them
``backbone/``             the language model itself, only if it was given as a loaded pair
``encoder/``              the sentence encoder itself, only if it was given loaded
========================  =======================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from safetensors.numpy import load_file, save_file

from mmsrarec.backbone import (
    Backbone,
    Readout,
    SentenceEncoder,
    load_projector,
    load_tokenizer,
    save_projector,
    save_tokenizer,
)
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.rank import BlendRanker, Student
from mmsrarec.recommender.components import RANK_ADAPTER, READOUT, Components, LanguageModel, Retrieval
from mmsrarec.recommender.known_users import KnownUsers
from mmsrarec.recommender.presets import Preset
from mmsrarec.retrieve import SequenceModel, SimilarUsers
from mmsrarec.storage import (
    MANIFEST,
    atomic_path,
    fingerprint,
    read_artefact,
    read_json,
    write_artefact,
    write_json,
)
from mmsrarec.summarize import Summarizer
from mmsrarec.tune import template_fingerprint

__all__ = ["KIND", "load_components", "save_components"]

KIND = "recommender"
_VECTORS = "vectors.safetensors"
_TOKENIZER = "tokenizer.json"
_OF_THE_LANGUAGE_MODEL = ("alignment", "backbone", "ranker", READOUT, "summarizer")
_NOT_STORED = ("lora", "grpo", "sft", "device")


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

    Raises
    ------
    InputError
        If the recommender was loaded without its language model.
    """
    model = parts.require_language_model()
    given = {name: parameters[name] for name in ("backbone", "encoder")}
    inside = {name: _travels(name, value) for name, value in given.items()}
    images = parts.users.data.images
    stored = {name: value for name, value in parameters.items() if name not in _NOT_STORED}
    for name, value in given.items():
        stored[name] = None if value is None or inside[name] else str(value)
    preset = parameters["preset"]
    stored["preset"] = vars(preset) if isinstance(preset, Preset) else preset
    stored["without"] = sorted(parts.without)
    about = {
        "parameters": stored,
        "backbone_fingerprint": model.backbone.fingerprint,
        "encoder_fingerprint": parts.encoder_fingerprint,
        "tuned": model.tuned,
        "readout": model.readout is not None,
        "student": parts.student is not None,
        "templates": template_fingerprint(),
        "aligned": model.aligned,
        "images": None if images is None else str(Path(images.root).resolve()),
    }
    signals = parts.retrieval.signals

    def write(path: Path) -> None:
        write_json(path / "parameters.json", about)
        parts.users.save(path)
        with atomic_path(path / "keywords.parquet") as temporary:
            _keywords_frame(parts).write_parquet(temporary)
        signals.sequence_model.save(path / "sequence_model")
        signals.similar_users.save(path / "similar_users")
        model.summarizer.save(path / "summarizer", training=False)
        parts.blend.save(path)
        if parts.student:
            parts.student.save(path)
        if parts.vectors is not None:
            save_file({"vectors": parts.vectors}, path / _VECTORS)
        save_tokenizer(model.backbone.tokenizer, path / _TOKENIZER)
        if model.tuned:
            model.backbone.save_adapter(RANK_ADAPTER, path / "ranker")
        if model.readout:
            model.readout.save(path / READOUT)
        if model.aligned:
            save_projector(model.backbone, path / "alignment")
        if inside["backbone"]:
            model.backbone.save_pretrained(path / "backbone")
        if inside["encoder"]:
            SentenceEncoder.load(given["encoder"]).model.save(str(path / "encoder"))

    made_from = fingerprint(
        about["backbone_fingerprint"],
        parts.users.data.fingerprint,
        parts.content_keys,
        [list(words) for words in parts.retrieval.keywords],
        signals.sequence_model.fingerprint_,
    )
    write_artefact(folder, KIND, made_from, write)


def _travels(name: str, given: Any) -> bool:
    """Say whether a model was given loaded, or lies inside of a saved recommender, and so is saved with this one."""
    if given is None:
        return False
    if not isinstance(given, str | Path):
        return True
    return Path(given).name == name and (Path(given).parent / MANIFEST).exists()


def load_components(
    folder: str | Path,
    *,
    backbone: Any,
    encoder: Any,
    images: str | Path | None,
    device: str | None,
    language_model: bool,
) -> tuple[Components, dict[str, Any]]:
    """Read what :func:`save_components` wrote; with `language_model` false, without the model itself.

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
    read_artefact(folder, KIND, unread=() if language_model else _OF_THE_LANGUAGE_MODEL)
    blend = BlendRanker.load(folder)  # first, since it says so at once if the model is of an older version
    about = read_json(folder / "parameters.json")
    if not {"encoder_fingerprint", "readout"} <= about.keys():
        raise StoredFileError(
            f"{folder} was saved by an earlier version, without what an update needs; fit again in its workdir."
        )
    if (about["tuned"] or about["readout"]) and about.get("templates") != template_fingerprint():
        raise StoredFileError(
            f"{folder} was tuned on prompts that this version words differently; load it with the version that "
            "fitted it, or fit again."
        )
    parameters = dict(about["parameters"])
    if isinstance(parameters["preset"], dict):
        parameters["preset"] = Preset(**parameters["preset"])
    parameters["reward_weights"] = tuple(parameters["reward_weights"])
    parameters["device"] = device
    for name, given in (("backbone", backbone), ("encoder", encoder)):
        if given is not None:
            parameters[name] = given
        elif (folder / name).is_dir():
            parameters[name] = str(folder / name)
    model = _load_language_model(folder, about, parameters) if language_model else None
    users = _load_users(folder, images if images is not None else about["images"])
    words = pl.read_parquet(folder / "keywords.parquet")
    keywords = [tuple(keywords) for keywords in words["keywords"].to_list()]
    if len(keywords) != users.data.n_items:
        raise StoredFileError(f"{folder} holds files that belong to different models; it is damaged.")
    sequence_model = SequenceModel.load(folder / "sequence_model")
    without = frozenset(parameters["without"])
    retrieval = Retrieval.assemble(
        _load_tokenizer(folder) if model is None else model.backbone.tokenizer,
        [users.data.item_content(item) for item in range(users.data.n_items)],
        keywords,
        sequence_model,
        SimilarUsers.load(folder / "similar_users", sequence_model),
        users.training_histories(),
        history=parameters["history"],
        neighbours=parameters["similar_users"],
        without=without,
    )
    student = Student.load(folder) if about["student"] else None
    vectors = load_file(folder / _VECTORS)["vectors"] if student and student.informative else None
    if vectors is not None and len(vectors) != users.data.n_items:
        raise StoredFileError(f"{folder} holds files that belong to different models; it is damaged.")
    parts = Components(
        users=users,
        content_keys=words["content"].to_list(),
        language_model=model,
        encoder_fingerprint=about["encoder_fingerprint"],
        retrieval=retrieval,
        blend=blend,
        without=without,
        student=student,
        vectors=vectors,
    )
    return parts, parameters


def _load_language_model(folder: Path, about: dict[str, Any], parameters: dict[str, Any]) -> LanguageModel:
    backbone = Backbone.load(
        parameters["backbone"],
        device=parameters["device"],
        trust_remote_code=parameters["trust_remote_code"],
    )
    if about["aligned"]:
        load_projector(backbone, folder / "alignment")
    if backbone.fingerprint != about["backbone_fingerprint"]:
        raise StoredFileError(
            f"{folder} was fitted with another backbone than {parameters['backbone']!r} is now; give the model "
            "it was fitted with as backbone=, or fit again."
        )
    if about["tuned"]:
        backbone.load_adapter(RANK_ADAPTER, folder / "ranker")
    return LanguageModel(
        backbone,
        aligned=about["aligned"],
        tuned=about["tuned"],
        summarizer=Summarizer.load(folder / "summarizer", backbone=backbone),
        readout=Readout.load(folder / READOUT) if about["readout"] else None,
    )


def _load_tokenizer(folder: Path) -> Any:
    file = folder / _TOKENIZER
    if not file.exists():
        raise StoredFileError(
            f"{folder} was saved by an earlier version, without what a load without the language model needs; load "
            "it with the language model and save it again."
        )
    return load_tokenizer(file)


def _keywords_frame(parts: Components) -> pl.DataFrame:
    keywords = [list(words) for words in parts.retrieval.keywords]
    return pl.DataFrame(
        {
            "item_id": parts.catalogue.item_ids,
            "keywords": pl.Series(keywords, dtype=pl.List(pl.String)),
            "content": parts.content_keys,
        }
    )


def _load_users(folder: Path, images: str | Path | None) -> KnownUsers:
    if images is not None and not Path(images).is_dir():
        raise InputError(
            f"images folder {images} is not there; give its place as images= "
            "(pictures are part of what the model reads)."
        )
    return KnownUsers.load(folder, images)
