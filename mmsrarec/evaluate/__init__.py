"""How good the recommendations are, measured the same way for every model.

Stands above the recommender. :func:`evaluate` asks scorers about the same :class:`EvaluationCases`, under the paper's
protocol (one positive among 20 negatives) and over the full catalogue, always beside :class:`Popularity` and
item-kNN, and returns an :class:`EvaluationTable` with bootstrap intervals by user.
"""

from mmsrarec.evaluate.ablations import ablation_gains, evaluate_ablations
from mmsrarec.evaluate.baselines import Popularity
from mmsrarec.evaluate.calibration import calibration_error, reliability
from mmsrarec.evaluate.cases import EvaluationCases
from mmsrarec.evaluate.cost import RecommendationCost, recommendation_cost
from mmsrarec.evaluate.evaluation import Scorer, evaluate
from mmsrarec.evaluate.intervals import PairedTest, bootstrap_interval, paired_test
from mmsrarec.evaluate.metrics import auc, hit_rate, mid_ranks, ndcg, reciprocal_rank
from mmsrarec.evaluate.recommender_evaluation import evaluate_recommender
from mmsrarec.evaluate.table import EvaluationTable

__all__ = [
    "EvaluationCases",
    "EvaluationTable",
    "PairedTest",
    "Popularity",
    "RecommendationCost",
    "Scorer",
    "ablation_gains",
    "auc",
    "bootstrap_interval",
    "calibration_error",
    "evaluate",
    "evaluate_ablations",
    "evaluate_recommender",
    "hit_rate",
    "mid_ranks",
    "ndcg",
    "paired_test",
    "reciprocal_rank",
    "recommendation_cost",
    "reliability",
]
