from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from mmsrarec.backbone import Backbone, Encoded, Prompt, prefix_attention, shared_prefix
from mmsrarec.backbone.prefix_attention import branch_attention
from mmsrarec.backbone.shared_prefix import PrefixGroup, common_prefix, group_by_prefix, why_not_shared
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


@settings(max_examples=200)
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
@pytest.mark.parametrize("in_place", [True, False])
def test_scores_and_states_are_those_of_one_by_one(
    name: str, case: str, in_place: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = request.getfixturevalue(name)
    assert prefix_attention.is_available(backbone)
    if in_place:
        monkeypatch.setattr(shared_prefix, "_expand_groups", None)
    else:  # as on a GPU, where the cache of a prefix is repeated for its branches
        monkeypatch.setattr(prefix_attention, "is_available", lambda backbone: False)
    prompts = [Prompt(content, system="be brief") for content in CONTENTS[case]]
    assert why_not_shared(backbone) is None
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


def test_an_architecture_that_does_more_in_its_attention_gets_an_expanded_cache(
    tiny_llama: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [Prompt((HISTORY, one)) for one in ("a", "b", "c")]
    expected = tiny_llama.first_token_probability(prompts)
    calls = []

    def refuse(*arguments: object, **named: object) -> None:
        calls.append(1)
        raise prefix_attention.PrefixNotReached

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, prefix_attention._NAME, refuse)
    np.testing.assert_allclose(tiny_llama.first_token_probability(prompts), expected, rtol=0, atol=1e-5)
    assert len(calls) == 1
    assert tiny_llama.hf.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("extra", ["softcap", "s_aux", "position_bias", "sliding_window"])
def test_unknown_extras_are_not_ignored(extra: str) -> None:
    layer = torch.nn.Module()
    layer.layer_idx = 0
    query, key = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 3, 8)
    prefix = [(torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8))]
    branch_attention(layer, query, key, key, None, shared_prefix=prefix, **{extra: None})
    with pytest.raises(prefix_attention.PrefixNotReached):
        branch_attention(layer, query, key, key, None, shared_prefix=prefix, **{extra: 1.0})
    with pytest.raises(prefix_attention.PrefixNotReached):
        branch_attention(layer, query, key, key, None)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 4),
    key_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    prefix=st.integers(1, 20),
    lengths=st.lists(st.integers(1, 6), min_size=4, max_size=4),
    masked=st.booleans(),
)
def test_branch_attention_is_attention(
    rows: int, key_heads: int, group: int, prefix: int, lengths: list[int], masked: bool
) -> None:
    generator = torch.Generator().manual_seed(prefix)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    longest = max(lengths[:rows])
    query, key, value = (
        drawn(rows, key_heads * group, longest, 8),
        *(drawn(rows, key_heads, longest, 8) for _ in "kv"),
    )
    prefix_key, prefix_value = drawn(1, key_heads, prefix, 8), drawn(1, key_heads, prefix, 8)
    causal = torch.ones(longest, longest, dtype=torch.bool).tril().expand(rows, 1, -1, -1)
    if masked:
        real = torch.arange(longest)[None] < torch.tensor(lengths[:rows])[:, None]  # (rows, longest)
        causal = causal & real[:, None, None]
    layer = torch.nn.Module()
    layer.layer_idx = 0
    made, _ = branch_attention(
        layer,
        query,
        key,
        value,
        causal if masked else None,
        scaling=0.3,
        shared_prefix=[(prefix_key, prefix_value)],
    )
    expected = torch.nn.functional.scaled_dot_product_attention(
        query,
        torch.cat([prefix_key.expand(rows, -1, -1, -1), key], dim=2).repeat_interleave(group, dim=1),
        torch.cat([prefix_value.expand(rows, -1, -1, -1), value], dim=2).repeat_interleave(group, dim=1),
        attn_mask=torch.cat([torch.ones(rows, 1, longest, prefix, dtype=torch.bool), causal], dim=-1),
        scale=0.3,
    )
    torch.testing.assert_close(made, expected.transpose(1, 2))
