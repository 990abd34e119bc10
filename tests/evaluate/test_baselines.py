from __future__ import annotations

import numpy as np

from mmsrarec.data import Histories
from mmsrarec.evaluate import Popularity


def test_popularity_counts_events():
    model = Popularity().fit(Histories.from_lists([[0, 1, 2], [1, 2, 2], [0, 1], [3], []]), 5)
    assert model.scores([[0], [3]]).tolist() == [[2, 3, 3, 1, 0]] * 2
    assert model.scores([[0], [3]], [[4, 1], [3, 0]]).tolist() == [[0, 3], [1, 2]]
    assert model.scores([[0]]).dtype == np.float32
