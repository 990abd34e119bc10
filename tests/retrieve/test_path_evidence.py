"""Evidence of a candidate: what co-interaction finds, in one line."""

import numpy as np
import pytest

from mmsrarec.errors import InputError
from mmsrarec.retrieve import CoInteraction, ItemView, PathEvidence, PathFinder


def test_it_tells_what_co_interaction_finds(catalogue, paths: CoInteraction) -> None:
    histories = catalogue.histories()
    items = np.arange(catalogue.n_items)
    for user in range(5):
        found = PathFinder(paths, shared_items=2).find(histories[user], items, exclude_user=user)
        counts, bridges = paths.evidence(histories[user], items, max_paths=8, exclude_user=user)
        assert [one.bridge_users for one in found] == counts.tolist()
        for item, one in enumerate(found):
            through = [shared for shared in bridges.items[item].tolist() if shared >= 0]
            assert set(one.shared_items) <= set(through) & set(histories[user].tolist())
            assert len(one.shared_items) == min(2, len(set(through)))
            assert one.shared_items[:1] == tuple(through[:1])


def test_nothing_is_said_of_nothing(view: ItemView, paths: CoInteraction) -> None:
    assert PathEvidence().text(view) == ""
    assert PathFinder(paths, shared_items=0).find(np.array([0]), np.array([1, 2])) == [PathEvidence()] * 2
    assert PathFinder(paths).find(np.array([0]), np.array([], int)) == []
    assert PathEvidence(1, (3, 4)).text(view).startswith("Chosen by 1 person who also chose: ")
    with pytest.raises(InputError, match="shared_items must be 0 or more, got -1"):
        PathFinder(paths, shared_items=-1)
