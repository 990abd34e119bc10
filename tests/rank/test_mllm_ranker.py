"""The ranker asks the yes/no prompt of each candidate and gives the answers back in order."""

import numpy as np
import pytest

from mmsrarec.rank import MLLMRanker
from mmsrarec.tune import yes_no_prompt


@pytest.mark.parametrize("family", ["tiny_llava", "tiny_qwen", "tiny_smolvlm"])
def test_equals_asking_one_by_one(catalogue, builder, family: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(family)
    contexts = builder.build([catalogue.histories()[user] for user in (0, 1)])
    candidates = [np.array([4, 9, 2]), np.array([9])]
    found = MLLMRanker(backbone, builder.view, adapter=None).probability(contexts, candidates)
    for context, items, probabilities in zip(contexts, candidates, found, strict=True):
        assert probabilities.dtype == np.float32
        for item, probability in zip(items, probabilities, strict=True):
            [alone] = backbone.first_token_probability(
                [yes_no_prompt(context, builder.view, int(item))], share_prefix=False
            )
            assert abs(alone - probability) < 1e-5


def test_no_candidates_and_no_users(catalogue, builder, tiny_llava) -> None:
    ranker = MLLMRanker(tiny_llava, builder.view, adapter=None)
    contexts = builder.build([catalogue.histories()[0], catalogue.histories()[1]])
    found = ranker.probability(contexts, [np.array([], np.int64), np.array([3])])
    assert [len(part) for part in found] == [0, 1]
    assert ranker.probability([], []) == []
