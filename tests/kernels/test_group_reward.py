from __future__ import annotations

import math

import pytest
import torch
from mmsrarec.kernels import backend, group_reward

from mmsrarec.errors import InputError


def case(
    groups: int = 3, size: int = 4, width: int = 8, dtype: torch.dtype = torch.float64
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = groups * size
    return {
        "keyword_embedding": torch.randn(rows, width, generator=generator, dtype=torch.float64).to(dtype),
        "text_embedding": torch.randn(rows, width, generator=generator, dtype=torch.float64).to(dtype),
        "nll": torch.rand(rows, generator=generator, dtype=torch.float64).to(dtype) * 3,
        "length": torch.randint(1, 9, (rows,), generator=generator).to(dtype),
    }


def test_is_the_papers_formula() -> None:
    given = case()
    made = group_reward(**given, group_size=4, weights=(2.0, 0.5, 0.25), epsilon=1e-3)
    for row in range(12):
        first, second = given["keyword_embedding"][row], given["text_embedding"][row]
        cosine = float(first @ second / (first.norm() * second.norm()))
        assert float(made.information[row]) == pytest.approx(cosine)
        assert float(made.reconstruction[row]) == pytest.approx(-math.exp(given["nll"][row]))
        assert float(made.length[row]) == -float(given["length"][row])
        total = 2.0 * cosine - 0.5 * math.exp(given["nll"][row]) - 0.25 * float(given["length"][row])
        assert float(made.total[row]) == pytest.approx(total)
    for group in made.total.reshape(3, 4), made.total.reshape(3, 4):
        mean = group.mean(1, keepdim=True)
        deviation = ((group - mean) ** 2).mean(1, keepdim=True).sqrt()
        torch.testing.assert_close(made.advantage.reshape(3, 4), (group - mean) / (deviation + 1e-3))


def test_bounded_forms() -> None:
    given = case()
    torch.testing.assert_close(
        group_reward(**given, group_size=4, reconstruction="nll").reconstruction, -given["nll"]
    )
    clipped = group_reward(**given, group_size=4, reconstruction="clipped", clip=5.0).reconstruction
    torch.testing.assert_close(clipped, -given["nll"].exp().clamp(max=5.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_gives_float32(dtype: torch.dtype) -> None:
    made = group_reward(**case(dtype=dtype), group_size=4)
    exact = group_reward(**{name: value.double() for name, value in case(dtype=dtype).items()}, group_size=4)
    for part, expected in zip(made, exact, strict=True):
        assert part.dtype == torch.float32
        torch.testing.assert_close(part.double(), expected, rtol=1e-4, atol=1e-4)


def test_corner_cases_are_finite() -> None:
    given = case(dtype=torch.float32)
    given["keyword_embedding"][0] = 0
    given["nll"][4] = 1e4  # exp overflows
    made = group_reward(**given, group_size=4, weights=(1.0, 3.0, 1.0))
    assert made.information[0] == 0
    assert made.reconstruction[4] == -torch.finfo(torch.float32).max
    assert all(part.isfinite().all() for part in made)
    # The overflowed row is the worst of its group by far, the rest are alike.
    torch.testing.assert_close(
        made.advantage[4:8], torch.tensor([-1.7320508, 0.5773503, 0.5773503, 0.5773503])
    )


def test_equal_rewards_and_groups_of_one_have_no_advantage() -> None:
    given = case()
    assert (group_reward(**given, group_size=1).advantage == 0).all()
    equal = {name: value[:1].expand(6, *value.shape[1:]) for name, value in given.items()}
    assert (group_reward(**equal, group_size=3).advantage.abs() < 1e-9).all()


def test_nan_reaches_the_result() -> None:
    given = case()
    given["nll"][1] = float("nan")
    made = group_reward(**given, group_size=4)
    assert made.total[1].isnan()
    assert made.advantage[:4].isnan().all()
    assert made.advantage[4:].isfinite().all()
    given["keyword_embedding"][8, 0] = float("nan")
    assert group_reward(**given, group_size=4).information[8].isnan()


def test_no_rows() -> None:
    empty = {name: value[:0] for name, value in case().items()}
    assert [part.shape for part in group_reward(**empty, group_size=4)] == [(0,)] * 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keyword_embedding", torch.zeros(12)),
        ("keyword_embedding", torch.zeros(12, 8, dtype=torch.int64)),
        ("text_embedding", torch.zeros(12, 7, dtype=torch.float64)),
        ("nll", torch.zeros(11)),
        ("length", torch.zeros(12, 1)),
        ("group_size", 5),
        ("group_size", 0),
        ("weights", (1.0, 2.0)),
        ("weights", (1.0, math.nan, 1.0)),
        ("reconstruction", "bounded"),
        ("clip", 0.0),
        ("epsilon", 0.0),
    ],
)
def test_unusable_arguments_are_named(name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        group_reward(**case() | {"group_size": 4} | {name: value})


def test_backend_names_what_runs() -> None:
    assert backend()["group_reward"] in ("reference", "cpu", "triton")
