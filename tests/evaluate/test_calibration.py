"""Reliability: a calibrated forecaster lies on the line, a bold one off it by as much as it is bold."""

import numpy as np
import pytest

from mmsrarec.errors import InputError
from mmsrarec.evaluate import calibration_error, reliability


def test_a_calibrated_forecaster_lies_on_the_line() -> None:
    rng = np.random.default_rng(0)
    said = rng.random((2000, 21))
    true = rng.random(said.shape) < said
    bins = reliability(said, true)
    assert bins["count"].sum() == said.size
    assert np.abs(bins["predicted"] - bins["observed"]).max() < 0.03
    assert calibration_error(bins) < 0.01
    assert calibration_error(reliability(said, rng.random(said.shape) < said / 2)) == pytest.approx(
        0.25, abs=0.02
    )


def test_the_ends_have_their_bins_and_empty_ones_are_left_out() -> None:
    bins = reliability([0.0, 1.0, 0.95], [False, True, False])
    assert bins.rows() == [(0.0, 0.0, 1), (pytest.approx(0.975), 0.5, 2)]


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(InputError, match="must be between 0 and 1"):
        reliability([0.5, np.nan], [True, False])
    with pytest.raises(InputError, match="must have the shape of probability"):
        reliability([0.5, 0.2], [True])
