"""The ranker asks the yes/no prompt of each candidate and gives the answers back in order."""

import numpy as np
import pytest

from mmsrarec.backbone.shared_prefix import group_by_prefix
from mmsrarec.rank import MLLMRanker
from mmsrarec.tune import yes_no_prompt


@pytest.mark.parametrize("family", ["tiny_llava", "tiny_qwen", "tiny_smolvlm"])
def test_equals_asking_one_by_one(catalogue, builder, family: str, request: pytest.FixtureRequest) -> None:
    backbone = request.getfixturevalue(family)
    histories = [catalogue.histories()[user] for user in (0, 1)]
    contexts = builder.build(histories)
    candidates = [np.array([4, 9, 2]), np.array([9])]
    evidence = builder.evidence(histories, candidates, exclude_users=np.array([0, 1]))
    assert any(paths.bridge_users for paths in evidence[0])
    found = MLLMRanker(backbone, builder.view, adapter=None).probability(contexts, candidates, evidence)
    for context, items, known, probabilities in zip(contexts, candidates, evidence, found, strict=True):
        assert probabilities.dtype == np.float32
        for item, paths, probability in zip(items, known, probabilities, strict=True):
            [alone] = backbone.first_token_probability(
                [yes_no_prompt(context, builder.view, int(item), paths)], share_prefix=False
            )
            assert abs(alone - probability) < 1e-5


def test_paths_leave_the_prefix_shared(catalogue, builder, tiny_qwen) -> None:
    history = catalogue.histories()[0]
    [context] = builder.build([history])
    items = np.arange(12)
    [evidence] = builder.evidence([history], [items])
    encoded = [
        tiny_qwen.encode([yes_no_prompt(context, builder.view, int(item), *known) for item, *known in rows])
        for rows in (zip(items, strict=True), zip(items, evidence, strict=True))
    ]
    (without,), (together,) = (group_by_prefix(sequences) for sequences in encoded)
    assert together == without
    assert together.members == tuple(range(12))
    assert sum(map(len, encoded[1])) > sum(map(len, encoded[0]))


def test_no_candidates_and_no_users(catalogue, builder, tiny_llava) -> None:
    ranker = MLLMRanker(tiny_llava, builder.view, adapter=None)
    contexts = builder.build([catalogue.histories()[0], catalogue.histories()[1]])
    found = ranker.probability(contexts, [np.array([], np.int64), np.array([3])])
    assert [len(part) for part in found] == [0, 1]
    assert ranker.probability([], []) == []
