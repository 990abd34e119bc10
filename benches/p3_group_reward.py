"""P3: ``group_reward`` of 4,096 completions in groups of 8, 384 columns, against eager PyTorch."""

from __future__ import annotations

import pytest
import torch
from mmsrarec.kernels import GroupReward, group_reward
from mmsrarec.kernels.group_reward import reference
from torch.nn import functional as F

ROWS, GROUP, WIDTH = 4096, 8, 384
Arguments = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def given() -> Arguments:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(ROWS, WIDTH, generator=generator),
        torch.randn(ROWS, WIDTH, generator=generator),
        torch.rand(ROWS, generator=generator) * 4,
        torch.randint(1, 16, (ROWS,), generator=generator).float(),
    )


def eager(keywords, texts, nll, length) -> GroupReward:
    """What one would write; corner cases aside."""
    information = F.cosine_similarity(keywords, texts, dim=1)
    reconstruction, shortness = -nll.exp(), -length
    total = information + reconstruction + shortness
    groups = total.view(-1, GROUP)
    deviation = groups.std(dim=1, correction=0, keepdim=True)
    advantage = (groups - groups.mean(dim=1, keepdim=True)) / (deviation + 1e-4)
    return GroupReward(information, reconstruction, shortness, total, advantage.view(-1))


@pytest.mark.benchmark(group="P3")
def test_ours(benchmark, given: Arguments) -> None:
    made = benchmark.pedantic(lambda: group_reward(*given, GROUP), rounds=200, warmup_rounds=10)
    exact = reference.group_reward(
        *(values.double() for values in given),
        GROUP,
        weights=(1.0, 1.0, 1.0),
        reconstruction="perplexity",
        clip=100.0,
        epsilon=1e-4,
    )
    error = max(
        float(((part - other).abs() / other.abs().clamp(min=1)).max())
        for part, other in zip(made, exact, strict=True)
    )
    benchmark.extra_info["figures"] = {"largest error": (error, 1e-6)}
    assert error <= 1e-6


@pytest.mark.benchmark(group="P3")
def test_eager(benchmark, given: Arguments) -> None:
    benchmark.extra_info["target"] = 3
    benchmark.pedantic(lambda: eager(*given), rounds=200, warmup_rounds=10)
