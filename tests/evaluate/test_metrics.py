from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.functional import retrieval

from mmsrarec.errors import InputError
from mmsrarec.evaluate import auc, hit_rate, mid_ranks, ndcg, reciprocal_rank

# torchmetrics counts in float32, squashes scores outside 0 … 1, and takes only those above 0 for retrieved.
different_scores = st.tuples(st.integers(1, 5), st.integers(2, 25)).flatmap(
    lambda shape: arrays(
        np.float32, shape, elements=st.integers(1, 2047).map(lambda n: n / 2048), unique=True
    )
)
tied_scores = arrays(
    np.float64, st.tuples(st.integers(1, 8), st.integers(2, 25)), elements=st.integers(0, 3).map(float)
)


@settings(max_examples=30)
@given(different_scores, st.integers(1, 12))
def test_without_ties_they_are_those_of_torchmetrics(scores: np.ndarray, k: int):
    ranks = mid_ranks(scores[:, 0], scores[:, 1:])
    relevant = torch.zeros(scores.shape[1], dtype=torch.long)
    relevant[0] = 1
    for row, rank in zip(torch.from_numpy(scores), ranks[:, None], strict=True):
        top = min(k, len(row))
        assert hit_rate(rank, k) == retrieval.retrieval_hit_rate(row, relevant, top_k=top).item()
        assert ndcg(rank, k)[0] == pytest.approx(
            retrieval.retrieval_normalized_dcg(row, relevant, top_k=top).item(), abs=1e-6
        )
        assert reciprocal_rank(rank)[0] == pytest.approx(
            retrieval.retrieval_reciprocal_rank(row, relevant).item(), abs=1e-6
        )
        assert auc(rank, len(row) - 1)[0] == pytest.approx(
            retrieval.retrieval_auroc(row, relevant).item(), abs=1e-6
        )


@settings(max_examples=50)
@given(tied_scores)
def test_auc_with_ties_is_that_of_torchmetrics(scores: np.ndarray):
    values = auc(mid_ranks(scores[:, 0], scores[:, 1:]), scores.shape[1] - 1)
    relevant = torch.zeros(scores.shape[1], dtype=torch.long)
    relevant[0] = 1
    expected = [retrieval.retrieval_auroc(row, relevant).item() for row in torch.from_numpy(scores)]
    np.testing.assert_allclose(values, expected, atol=1e-6)


@given(tied_scores)
def test_mid_ranks_are_the_mean_over_orders_of_ties(scores: np.ndarray):
    ranks = mid_ranks(scores[:, 0], scores[:, 1:])
    best = (scores[:, 1:] > scores[:, :1]).sum(axis=1)
    worst = (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
    assert np.array_equal(ranks, (best + worst) / 2)


def test_a_constant_model_is_no_better_than_chance():
    ranks = mid_ranks(np.zeros(4), np.zeros((4, 20)))
    assert auc(ranks, 20).tolist() == [0.5] * 4
    assert hit_rate(ranks, 5).sum() == 0


def test_minus_infinity_leaves_a_negative_out():
    assert mid_ranks([0.0], [[1.0, -np.inf, -1.0]]).tolist() == [1.0]


@pytest.mark.parametrize(("positive", "negatives"), [([np.nan], [[0.0]]), ([0.0], [[np.nan]])])
def test_nan_is_refused(positive: list[float], negatives: list[list[float]]):
    with pytest.raises(InputError, match="NaN"):
        mid_ranks(positive, negatives)
