"""Which candidate comes first: plain signals, the language model's probability, and the blend of them."""

from mmsrarec.rank.blend_ranker import BlendRanker
from mmsrarec.rank.mllm_ranker import MLLMRanker
from mmsrarec.rank.signals import (
    FEATURES,
    Signals,
    UserSignals,
    choose_candidates,
    logit,
    sequence_log_probability,
    top_items,
)

__all__ = [
    "FEATURES",
    "BlendRanker",
    "MLLMRanker",
    "Signals",
    "UserSignals",
    "choose_candidates",
    "logit",
    "sequence_log_probability",
    "top_items",
]
