"""The Triton kernels of ``sequence_nll``, and the blocks that they are tuned over.

Logits of a block of tokens and a tile of the vocabulary exist in registers only. ``log_sum_exp`` carries an online
softmax over the tiles (Milakov and Gimelshein, arXiv 1805.02867); the two gradients make the probabilities of a tile
again (Wijmans et al., Cut Your Losses, arXiv 2411.09009) and multiply them on at once.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import triton
import triton.language as tl

__all__ = [
    "BLOCKS",
    "GRADIENT_BLOCKS",
    "Block",
    "blocks_for",
    "hidden_gradient",
    "interpreted",
    "log_sum_exp",
    "weight_gradient",
]


class Block(NamedTuple):
    """One configuration: sizes of tiles, warps and stages of the pipeline."""

    tokens: int
    words: int
    width: int
    out: int
    warps: int
    stages: int


# Stages times the two 16-bit operand tiles, (tokens + words) · width, stay below the 163 KiB of shared memory that a
# block may have on sm_80; sm_90 has 227. Larger accumulators spilled (256 words by 128 or 64 tokens on 8 warps, and
# gradients of 64 tokens on 4). tests/kernels/test_triton_compiled.py holds both.
BLOCKS = (
    Block(128, 128, 64, 64, 8, 3),
    Block(64, 128, 64, 64, 4, 4),
)
GRADIENT_BLOCKS = (
    Block(64, 128, 64, 64, 8, 3),
    Block(128, 128, 64, 64, 8, 2),
)
_INTERPRETED = (Block(16, 32, 16, 16, 1, 1),)


def interpreted() -> bool:
    """Whether Triton interprets kernels in place of compiling them."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def blocks_for(*, gradient: bool) -> tuple[Block, ...]:
    """Return what a kernel is tuned over; one small block under the interpreter, which has nothing to tune."""
    if interpreted():
        return _INTERPRETED
    return GRADIENT_BLOCKS if gradient else BLOCKS


def _configurations(*, gradient: bool) -> list[triton.Config]:
    return [
        triton.Config(
            {
                "BLOCK_TOKENS": block.tokens,
                "BLOCK_WORDS": block.words,
                "BLOCK_WIDTH": block.width,
                **({"BLOCK_OUT": block.out} if gradient else {}),
            },
            num_warps=block.warps,
            num_stages=block.stages,
        )
        for block in blocks_for(gradient=gradient)
    ]


@triton.jit
def _add_product(sums, left, right, PRECISION: tl.constexpr, WIDEN: tl.constexpr):
    """``sums + left @ right``; `WIDEN` for the interpreter, whose product takes bfloat16 for integers."""
    if WIDEN:
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, sums, input_precision=PRECISION)


@triton.jit
def _logits(
    hidden,
    weight,
    rows,
    columns,
    tokens,
    words,
    softcap,
    hidden_row,
    hidden_column,
    weight_row,
    weight_column,
    WIDTH: tl.constexpr,
    CAPPED: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_WORDS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Logits (BLOCK_TOKENS, BLOCK_WORDS), float32; 0 before the softcap where there is no token or word."""
    from_hidden = hidden + rows.to(tl.int64)[:, None] * hidden_row
    from_weight = weight + columns.to(tl.int64)[None, :] * weight_row
    logits = tl.zeros((BLOCK_TOKENS, BLOCK_WORDS), dtype=tl.float32)
    for start in range(0, WIDTH, BLOCK_WIDTH):
        inner = start + tl.arange(0, BLOCK_WIDTH)
        h = tl.load(
            from_hidden + inner[None, :] * hidden_column,
            mask=(rows < tokens)[:, None] & (inner < WIDTH)[None, :],
            other=0.0,
        )
        w = tl.load(
            from_weight + inner[:, None] * weight_column,
            mask=(columns < words)[None, :] & (inner < WIDTH)[:, None],
            other=0.0,
        )
        logits = _add_product(logits, h, w, PRECISION, WIDEN)
    if CAPPED:
        shrunk = tl.exp(-2.0 * tl.abs(logits) / softcap)
        bent = softcap * (1.0 - shrunk) / (1.0 + shrunk)
        logits = tl.where(logits < 0, -bent, bent)
    return logits


@triton.autotune(_configurations(gradient=False), key=["WIDTH"])
@triton.jit
def log_sum_exp(
    hidden,
    weight,
    targets,
    log_sums,
    at_target,
    tokens,
    words,
    part,
    softcap,
    hidden_row,
    hidden_column,
    weight_row,
    weight_column,
    WIDTH: tl.constexpr,
    CAPPED: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_WORDS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Logarithm of a part's sum of exponentials, and the target's logit or 0, each (parts, tokens)."""
    rows = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    split = tl.program_id(1)
    target = tl.load(targets + rows, mask=rows < tokens, other=-1)
    # The shift is the largest logit so far. An infinite one cannot be subtracted: 0 stands for it, and exp(inf) for
    # what torch's logsumexp says.
    shift = tl.zeros((BLOCK_TOKENS,), dtype=tl.float32)
    largest = tl.full((BLOCK_TOKENS,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_TOKENS,), dtype=tl.float32)
    picked = tl.zeros((BLOCK_TOKENS,), dtype=tl.float32)
    for first in range(split * part, tl.minimum(split * part + part, words), BLOCK_WORDS):
        columns = first + tl.arange(0, BLOCK_WORDS)
        logits = _logits(
            hidden,
            weight,
            rows,
            columns,
            tokens,
            words,
            softcap,
            hidden_row,
            hidden_column,
            weight_row,
            weight_column,
            WIDTH,
            CAPPED,
            PRECISION,
            WIDEN,
            BLOCK_TOKENS,
            BLOCK_WORDS,
            BLOCK_WIDTH,
        )
        picked += tl.sum(tl.where(columns[None, :] == target[:, None], logits, 0.0), axis=1)
        logits = tl.where((columns < words)[None, :], logits, float("-inf"))
        largest = tl.maximum(largest, tl.max(logits, axis=1))
        new_shift = tl.where(tl.abs(largest) == float("inf"), 0.0, largest)
        total = tl.where(total == 0, 0.0, total * tl.exp(shift - new_shift))
        total += tl.sum(tl.exp(logits - new_shift[:, None]), axis=1)
        shift = new_shift
    place = split.to(tl.int64) * tokens + rows
    tl.store(log_sums + place, shift + tl.log(total), mask=rows < tokens)
    tl.store(at_target + place, picked, mask=rows < tokens)


@triton.autotune(_configurations(gradient=True), key=["WIDTH"], reset_to_zero=["parts"])
@triton.jit
def hidden_gradient(
    hidden,
    weight,
    targets,
    log_sum,
    parts,
    skip_below,
    ignore_index,
    tokens,
    words,
    part,
    softcap,
    hidden_row,
    hidden_column,
    weight_row,
    weight_column,
    WIDTH: tl.constexpr,
    CAPPED: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_WORDS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """Add a part's share of the gradient of each token's NLL into `parts` (parts, tokens, WIDTH), float32 zeros."""
    rows = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    split = tl.program_id(1)
    target = tl.load(targets + rows, mask=rows < tokens, other=0)
    there = (rows < tokens) & (target != ignore_index)
    shift = tl.load(log_sum + rows, mask=there, other=0.0)
    out = parts + (split.to(tl.int64) * tokens + rows)[:, None] * WIDTH
    for first in range(split * part, tl.minimum(split * part + part, words), BLOCK_WORDS):
        columns = first + tl.arange(0, BLOCK_WORDS)
        logits = _logits(
            hidden,
            weight,
            rows,
            columns,
            tokens,
            words,
            softcap,
            hidden_row,
            hidden_column,
            weight_row,
            weight_column,
            WIDTH,
            CAPPED,
            PRECISION,
            WIDEN,
            BLOCK_TOKENS,
            BLOCK_WORDS,
            BLOCK_WIDTH,
        )
        factor = tl.exp(logits - shift[:, None])
        factor = tl.where(columns[None, :] == target[:, None], factor - 1.0, factor)
        if CAPPED:
            factor *= 1.0 - (logits / softcap) * (logits / softcap)
        factor = tl.where(there[:, None] & (columns < words)[None, :], factor, 0.0)
        # A NaN is smaller than nothing, so it is never skipped.
        seen = tl.sum(tl.where(tl.abs(factor) < skip_below, 0, 1))
        if seen > 0:
            for start in range(0, WIDTH, BLOCK_OUT):
                inner = start + tl.arange(0, BLOCK_OUT)
                w = tl.load(
                    weight + columns.to(tl.int64)[:, None] * weight_row + inner[None, :] * weight_column,
                    mask=(columns < words)[:, None] & (inner < WIDTH)[None, :],
                    other=0.0,
                )
                inside = there[:, None] & (inner < WIDTH)[None, :]
                share = tl.load(out + inner[None, :], mask=inside, other=0.0)
                share = _add_product(share, factor.to(w.dtype), w, PRECISION, WIDEN)
                tl.store(out + inner[None, :], share, mask=inside)
            # The next tile reads what other threads of this program may have written.
            tl.debug_barrier()


@triton.autotune(_configurations(gradient=True), key=["WIDTH"], reset_to_zero=["gradient"])
@triton.jit
def weight_gradient(
    hidden,
    weight,
    targets,
    log_sum,
    upstream,
    gradient,
    ignore_index,
    tokens,
    words,
    softcap,
    hidden_row,
    hidden_column,
    weight_row,
    weight_column,
    WIDTH: tl.constexpr,
    CAPPED: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_WORDS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """Add the gradient of ``sum(upstream * nll)`` to the output matrix into `gradient` (words, WIDTH), zeros."""
    columns = tl.program_id(0) * BLOCK_WORDS + tl.arange(0, BLOCK_WORDS)
    out = gradient + columns.to(tl.int64)[:, None] * WIDTH
    for first in range(0, tokens, BLOCK_TOKENS):
        rows = first + tl.arange(0, BLOCK_TOKENS)
        there = rows < tokens
        target = tl.load(targets + rows, mask=there, other=0)
        counted = there & (target != ignore_index)
        logits = _logits(
            hidden,
            weight,
            rows,
            columns,
            tokens,
            words,
            softcap,
            hidden_row,
            hidden_column,
            weight_row,
            weight_column,
            WIDTH,
            CAPPED,
            PRECISION,
            WIDEN,
            BLOCK_TOKENS,
            BLOCK_WORDS,
            BLOCK_WIDTH,
        )
        factor = tl.exp(logits - tl.load(log_sum + rows, mask=there, other=0.0)[:, None])
        factor = tl.where(columns[None, :] == target[:, None], factor - 1.0, factor)
        if CAPPED:
            factor *= 1.0 - (logits / softcap) * (logits / softcap)
        factor *= tl.load(upstream + rows, mask=there, other=0.0)[:, None]
        factor = tl.where(counted[:, None] & (columns < words)[None, :], factor, 0.0)
        for start in range(0, WIDTH, BLOCK_OUT):
            inner = start + tl.arange(0, BLOCK_OUT)
            h = tl.load(
                hidden + rows.to(tl.int64)[:, None] * hidden_row + inner[None, :] * hidden_column,
                mask=counted[:, None] & (inner < WIDTH)[None, :],
                other=0.0,
            )
            inside = (columns < words)[:, None] & (inner < WIDTH)[None, :]
            share = tl.load(out + inner[None, :], mask=inside, other=0.0)
            share = _add_product(share, tl.trans(factor).to(h.dtype), h, PRECISION, WIDEN)
            tl.store(out + inner[None, :], share, mask=inside)
        tl.debug_barrier()
