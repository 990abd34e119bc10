"""The Triton kernel of ``group_reward`` under the interpreter, or on a GPU, against the definition in float64."""

from __future__ import annotations

import pytest
import torch
from mmsrarec.kernels import backend, group_reward
from mmsrarec.kernels.group_reward import reference, triton

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FORMS = ["perplexity", "nll", "clipped"]


@pytest.fixture(autouse=True)
def by_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSRAREC_KERNELS", "triton")
    assert set(backend().values()) == {"triton"}


def case(rows: int, width: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "keyword_embedding": torch.randn(rows, width, generator=generator).to(DEVICE, dtype),
        "text_embedding": torch.randn(rows, width, generator=generator).to(DEVICE, dtype),
        "nll": (torch.rand(rows, generator=generator) * 5).to(DEVICE),
        "length": torch.randint(1, 9, (rows,), generator=generator).float().to(DEVICE),
    }


def agree(given: dict[str, torch.Tensor], group_size: int, form: str) -> None:
    options = {"weights": (1.0, 0.5, 0.01), "reconstruction": form, "clip": 50.0, "epsilon": 1e-4}
    made = group_reward(**given, group_size=group_size, **options)
    exact = reference.group_reward(
        **{name: values.double() for name, values in given.items()}, group_size=group_size, **options
    )
    for part, other in zip(made, exact, strict=True):
        assert part.dtype == torch.float32
        torch.testing.assert_close(
            part.double(), other.clamp(-3.4028234663852886e38, 3.4028234663852886e38), rtol=1e-6, atol=2e-5,
            equal_nan=True,
        )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("groups", "group_size", "width"), [(1, 1, 1), (3, 5, 20), (2, 33, 200), (4, 8, 384)]
)
def test_is_the_definition(groups: int, group_size: int, width: int, form: str) -> None:
    agree(case(groups * group_size, width), group_size, form)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_floats(dtype: torch.dtype) -> None:
    agree(case(12, 20, dtype), 4, "nll")


@pytest.mark.parametrize("form", FORMS)
def test_corner_cases(form: str) -> None:
    given = case(16, 6)
    given["keyword_embedding"][0] = 0
    given["text_embedding"][1] *= 1e30
    given["keyword_embedding"][2] *= 1e-30
    given["nll"][4] = 1e4
    given["nll"][8] = float("nan")
    given["length"][12] = float("inf")
    made = group_reward(**given, group_size=4, reconstruction=form)
    exact = reference.group_reward(
        **given, group_size=4, weights=(1.0, 1.0, 1.0), reconstruction=form, clip=100.0, epsilon=1e-4
    )
    for part, other in zip(made, exact, strict=True):
        torch.testing.assert_close(part, other, rtol=1e-5, atol=2e-5, equal_nan=True)


def test_is_one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    launches = []
    kernel = triton.reward_groups

    class Counted:
        def __getitem__(self, grid):
            launches.append(grid)
            return kernel[grid]

    monkeypatch.setattr(triton, "reward_groups", Counted())
    group_reward(**case(24, 8), group_size=4)
    assert launches == [(6,)]
