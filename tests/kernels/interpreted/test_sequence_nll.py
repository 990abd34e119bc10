"""The Triton kernels of ``sequence_nll`` under the interpreter, or on a GPU, against the definition in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from mmsrarec.kernels import backend, sequence_nll

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def by_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSRAREC_KERNELS", "triton")
    assert set(backend().values()) == {"triton"}


def case(lengths: list[int], width: int, vocabulary: int, dtype: torch.dtype = torch.float32):
    generator = torch.Generator().manual_seed(0)
    total = sum(lengths)
    hidden = torch.randn(total, width, generator=generator).to(dtype)
    weight = (torch.randn(vocabulary, width, generator=generator) / max(1, width) ** 0.5).to(dtype)
    targets = torch.randint(vocabulary, (total,), generator=generator)
    offsets = torch.tensor([0, *itertools.accumulate(lengths)])
    return tuple(part.to(DEVICE) for part in (hidden, weight, targets, offsets))


def scored(hidden, weight, targets, offsets, **options):
    hidden, weight = hidden.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()
    value = sequence_nll(hidden, weight, targets, offsets, **options)
    (value * torch.linspace(1, 2, len(value), dtype=value.dtype, device=value.device)).sum().backward()
    return value.detach(), hidden.grad, weight.grad


def agree(hidden, weight, targets, offsets, tolerance: float, **options) -> None:
    made = scored(hidden, weight, targets, offsets, **options)
    exact = scored(hidden.double(), weight.double(), targets, offsets, **options)
    for one, other in zip(made, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("lengths", "width", "vocabulary"),
    [
        ([1], 1, 1),
        ([3, 0, 5], 7, 33),
        ([16], 16, 32),
        ([17, 0, 0, 30], 33, 97),
        ([5, 90], 20, 200),
        ([], 4, 9),
        ([0, 0], 4, 9),
    ],
)
@pytest.mark.parametrize(("softcap", "reduction"), [(None, "mean"), (3.0, "sum"), (None, "none")])
def test_is_the_definition(lengths, width, vocabulary, softcap, reduction) -> None:
    hidden, weight, targets, offsets = case(lengths, width, vocabulary)
    targets[1:3] = -100
    agree(hidden, weight, targets, offsets, 1e-5, softcap=softcap, reduction=reduction)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_narrow_floats(dtype: torch.dtype, tolerance: float) -> None:
    given = case([20, 0, 13], 40, 150, dtype)
    agree(*given, tolerance)
    value = sequence_nll(*given)
    assert value.dtype == torch.float32
    exact = sequence_nll(given[0].double(), given[1].double(), *given[2:])
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)


def test_views_ties_and_an_ignored_index_inside_the_vocabulary() -> None:
    hidden, weight, targets, offsets = case([20, 4], 18, 70)
    plain = sequence_nll(hidden, weight, targets, offsets)
    strided = torch.stack([hidden, hidden], dim=1)[:, 0]
    turned = weight.T.contiguous().T
    torch.testing.assert_close(sequence_nll(strided, turned, targets, offsets), plain)
    agree(torch.ones_like(hidden), torch.ones_like(weight), targets, offsets, 1e-5)
    targets[:5] = 0
    agree(hidden, weight, targets, offsets, 1e-5, ignore_index=0)


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, targets, offsets = case([20], 16, 100)
    made = scored(hidden * 1000, weight, targets, offsets, reduction="none")
    exact = sequence_nll((hidden * 1000).double(), weight.double(), targets, offsets, reduction="none")
    torch.testing.assert_close(made[0].double(), exact, rtol=1e-6, atol=1e-3)
    assert made[1].isfinite().all()
    assert made[2].isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["hidden", "weight"])
def test_nan_and_infinity_pass_as_in_the_definition(value: float, place: str) -> None:
    hidden, weight, targets, offsets = case([6], 4, 80)
    (hidden if place == "hidden" else weight)[3, 0] = value
    made = sequence_nll(hidden, weight, targets, offsets, reduction="none")
    logits = hidden @ weight.T
    expected = logits.logsumexp(1) - logits.gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(made, expected, equal_nan=True, rtol=1e-5, atol=1e-5)
    _, to_hidden, _ = scored(hidden, weight, targets, offsets, reduction="none", skip_below=1e-3)
    assert not to_hidden[~expected.isfinite()].isfinite().any()


def test_skipping_stays_within_its_bound() -> None:
    hidden, weight, targets, offsets = case([40], 8, 300)
    exact = scored(hidden * 20, weight, targets, offsets, reduction="none")
    skipped = scored(hidden * 20, weight, targets, offsets, reduction="none", skip_below=1e-3)
    assert torch.equal(exact[0], skipped[0])
    apart = (exact[1] - skipped[1]).norm(dim=1)
    assert 0 < apart.max() <= 2 * 1e-3 * 300 * weight.norm(dim=1).max()


def test_runs_give_the_same_bits() -> None:
    given = case([50, 3], 20, 300)
    for one, other in zip(scored(*given), scored(*given), strict=True):
        assert torch.equal(one, other)
