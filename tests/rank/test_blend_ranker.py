"""The logistic blend: learns which signal to trust, explains itself, survives saving to the bit."""

from pathlib import Path

import numpy as np
import pytest

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.rank import FEATURES, BlendRanker
from mmsrarec.storage import read_json, write_json


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(2000, len(FEATURES))) * [1, 10, 0.1, 1, 5, 1] + 3
    matrix[:, 4] = 7.0
    is_next = rng.random(2000) < 1 / (1 + np.exp(-(2 * (matrix[:, 0] - 3) + 0.1 * (matrix[:, 1] - 3))))
    return matrix, is_next


def test_weights_follow_the_signal(data: tuple[np.ndarray, np.ndarray]) -> None:
    blend = BlendRanker().fit(*data)
    strength = dict(zip(FEATURES, np.abs(blend.coefficient_), strict=True))
    assert strength["mllm_logit"] > strength["sequence"] > max(strength["keywords"], strength["neighbours"])
    assert strength["popularity"] == 0
    matrix, is_next = data
    probability = blend.probability(matrix)
    for low, high in ((0.0, 0.2), (0.4, 0.6), (0.8, 1.0)):
        inside = (probability >= low) & (probability < high)
        assert abs(is_next[inside].mean() - probability[inside].mean()) < 0.08


def test_contributions_add_up(data: tuple[np.ndarray, np.ndarray]) -> None:
    blend = BlendRanker().fit(*data)
    matrix = data[0][:5]
    assert blend.contributions(matrix).sum(axis=1) + blend.intercept_ == pytest.approx(blend.score(matrix))
    assert np.log(blend.probability(matrix) / (1 - blend.probability(matrix))) == pytest.approx(
        blend.score(matrix)
    )


def test_saved_and_loaded_to_the_bit(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    blend = BlendRanker().fit(*data)
    blend.save(tmp_path)
    assert np.array_equal(BlendRanker.load(tmp_path).score(data[0]), blend.score(data[0]))


def test_other_features_are_refused(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    BlendRanker().fit(*data).save(tmp_path)
    write_json(tmp_path / "blend.json", read_json(tmp_path / "blend.json") | {"features": ["other"]})
    with pytest.raises(StoredFileError, match=r"was fitted on features \('other',\)"):
        BlendRanker.load(tmp_path)
    write_json(tmp_path / "blend.json", [])
    with pytest.raises(StoredFileError, match="was fitted on features"):
        BlendRanker.load(tmp_path)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_a_clear_error(label: int) -> None:
    with pytest.raises(InputError, match="is_next must hold positives and negatives"):
        BlendRanker().fit(np.zeros((3, len(FEATURES))), np.full(3, label))
