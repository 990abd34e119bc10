"""The C++ ``group_reward`` against its definition in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmsrarec.kernels import backend, group_reward
from mmsrarec.kernels.group_reward import reference

FORMS = ["perplexity", "nll", "clipped"]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMSRAREC_KERNELS", raising=False)
    assert backend("cpu")["group_reward"] == "cpu"


def case(rows: int, width: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "keyword_embedding": torch.randn(rows, width, generator=generator),
        "text_embedding": torch.randn(rows, width, generator=generator),
        "nll": torch.rand(rows, generator=generator) * 5,
        "length": torch.randint(1, 9, (rows,), generator=generator).float(),
    }


def expected(given: dict[str, torch.Tensor], group_size: int, form: str) -> tuple[torch.Tensor, ...]:
    return reference.group_reward(
        **{name: values.double() for name, values in given.items()},
        group_size=group_size,
        weights=(1.0, 0.5, 0.01),
        reconstruction=form,
        clip=50.0,
        epsilon=1e-4,
    )


@settings(max_examples=80)
@given(
    groups=st.integers(0, 9),
    group_size=st.integers(1, 9),
    width=st.integers(0, 100),
    form=st.sampled_from(FORMS),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]),
    seed=st.integers(0, 9),
)
def test_is_the_definition(groups, group_size, width, form, scale, seed) -> None:
    given = case(groups * group_size, width, seed)
    given["keyword_embedding"] *= scale
    made = group_reward(
        **given, group_size=group_size, weights=(1.0, 0.5, 0.01), reconstruction=form, clip=50.0
    )
    for part, exact in zip(made, expected(given, group_size, form), strict=True):
        assert part.dtype == torch.float32
        torch.testing.assert_close(
            part.double(), exact, rtol=1e-6, atol=2e-5 if part is made.advantage else 1e-6
        )


@settings(max_examples=60)
@given(
    places=st.lists(
        st.tuples(
            st.sampled_from(["keyword_embedding", "text_embedding", "nll", "length"]),
            st.integers(0, 7),
            st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 0.0]),
        ),
        max_size=4,
    ),
    form=st.sampled_from(FORMS),
)
def test_nan_infinity_and_huge_numbers_pass_as_in_the_definition(places, form) -> None:
    given = case(8, 5)
    for name, row, value in places:
        given[name][row] = value
    weights = (1.0, 2.0, 0.5)
    made = group_reward(**given, group_size=4, weights=weights, reconstruction=form)
    exact = reference.group_reward(
        **given, group_size=4, weights=weights, reconstruction=form, clip=100.0, epsilon=1e-4
    )
    for part, other in zip(made, exact, strict=True):
        torch.testing.assert_close(part, other, equal_nan=True, rtol=1e-5, atol=2e-5)


def test_views_are_read_as_they_are() -> None:
    given = case(6, 7)
    views = {name: torch.stack([values, values], dim=-1)[..., 0] for name, values in given.items()}
    for one, other in zip(
        group_reward(**views, group_size=3), group_reward(**given, group_size=3), strict=True
    ):
        assert torch.equal(one, other)


def test_large_groups_are_compared_exactly() -> None:
    given = case(5000, 3)
    made = group_reward(**given, group_size=5000, weights=(1.0, 0.5, 0.01), reconstruction="nll")
    exact = expected(given, 5000, "nll")
    torch.testing.assert_close(made.advantage.double(), exact[4], rtol=1e-5, atol=1e-5)


def test_no_gradient_passes() -> None:
    given = case(4, 3)
    given["nll"].requires_grad_()
    assert not any(part.requires_grad for part in group_reward(**given, group_size=2))
