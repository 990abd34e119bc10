"""The fused CPU kernel against the definition: awkward shapes, views, dtypes, compiled and under autocast."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmsrarec.kernels import backend, sequence_nll

from mmsrarec import _native
from mmsrarec.errors import InputError


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMSRAREC_KERNELS", raising=False)
    assert backend("cpu")["sequence_nll"] == "cpu"


def case(lengths: list[int], width: int, vocabulary: int, dtype: torch.dtype = torch.float32, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    hidden = torch.randn(total, width, generator=generator).to(dtype)
    weight = torch.randn(vocabulary, width, generator=generator).to(dtype)
    targets = torch.randint(vocabulary, (total,), generator=generator)
    return hidden, weight, targets, torch.tensor([0, *itertools.accumulate(lengths)])


def scored(hidden, weight, targets, offsets, **options):
    """Value and both gradients, under an upstream factor that differs by sequence."""
    hidden, weight = hidden.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()
    value = sequence_nll(hidden, weight, targets, offsets, **options)
    (value * torch.linspace(1, 2, len(value), dtype=value.dtype)).sum().backward()
    return value.detach(), hidden.grad, weight.grad


def agree(hidden, weight, targets, offsets, tolerance: float = 2e-5, **options) -> None:
    made = scored(hidden, weight, targets, offsets, **options)
    exact = scored(hidden.double(), weight.double(), targets, offsets, **options)
    for one, other in zip(made, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)


@settings(max_examples=80)
@given(
    lengths=st.lists(st.integers(0, 40), max_size=5),
    width=st.integers(1, 140),
    vocabulary=st.integers(1, 300),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    softcap=st.sampled_from([None, 3.0]),
    ignored=st.integers(0, 60),
    threads=st.integers(1, 5),
)
def test_is_the_definition(lengths, width, vocabulary, reduction, softcap, ignored, threads) -> None:
    hidden, weight, targets, offsets = case(lengths, width, vocabulary)
    targets[:ignored] = -100
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        agree(hidden, weight / width**0.5, targets, offsets, reduction=reduction, softcap=softcap)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [1, 64, 65])
def test_narrow_floats_are_read_as_they_are(dtype: torch.dtype, width: int) -> None:
    hidden, weight, targets, offsets = case([5, 0, 40], width, 1000, dtype)
    value, to_hidden, to_weight = scored(hidden, weight, targets, offsets)
    exact = scored(hidden.double(), weight.double(), targets, offsets)
    assert (value.dtype, to_hidden.dtype, to_weight.dtype) == (torch.float32, dtype, dtype)
    torch.testing.assert_close(value.double(), exact[0], rtol=2e-6, atol=1e-6)
    # Sums are in float32, only the result is rounded.
    tolerance = torch.finfo(dtype).eps
    torch.testing.assert_close(to_hidden.double(), exact[1], rtol=tolerance, atol=tolerance / 16)
    torch.testing.assert_close(to_weight.double(), exact[2], rtol=tolerance, atol=tolerance / 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_views_are_read_where_they_lie(dtype: torch.dtype) -> None:
    hidden, weight, targets, offsets = case([30, 7], 66, 130, dtype)
    plain = sequence_nll(hidden, weight, targets, offsets)
    strided = torch.stack([hidden, hidden], dim=1)[:, 0]
    turned = weight.T.contiguous().T
    every_second = torch.stack([targets, targets], dim=1)[:, 0]
    assert torch.equal(sequence_nll(strided, turned, every_second, offsets), plain)
    one = hidden[:1].expand(37, -1)
    torch.testing.assert_close(
        sequence_nll(one, weight, targets, offsets), sequence_nll(one.contiguous(), weight, targets, offsets)
    )
    assert sequence_nll(one, weight, targets, offsets).isfinite().all()


@settings(max_examples=40)
@given(
    places=st.lists(
        st.tuples(
            st.sampled_from(["hidden", "weight"]),
            st.integers(0, 5),
            st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 0.0]),
        ),
        max_size=4,
    )
)
def test_nan_infinity_and_huge_numbers_pass_as_in_the_definition(places) -> None:
    hidden, weight, targets, offsets = case([3, 3], 4, 300)
    for name, row, value in places:
        (hidden if name == "hidden" else weight)[row, 0] = value
    made = sequence_nll(hidden, weight, targets, offsets, reduction="none")
    logits = hidden @ weight.T
    expected = logits.logsumexp(1) - logits.gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(made, expected, equal_nan=True, rtol=1e-4, atol=1e-4)
    _, to_hidden, to_weight = scored(hidden, weight, targets, offsets)
    if not expected.isfinite().all():
        assert not to_hidden[~expected.isfinite()].isfinite().any()
        assert not to_weight.isfinite().all()


def test_ties_share_their_probability() -> None:
    hidden, weight = torch.ones(40, 8), torch.ones(777, 8)
    nll = sequence_nll(hidden, weight, torch.arange(40), torch.tensor([0, 40]))
    assert nll.item() == pytest.approx(np.log(777), rel=1e-6)


def test_gradient_is_asked_for_only_where_it_is_needed() -> None:
    hidden, weight, targets, offsets = case([4], 6, 20)
    assert not sequence_nll(hidden, weight, targets, offsets).requires_grad
    sequence_nll(hidden, weight.requires_grad_(), targets, offsets).sum().backward()
    exact = case([4], 6, 20)[1].double().requires_grad_()
    sequence_nll(hidden.double(), exact, targets, offsets).sum().backward()
    torch.testing.assert_close(weight.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        assert not sequence_nll(hidden.requires_grad_(), weight, targets, offsets).requires_grad


def test_operator_is_registered_as_torch_wants_it() -> None:
    hidden, weight, targets, _ = case([9], 5, 30)
    targets[2] = -100
    arguments = (hidden.requires_grad_(), weight.requires_grad_(), targets, None, -100, 0.0, True)
    torch.library.opcheck(torch.ops.mmsrarec.token_nll.default, arguments)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiles_into_one_graph(reduction: str) -> None:
    hidden, weight, targets, offsets = case([4, 0, 5], 6, 20)
    compiled = torch.compile(sequence_nll, backend="aot_eager", fullgraph=True)
    one, other = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    made = compiled(one, weight, targets, offsets, reduction=reduction)
    plain = sequence_nll(other, weight, targets, offsets, reduction=reduction)
    torch.testing.assert_close(made, plain)
    made.sum().backward()
    plain.sum().backward()
    torch.testing.assert_close(one.grad, other.grad)
    with pytest.raises(InputError, match="targets must lie in"):
        compiled(one, weight, targets + 20, offsets, reduction=reduction)


@pytest.mark.parametrize("forced", ["reference", "cpu"])
def test_autocast_keeps_float32_sums(forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSRAREC_KERNELS", forced)
    hidden, weight, targets, offsets = case([20, 5], 64, 200)
    plain = scored(hidden, weight, targets, offsets)
    one = hidden.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = sequence_nll(one, weight, targets, offsets)
        mixed = sequence_nll(hidden.bfloat16(), weight, targets, offsets)
    (made * torch.linspace(1, 2, len(made))).sum().backward()
    torch.testing.assert_close(made, plain[0])
    torch.testing.assert_close(one.grad, plain[1])
    torch.testing.assert_close(mixed, sequence_nll(hidden.bfloat16().float(), weight, targets, offsets))


def test_skipping_stays_within_its_bound() -> None:
    hidden, weight, targets, offsets = case([200], 32, 3000)
    skip_below = 1e-4
    exact = scored(hidden, weight, targets, offsets, reduction="sum")
    skipped = scored(hidden, weight, targets, offsets, reduction="sum", skip_below=skip_below)
    assert torch.equal(skipped[0], exact[0])
    assert torch.equal(skipped[2], exact[2])
    probabilities = (hidden @ weight.T).softmax(1)
    lost = probabilities.where(probabilities < skip_below, 0).sum(1)
    apart = (skipped[1] - exact[1]).norm(dim=1)
    assert (apart > 0).any()
    assert (apart <= lost * weight.norm(dim=1).max() + 1e-5).all()


@pytest.mark.parametrize("skip_below", [-0.1, 1.0, float("nan")])
def test_unusable_threshold_is_named(skip_below: float) -> None:
    with pytest.raises(InputError, match="skip_below must be 0 or more and below 1"):
        sequence_nll(*case([2], 3, 4), skip_below=skip_below)


def test_no_columns_and_no_words() -> None:
    nll = sequence_nll(
        torch.zeros(2, 0), torch.zeros(7, 0), torch.tensor([0, 1]), torch.tensor([0, 2]), reduction="none"
    )
    torch.testing.assert_close(nll, torch.full((2,), float(np.log(7))))
    empty = sequence_nll(
        torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), torch.tensor([0])
    )
    assert empty.shape == (0,)


def test_native_call_refuses_arrays_that_do_not_fit() -> None:
    hidden, weight = np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32)
    room = np.zeros(2, np.float32)
    targets = np.zeros(2, np.int64)
    for arguments, message in (
        ((hidden, weight[:, :2], "float32", targets), "must agree"),
        ((hidden, weight, "float64", targets), "dtype must be"),
        ((hidden, weight, "bfloat16", targets), "must be a matrix of int16"),
        ((hidden[0], weight, "float32", targets), "hidden must be a matrix"),
        ((hidden, weight, "float32", targets[:1]), "must agree"),
        ((hidden, weight, "float32", targets + 4), "targets must lie in"),
    ):
        with pytest.raises(InputError, match=message):
            _native.token_nll(*arguments, 0.0, 0.0, 1, room, room.copy())
