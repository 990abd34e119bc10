"""Stage 1: each item's picture and text become keywords, written by a language model that learns from rewards.

Stands between ``backbone`` and everything that works on keywords: retrieval, tuning, ranking, explanations.
"""

from __future__ import annotations

from mmsrarec.summarize.keywords import (
    ParsedAnswer,
    keyword_key,
    merge_keywords,
    normalize_keyword,
    parse_answer,
)
from mmsrarec.summarize.rewards import (
    KeywordScorer,
    RewardSettings,
    information_reward,
    length_reward,
    reconstruction_reward,
)
from mmsrarec.summarize.summarizer import Summarizer
from mmsrarec.summarize.table import KeywordRow, KeywordTable
from mmsrarec.summarize.targets import KeywordExtractor

__all__ = [
    "KeywordExtractor",
    "KeywordRow",
    "KeywordScorer",
    "KeywordTable",
    "ParsedAnswer",
    "RewardSettings",
    "Summarizer",
    "information_reward",
    "keyword_key",
    "length_reward",
    "merge_keywords",
    "normalize_keyword",
    "parse_answer",
    "reconstruction_reward",
]
