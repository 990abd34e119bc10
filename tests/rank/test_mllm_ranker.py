"""The ranker asks the yes/no prompt of each candidate and gives the answers back in order."""

import numpy as np
import pytest

from mmsrarec.backbone import Readout
from mmsrarec.backbone.shared_prefix import group_by_prefix
from mmsrarec.rank import KeptProbabilities, MLLMRanker
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


def test_what_is_kept_is_not_asked_again(catalogue, builder, tiny_llava, tmp_path, monkeypatch) -> None:
    histories = [catalogue.histories()[user] for user in (0, 1)]
    contexts = builder.build(histories)
    candidates = [np.array([4, 9, 2]), np.array([9])]
    asked, ask = [], tiny_llava.first_token_probability

    def recording(prompts, **settings):
        asked.append(len(prompts))
        return ask(prompts, **settings)

    monkeypatch.setattr(tiny_llava, "first_token_probability", recording)
    ranker = MLLMRanker(tiny_llava, builder.view, adapter=None)
    found = ranker.probability(contexts, candidates)
    path = tmp_path / "probabilities.jsonl"
    first = ranker.keeping(KeptProbabilities(path)).probability(contexts, candidates)
    # The same question, asked twice, is one question.
    more = [np.array([4, 9, 2, 5, 5]), np.array([9])]
    second = ranker.keeping(KeptProbabilities(path)).probability(contexts, more)
    read = MLLMRanker(
        tiny_llava,
        builder.view,
        adapter=None,
        readout=Readout(np.zeros(tiny_llava.hf.config.get_text_config().hidden_size, np.float32), 1.0),
        kept=KeptProbabilities(path),
    ).probability(contexts, candidates)
    assert asked == [4, 4, 1, 4]
    for plain, kept, again, other in zip(found, first, second, read, strict=True):
        assert plain.tolist() == kept.tolist() == again[: len(kept)].tolist()
        assert (other > kept).all()
    assert second[0][3] == second[0][4]


def test_an_interrupted_answer_is_half_there(catalogue, builder, tiny_llava, tmp_path, monkeypatch) -> None:
    contexts = builder.build([catalogue.histories()[user] for user in (0, 1)])
    candidates = [np.arange(6), np.arange(6)]
    path = tmp_path / "probabilities.jsonl"
    kept = KeptProbabilities(path)
    add = kept.add

    def interrupted(keys, probabilities):
        add(keys, probabilities)
        raise KeyboardInterrupt

    monkeypatch.setattr(kept, "add", interrupted)
    ranker = MLLMRanker(tiny_llava, builder.view, adapter=None)
    with pytest.raises(KeyboardInterrupt):
        ranker.keeping(kept).probability(contexts, candidates)
    resumed = KeptProbabilities(path)
    assert 0 < len(resumed) < 12
    found = ranker.keeping(resumed).probability(contexts, candidates)
    for one, other in zip(found, ranker.probability(contexts, candidates), strict=True):
        assert np.allclose(one, other, atol=1e-6)
