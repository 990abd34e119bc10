"""From contexts to training examples: templates, the four kinds of task, and seeded sampling.

The fine-tuning itself is :func:`mmsrarec.backbone.supervised_tune`, which the summarizer's warm start uses too.
"""

from mmsrarec.tune.negatives import DEFAULT_NEGATIVES, draw_negatives
from mmsrarec.tune.prompts import TEMPLATES, WORDINGS, fill, template_fingerprint, template_text
from mmsrarec.tune.readout import READ_BELOW, FittedReadout, compared_states, fit_readout
from mmsrarec.tune.sampling import DEFAULT_MIXTURE, PAPER_MIXTURE, last_choices, sample_examples
from mmsrarec.tune.tasks import (
    Example,
    choose_next,
    compare,
    match_keywords,
    next_keywords,
    yes_no,
    yes_no_prompt,
)
from mmsrarec.tune.validation import each_auc, mean_auc, ranking_validation

__all__ = [
    "DEFAULT_MIXTURE",
    "DEFAULT_NEGATIVES",
    "PAPER_MIXTURE",
    "READ_BELOW",
    "TEMPLATES",
    "WORDINGS",
    "Example",
    "FittedReadout",
    "choose_next",
    "compare",
    "compared_states",
    "draw_negatives",
    "each_auc",
    "fill",
    "fit_readout",
    "last_choices",
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
