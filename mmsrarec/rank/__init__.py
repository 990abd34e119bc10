"""Which candidate comes first: plain signals, the language model's probability, and the blend of them."""

from mmsrarec.rank.blend_ranker import BlendRanker
from mmsrarec.rank.kept_probabilities import KeptProbabilities
from mmsrarec.rank.mllm_ranker import MLLMRanker
from mmsrarec.rank.signals import (
    FEATURES,
    PLAIN,
    Signals,
    UserSignals,
    choose_candidates,
    logit,
    sequence_log_probability,
    top_items,
)
from mmsrarec.rank.student import Student, student_inputs

__all__ = [
    "FEATURES",
    "PLAIN",
    "BlendRanker",
    "KeptProbabilities",
    "MLLMRanker",
    "Signals",
    "Student",
    "UserSignals",
    "choose_candidates",
    "logit",
    "sequence_log_probability",
    "student_inputs",
    "top_items",
]
