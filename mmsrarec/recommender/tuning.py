"""The ranker's two steps of tuning: an adapter where there is time for one, and a readout.

Both learn from training users; what they make is judged on people they did not learn from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmsrarec.backbone import Readout, supervised_tune
from mmsrarec.data import Histories
from mmsrarec.progress import logger
from mmsrarec.recommender.components import RANK_ADAPTER, Components, join
from mmsrarec.recommender.settings import FitSettings
from mmsrarec.summarize.warm_start import add_fresh_adapter, language_lora
from mmsrarec.tune import DEFAULT_MIXTURE, compared_states, fit_readout, last_choices, sample_examples

__all__ = ["make_readout", "tune_adapter"]


def tune_adapter(
    parts: Components,
    settings: FitSettings,
    histories: Histories,
    *,
    validate: Callable[[], float] | None,
    folder: Path,
    checkpoint: Path,
) -> None:
    """Tune the ranker's adapter on the mixture of tasks, and save it.

    Parameters
    ----------
    parts
        What prompts are written from, and the backbone.
    settings
        Sizes, seed, and the configurations of TRL and PEFT.
    histories
        Of training users.
    validate
        As in :func:`mmsrarec.backbone.supervised_tune`.
    folder
        Where the adapter is saved.
    checkpoint
        For what an interrupted run goes on from.
    """
    backbone = parts.require_language_model().backbone
    examples = sample_examples(
        histories,
        parts.retrieval.builder,
        count=settings.preset.tune_examples,
        mixture={"compare": 1.0} if "multi_task" in settings.without else DEFAULT_MIXTURE,
        hard_candidates=join(parts, candidates=settings.preset.candidates).candidates,
        seed=settings.seed,
    )
    lora = settings.lora or language_lora(backbone)
    add_fresh_adapter(backbone, RANK_ADAPTER, lora, seed=settings.seed)
    supervised_tune(
        backbone,
        RANK_ADAPTER,
        [example.prompt for example in examples],
        [example.answer for example in examples],
        config=settings.sft,
        workdir=checkpoint,
        seed=settings.seed,
        validate=validate,
        description="tuning the ranker",
    )
    backbone.save_adapter(RANK_ADAPTER, folder)


def make_readout(
    parts: Components, settings: FitSettings, histories: Histories, *, checkpoint: Path
) -> Readout | None:
    """Fit the readout on what training users chose last; ``None`` if none is better than the words alone.

    Parameters
    ----------
    parts, settings, histories, checkpoint
        As in :func:`tune_adapter`; the adapter, if one was tuned, is in the backbone.
    """
    model = parts.require_language_model()
    examples = last_choices(
        histories,
        parts.retrieval.builder,
        count=settings.preset.readout_users,
        hard_candidates=join(parts, candidates=settings.preset.candidates).candidates,
        seed=settings.seed,
    )
    with model.backbone.adapter(RANK_ADAPTER if model.tuned else None):
        fitted = fit_readout(*compared_states(model.backbone, examples, workdir=checkpoint))
    readout = fitted.readout
    where = None if readout is None else readout.layer or model.backbone.depth
    logger.info(
        "readout of %d training users: AUC of p %.3f without, %.3f with it for those left out, %s",
        len(examples), fitted.auc_without, fitted.auc_with,
        "not kept" if readout is None else f"read after layer {where} of {model.backbone.depth}",
    )  # fmt: skip
    return readout
