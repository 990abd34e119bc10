"""From contexts to training examples: templates, the four kinds of task, and seeded sampling.

The fine-tuning itself is :func:`mmsrarec.backbone.supervised_tune`, which the summarizer's warm start uses too.
"""

from mmsrarec.tune.negatives import DEFAULT_NEGATIVES, draw_negatives
from mmsrarec.tune.prompts import TEMPLATES, WORDINGS, fill, template_fingerprint, template_text
from mmsrarec.tune.sampling import DEFAULT_MIXTURE, sample_examples
from mmsrarec.tune.tasks import (
    Example,
    choose_next,
    match_keywords,
    next_keywords,
    yes_no,
    yes_no_prompt,
)
from mmsrarec.tune.validation import mean_auc, ranking_validation

__all__ = [
    "DEFAULT_MIXTURE",
    "DEFAULT_NEGATIVES",
    "TEMPLATES",
    "WORDINGS",
    "Example",
    "choose_next",
    "draw_negatives",
    "fill",
    "match_keywords",
    "mean_auc",
    "next_keywords",
    "ranking_validation",
    "sample_examples",
    "template_fingerprint",
    "template_text",
    "yes_no",
    "yes_no_prompt",
]
