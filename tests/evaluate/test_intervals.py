from __future__ import annotations

import numpy as np
import pytest

from mmsrarec.errors import InputError
from mmsrarec.evaluate import bootstrap_interval, paired_test
from mmsrarec.evaluate import intervals as module


def test_interval_covers_the_true_mean_about_as_often_as_promised():
    rng = np.random.default_rng(0)
    samples = rng.normal(3.0, 2.0, size=(80, 300))
    low, high = bootstrap_interval(samples, seed=1)
    covered = (low < 3.0) & (high > 3.0)
    assert 0.9 <= covered.mean() <= 0.99
    np.testing.assert_allclose((high - low).mean(), 2 * 1.96 * 2.0 / np.sqrt(80), rtol=0.1)


def test_interval_is_seeded_and_paired_over_columns():
    values = np.random.default_rng(0).random(50)
    low, high = bootstrap_interval(np.column_stack([values, values + 1]), seed=3)
    assert low[1] - low[0] == pytest.approx(1)
    assert high[1] - high[0] == pytest.approx(1)
    assert bootstrap_interval(values, seed=3) == pytest.approx((low[0], high[0]), rel=1e-12)
    assert bootstrap_interval(values, seed=4) != pytest.approx((low[0], high[0]), rel=1e-12)


def test_chunks_of_resamples_are_all_used(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).random(40)
    whole = bootstrap_interval(values, resamples=500), paired_test(values, values[::-1], resamples=500)
    monkeypatch.setattr(module, "_DRAWS_AT_ONCE", 40 * 7)
    np.testing.assert_allclose(bootstrap_interval(values, resamples=500), whole[0])
    in_parts = paired_test(values, values[::-1], resamples=500)
    assert in_parts.p_value == pytest.approx(whole[1].p_value, abs=0.1)


def test_constant_values_have_no_width():
    low, high = bootstrap_interval(np.full(10, 0.25))
    assert low == high == 0.25


def test_paired_test_of_equal_models():
    same = np.random.default_rng(0).random(100)
    result = paired_test(same, same)
    assert (result.difference, result.p_value, result.users) == (0.0, 1.0, 100)


def test_p_values_are_uniform_when_neither_is_better():
    rng = np.random.default_rng(0)
    p_values = [
        paired_test(*rng.normal(size=(2, 40)), seed=trial, resamples=400).p_value for trial in range(200)
    ]
    assert np.mean(np.asarray(p_values) < 0.05) == pytest.approx(0.05, abs=0.045)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.08)


def test_paired_test_sees_a_small_steady_difference():
    rng = np.random.default_rng(0)
    base = rng.random(500)
    result = paired_test(base + 0.02 + rng.normal(0, 0.05, 500), base)
    assert result.p_value < 0.001
    assert 0 < result.low < result.difference < result.high
    opposite = paired_test(base, base + 0.02)
    assert opposite.difference == pytest.approx(-0.02)


def test_exact_p_value_of_few_users():
    # All four signs equal: 2 of 16 sign patterns are as large.
    assert paired_test(np.ones(4), np.zeros(4)).p_value == pytest.approx(2 / 16, abs=0.01)


def test_arguments_are_checked():
    with pytest.raises(InputError, match="one user or more"):
        bootstrap_interval([])
    with pytest.raises(InputError, match="one value a user each"):
        paired_test([1.0, 2.0], [1.0])
