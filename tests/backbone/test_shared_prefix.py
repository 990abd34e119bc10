from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsrarec.backbone import Backbone, Encoded, Prompt
from mmsrarec.backbone.shared_prefix import PrefixGroup, can_share, common_prefix, group_by_prefix
from mmsrarec.testing import TinyPicture

RED, GREEN, BLUE = (TinyPicture(colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200)))
WIDE = TinyPicture((90, 90, 0), (120, 50))
HISTORY = "a history of some length, told in the same words for every candidate of the user, "
FAMILIES = ["tiny_llama", "tiny_llava", "tiny_qwen", "tiny_smolvlm"]


def encoded(ids: str, pictures: dict[int, tuple[int, TinyPicture]] | None = None) -> Encoded:
    """One token a character; pictures by start, with end."""
    places = sorted((pictures or {}).items())
    return Encoded(
        torch.tensor([ord(letter) for letter in ids]),
        len(ids),
        tuple(picture for _, (_, picture) in places),
        tuple((start, end) for start, (end, _) in places),
    )


def test_common_prefix_leaves_a_last_position() -> None:
    assert common_prefix(encoded("abcdef"), encoded("abcxyz")) == 3
    assert common_prefix(encoded("abc"), encoded("abc")) == 2
    assert common_prefix(encoded("abc"), encoded("abcdef")) == 2
    assert common_prefix(encoded("xbc"), encoded("abc")) == 0


def test_common_prefix_cuts_before_a_picture() -> None:
    red, blue = encoded("abPPPPc", {2: (6, RED)}), encoded("abPPPPc", {2: (6, BLUE)})
    assert common_prefix(red, red) == 6
    # Same placeholder tokens, another picture.
    assert common_prefix(red, blue) == 2
    # Another number of tokens.
    assert common_prefix(red, encoded("abPPPPPPc", {2: (8, BLUE)})) == 2
    assert common_prefix(encoded("abPPPPPPc", {2: (8, RED)}), red) == 2
    # The picture would end at the last position, which must stay in the branch.
    assert common_prefix(encoded("abPPPP", {2: (6, RED)}), encoded("abPPPP", {2: (6, RED)})) == 2
    # One has a picture where the other has text that looks like it.
    assert common_prefix(red, encoded("abPPPPc")) == 2
    assert common_prefix(encoded("abPPPPc"), red) == 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=6))
def test_users_are_told_apart(users: list[tuple[int, int]]) -> None:
    template, sequences, expected = "T" * 30, [], []
    for number, (candidates, length) in enumerate(users):
        history = template + chr(200 + number) * (60 * length)
        members = tuple(range(len(sequences), len(sequences) + candidates))
        sequences += [encoded(history + chr(100 + place) * 3) for place in range(candidates)]
        expected.append(PrefixGroup(members, len(history) if candidates > 1 else 0))
    groups = group_by_prefix(sequences)
    assert [index for group in groups for index in group.members] == list(range(len(sequences)))
    # Users with one candidate each may be grouped by the template, which is common to them.
    shared = [group for group in expected if group.prefix]
    assert [group for group in groups if group.prefix > 30] == shared


def test_nothing_in_common_is_no_group() -> None:
    assert group_by_prefix([]) == []
    assert group_by_prefix([encoded("abc"), encoded("xyz")]) == [PrefixGroup((0,), 0), PrefixGroup((1,), 0)]


CONTENTS = {
    "text only": [(HISTORY, "a"), (HISTORY, "b c d e"), (HISTORY, "a")],
    "picture in the prefix": [(HISTORY, RED, " then a"), (HISTORY, RED, " then b c d")],
    "picture in the branches": [
        (HISTORY, RED),
        (HISTORY, WIDE),
        (HISTORY, "none"),
        (HISTORY, BLUE, GREEN, "x"),
    ],
    "pictures on both sides": [(RED, HISTORY, GREEN, "?"), (RED, HISTORY, WIDE, "?"), (RED, HISTORY, "?")],
    "picture at the cut": [(HISTORY, RED, "a", WIDE), (HISTORY, RED, "a", RED), (HISTORY, RED, "b")],
    "equal prompts": [(HISTORY, RED)] * 3,
    "several users": [(f"{name} {HISTORY}", one) for name in "abc" for one in (RED, WIDE, "text")],
}


@pytest.mark.filterwarnings("ignore:backbone")
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("case", CONTENTS)
def test_scores_and_states_are_those_of_one_by_one(
    name: str, case: str, request: pytest.FixtureRequest
) -> None:
    backbone = request.getfixturevalue(name)
    prompts = [Prompt(content, system="be brief") for content in CONTENTS[case]]
    assert can_share(backbone)
    assert any(len(group.members) > 1 for group in group_by_prefix(backbone.encode(prompts)))
    alone = np.concatenate([backbone.first_token_probability([prompt]) for prompt in prompts])
    states = np.concatenate([backbone.hidden_states([prompt]) for prompt in prompts])
    for batch_tokens in (None, 1, 400):
        scores = backbone.first_token_probability(prompts, batch_tokens=batch_tokens)
        np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-5)
        np.testing.assert_allclose(
            backbone.hidden_states(prompts, batch_tokens=batch_tokens), states, atol=2e-4
        )


def test_the_prefix_is_run_once(tiny_llama: Backbone) -> None:
    seen = []
    hook = tiny_llama.hf.model.layers[0].register_forward_pre_hook(
        lambda module, arguments: seen.append(arguments[0].shape[0] * arguments[0].shape[1])
    )
    prompts = [Prompt((HISTORY, one)) for one in ("a", "b", "c", "d")]
    tiny_llama.first_token_probability(prompts[:1])
    seen.clear()
    try:
        tiny_llama.first_token_probability(prompts)
        shared = sum(seen)
        seen.clear()
        tiny_llama.first_token_probability(prompts, share_prefix=False)
        whole = sum(seen)
    finally:
        hook.remove()
    lengths = [len(one) for one in tiny_llama.encode(prompts)]
    prefix = group_by_prefix(tiny_llama.encode(prompts))[0].prefix
    assert whole == 4 * max(lengths)
    assert shared == prefix + 4 * (max(lengths) - prefix)
    assert shared < whole / 2


def test_an_active_adapter_is_in_the_prefix_too(tiny_llava: Backbone) -> None:
    from peft import LoraConfig

    prompts = [Prompt((HISTORY, RED, one)) for one in ("a", "b", "c")]
    tiny_llava.add_adapter("one", LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    try:
        with tiny_llava.adapter("one"):
            alone = np.concatenate([tiny_llava.first_token_probability([prompt]) for prompt in prompts])
            np.testing.assert_allclose(tiny_llava.first_token_probability(prompts), alone, rtol=0, atol=1e-5)
        assert np.abs(tiny_llava.first_token_probability(prompts) - alone).max() > 1e-3
    finally:
        tiny_llava.remove_adapter("one")
