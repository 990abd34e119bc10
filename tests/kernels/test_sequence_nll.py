from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmsrarec.kernels import backend, sequence_nll
from mmsrarec.kernels.sequence_nll import reference

from mmsrarec.errors import InputError


def plain(hidden, weight, targets, offsets, reduction, softcap=None, ignore_index=-100):
    """All logits at once, torch's own cross-entropy."""
    logits = hidden.double() @ weight.double().T
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    tokens = torch.nn.functional.cross_entropy(logits, targets, reduction="none", ignore_index=ignore_index)
    if reduction == "none":
        return tokens
    rows = []
    for start, end in itertools.pairwise(offsets.tolist()):
        counted = tokens[start:end][targets[start:end] != ignore_index]
        total = counted.sum()
        rows.append(total / max(1, len(counted)) if reduction == "mean" else total)
    return torch.stack(rows) if rows else torch.zeros(0, dtype=torch.float64)


def case(lengths: list[int], width: int, vocabulary: int, seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    hidden = torch.randn(total, width, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64).to(dtype)
    targets = torch.randint(vocabulary, (total,), generator=generator)
    offsets = torch.tensor([0, *itertools.accumulate(lengths)])
    return hidden, weight, targets, offsets


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 7), max_size=6),
    width=st.integers(1, 9),
    vocabulary=st.integers(1, 40),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    softcap=st.sampled_from([None, 3.0]),
    ignored=st.integers(0, 6),
    block=st.integers(1, 60),
)
def test_is_the_definition(lengths, width, vocabulary, reduction, softcap, ignored, block) -> None:
    hidden, weight, targets, offsets = case(lengths, width, vocabulary)
    targets[:ignored] = -100
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reference, "_BLOCK_NUMBERS", block)
        made = sequence_nll(hidden, weight, targets, offsets, reduction=reduction, softcap=softcap)
    torch.testing.assert_close(made, plain(hidden, weight, targets, offsets, reduction, softcap))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 1e-3)]
)
def test_low_precision_is_accumulated_in_float32(dtype: torch.dtype, tolerance: float) -> None:
    hidden, weight, targets, offsets = case([5, 0, 40], 64, 1000, dtype=dtype)
    made = sequence_nll(hidden, weight, targets, offsets)
    assert made.dtype == torch.float32
    torch.testing.assert_close(
        made.double(), plain(hidden, weight, targets, offsets, "mean"), atol=0, rtol=tolerance
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients_are_those_of_finite_differences(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_BLOCK_NUMBERS", 30)
    hidden, weight, targets, offsets = case([3, 0, 4], 3, 10)
    targets[1] = -100

    def scored(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return sequence_nll(hidden, weight, targets, offsets, reduction=reduction, softcap=5.0)

    assert torch.autograd.gradcheck(scored, (hidden.requires_grad_(), weight.requires_grad_()))


def test_a_frozen_weight_gets_no_gradient() -> None:
    hidden, weight, targets, offsets = case([3, 2], 4, 9)
    sequence_nll(hidden.requires_grad_(), weight, targets, offsets).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_no_tokens_and_views() -> None:
    hidden, weight, targets, offsets = case([], 4, 9)
    assert sequence_nll(hidden, weight, targets, offsets).shape == (0,)
    assert sequence_nll(hidden, weight, targets, torch.tensor([0, 0, 0])).tolist() == [0.0, 0.0]
    hidden, weight, targets, offsets = case([4, 3], 6, 12)
    strided = torch.stack([hidden, hidden], dim=1)[:, 0]
    turned = weight.T.contiguous().T
    torch.testing.assert_close(
        sequence_nll(strided, turned, targets, offsets), sequence_nll(hidden, weight, targets, offsets)
    )


def test_nan_and_infinity_reach_the_result() -> None:
    hidden, weight, targets, offsets = case([2, 2], 3, 5)
    hidden[0, 0], hidden[2, 0] = float("nan"), float("inf")
    made = sequence_nll(hidden, weight, targets, offsets)
    assert not made.isfinite().any()


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, targets, offsets = case([4], 8, 20, dtype=torch.float32)
    made = sequence_nll(hidden * 1e4, weight, targets, offsets)
    torch.testing.assert_close(made.double(), plain(hidden * 1e4, weight, targets, offsets, "mean"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", torch.zeros(5)),
        ("hidden", torch.zeros(5, 3, dtype=torch.int64)),
        ("weight", torch.zeros(9, 4)),
        ("weight", torch.zeros(9, 3, dtype=torch.bfloat16)),
        ("targets", torch.zeros(4, dtype=torch.int64)),
        ("targets", torch.zeros(5, dtype=torch.int32)),
        ("targets", torch.tensor([0, 1, 9, 0, 0])),
        ("targets", torch.tensor([0, 1, -1, 0, 0])),
        ("offsets", torch.tensor([0, 4])),
        ("offsets", torch.tensor([0, 4, 2, 5])),
        ("offsets", torch.tensor([1, 5])),
        ("offsets", torch.tensor([0.0, 5.0])),
        ("offsets", torch.zeros(0, dtype=torch.int64)),
        ("reduction", "max"),
        ("softcap", 0.0),
    ],
)
def test_unusable_arguments_are_named(name: str, value: object) -> None:
    arguments = {
        "hidden": torch.zeros(5, 3),
        "weight": torch.zeros(9, 3),
        "targets": torch.zeros(5, dtype=torch.int64),
        "offsets": torch.tensor([0, 2, 5]),
    }
    assert sequence_nll(**arguments).shape == (2,)
    with pytest.raises(InputError, match=f"^{name} "):
        sequence_nll(**arguments | {name: value})


def test_backend_names_what_runs() -> None:
    assert backend()["sequence_nll"] in ("reference", "cpu", "triton")
