"""Which candidate comes first: the language model's probability, and its blend with plain signals."""

from mmsrarec.rank.blend_ranker import BlendRanker
from mmsrarec.rank.candidates import CandidateSource, top_items
from mmsrarec.rank.features import FEATURES, FeatureBuilder, logit, sequence_log_probability
from mmsrarec.rank.mllm_ranker import MLLMRanker

__all__ = [
    "FEATURES",
    "BlendRanker",
    "CandidateSource",
    "FeatureBuilder",
    "MLLMRanker",
    "logit",
    "sequence_log_probability",
    "top_items",
]
