"""Passes, tokens and pictures are counted where they happen."""

import pytest

from mmsrarec.backbone import Prompt, counting
from mmsrarec.backbone.shared_prefix import group_by_prefix
from mmsrarec.testing import TinyPicture

HISTORY = "a history of some length, told in the same words for every candidate of the user, "


@pytest.mark.parametrize("name", ["tiny_llava", "tiny_qwen", "tiny_smolvlm"])
def test_a_shared_prefix_and_kept_pictures_cost_nothing_twice(name: str, request) -> None:
    backbone = request.getfixturevalue(name)
    pictures = [TinyPicture((number, 7, 90)) for number in range(4)]
    prompts = [Prompt((HISTORY, picture, " yes?")) for picture in pictures]
    encoded = backbone.encode(prompts)
    [group] = group_by_prefix(encoded)
    backbone.output_head()
    backbone.features.clear()
    with counting(backbone) as first:
        backbone.first_token_probability(prompts)
    with counting(backbone) as again:
        backbone.first_token_probability(prompts)
    with counting(backbone) as alone:
        for prompt in prompts:
            backbone.first_token_probability([prompt])
    assert (first.passes, first.sequences) == (2, 5)
    assert first.tokens == group.prefix + sum(len(one) - group.prefix for one in encoded)
    assert first.pictures >= 4
    assert again.pictures == 0
    assert again.tokens == first.tokens
    assert (alone.passes, alone.tokens) == (4, sum(map(len, encoded)))
    with counting(backbone) as nothing:
        pass
    assert nothing.passes == 0
