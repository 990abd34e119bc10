"""The multimodal language model: loading, prompts, generation, scores, and adapters.

Stands between ``data`` and the stages: ``summarize``, ``tune`` and ``rank`` ask their questions here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mmsrarec.backbone.backbone import Backbone
from mmsrarec.backbone.cost import Cost, counting
from mmsrarec.backbone.projector import load_projector, save_projector
from mmsrarec.backbone.prompt import Encoded, PictureLike, Prompt
from mmsrarec.backbone.readout import Readout
from mmsrarec.backbone.token_budget import count_tokens, cut_text, load_tokenizer, save_tokenizer

if TYPE_CHECKING:
    from mmsrarec.backbone.sentence_encoder import SentenceEncoder
    from mmsrarec.backbone.supervised import supervised_tune

__all__ = [
    "Backbone",
    "Cost",
    "Encoded",
    "PictureLike",
    "Prompt",
    "Readout",
    "SentenceEncoder",
    "count_tokens",
    "counting",
    "cut_text",
    "load_projector",
    "load_tokenizer",
    "save_projector",
    "save_tokenizer",
    "supervised_tune",
]

# sentence-transformers and trl take seconds to import, and many users of a backbone need neither.
_LATE = {
    "SentenceEncoder": "mmsrarec.backbone.sentence_encoder",
    "supervised_tune": "mmsrarec.backbone.supervised",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
