"""``group_reward`` on a GPU: rewards and advantage of a group by one program, all groups in one launch."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

__all__ = ["group_reward", "reward_groups"]

_FORMS = {"perplexity": 0, "nll": 1, "clipped": 2}
_MOST_ROWS = 32


def group_reward(
    keyword_embedding: torch.Tensor,
    text_embedding: torch.Tensor,
    nll: torch.Tensor,
    length: torch.Tensor,
    group_size: int,
    *,
    weights: tuple[float, ...],
    reconstruction: str,
    clip: float,
    epsilon: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Components, total and advantage, each (B,); arguments as in the package's ``group_reward``, checked there."""
    rows, width = keyword_embedding.shape
    rewards = torch.empty(5, rows, dtype=torch.float32, device=nll.device)
    reward_groups[(rows // group_size,)](
        keyword_embedding.contiguous(),
        text_embedding.contiguous(),
        nll.contiguous(),
        length.contiguous(),
        rewards,
        rows,
        group_size,
        width,
        *weights,
        clip if reconstruction == "clipped" else torch.finfo(torch.float32).max,
        epsilon,
        FORM=_FORMS[reconstruction],
        ROWS=min(_MOST_ROWS, triton.next_power_of_2(group_size)),
        COLUMNS=min(128, max(16, triton.next_power_of_2(width))),
        num_warps=4,
        enable_fp_fusion=True,
    )
    information, reconstructed, shortness, total, advantage = rewards
    return information, reconstructed, shortness, total, advantage


@triton.jit
def reward_groups(
    keyword_embedding,
    text_embedding,
    nll,
    length,
    rewards,
    rows,
    group_size,
    width,
    alpha,
    beta,
    gamma,
    bound,
    epsilon,
    FORM: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Fill `rewards` (5, rows): components, total and advantage of the group that the program's number names."""
    first = tl.program_id(0).to(tl.int64) * group_size
    # Sums are in float64, where squares of any float32 neither overflow nor vanish.
    whole = tl.zeros((ROWS,), dtype=tl.float64)
    for start in range(0, group_size, ROWS):
        member = start + tl.arange(0, ROWS)
        there = member < group_size
        row = first + member
        products = tl.zeros((ROWS,), dtype=tl.float64)
        firsts = tl.zeros((ROWS,), dtype=tl.float64)
        seconds = tl.zeros((ROWS,), dtype=tl.float64)
        for left in range(0, width, COLUMNS):
            column = left + tl.arange(0, COLUMNS)
            inside = there[:, None] & (column < width)[None, :]
            place = row[:, None] * width + column[None, :]
            a = tl.load(keyword_embedding + place, mask=inside, other=0.0).to(tl.float64)
            b = tl.load(text_embedding + place, mask=inside, other=0.0).to(tl.float64)
            products += tl.sum(a * b, axis=1)
            firsts += tl.sum(a * a, axis=1)
            seconds += tl.sum(b * b, axis=1)
        norms = tl.sqrt(firsts * seconds)
        information = tl.where(norms == 0, 0.0, products / tl.where(norms == 0, 1.0, norms)).to(tl.float32)
        reconstructed = tl.load(nll + row, mask=there, other=0.0).to(tl.float32)
        if FORM != 1:
            reconstructed = tl.exp(reconstructed)
            reconstructed = tl.where(reconstructed > bound, bound, reconstructed)
        reconstructed = -reconstructed
        shortness = -tl.load(length + row, mask=there, other=0.0).to(tl.float32)
        total = alpha * information + beta * reconstructed + gamma * shortness
        total = tl.where(total > 3.4028234663852886e38, 3.4028234663852886e38, total)
        total = tl.where(total < -3.4028234663852886e38, -3.4028234663852886e38, total)
        tl.store(rewards + row, information, mask=there)
        tl.store(rewards + rows + row, reconstructed, mask=there)
        tl.store(rewards + 2 * rows + row, shortness, mask=there)
        tl.store(rewards + 3 * rows + row, total, mask=there)
        whole += tl.where(there, total.to(tl.float64), 0.0)
    mean = tl.sum(whole) / group_size
    # Totals are read back: other threads of this program wrote them.
    tl.debug_barrier()
    squares = tl.zeros((ROWS,), dtype=tl.float64)
    for start in range(0, group_size, ROWS):
        member = start + tl.arange(0, ROWS)
        there = member < group_size
        total = tl.load(rewards + 3 * rows + first + member, mask=there, other=0.0).to(tl.float64)
        squares += tl.where(there, (total - mean) * (total - mean), 0.0)
    scale = tl.sqrt(tl.sum(squares) / group_size) + epsilon
    for start in range(0, group_size, ROWS):
        member = start + tl.arange(0, ROWS)
        there = member < group_size
        total = tl.load(rewards + 3 * rows + first + member, mask=there, other=0.0).to(tl.float64)
        tl.store(rewards + 4 * rows + first + member, ((total - mean) / scale).to(tl.float32), mask=there)
