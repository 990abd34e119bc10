"""What Triton makes of the kernels for a card that need not be there: registers, spills, shared memory, tensor cores.

Used by ``python -m benches P2c`` and by the tests that hold the figures; nothing here runs on a GPU.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import triton
from mmsrarec.kernels.group_reward.triton import reward_groups
from mmsrarec.kernels.sequence_nll import triton_kernels
from mmsrarec.kernels.sequence_nll.triton import splits_for
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

__all__ = ["CARDS", "Card", "Compiled", "Traffic", "compile_group_reward", "compile_sequence_nll", "traffic"]


class Card(NamedTuple):
    """What the layout depends on; the first card of each compute capability."""

    name: str
    capability: int
    processors: int
    shared_bytes: int
    cache_bytes: int


CARDS = (
    Card("A100 (sm_80)", 80, 108, 163 << 10, 40 << 20),
    Card("H100 (sm_90)", 90, 132, 227 << 10, 50 << 20),
)


class Compiled(NamedTuple):
    """Read from the PTX of one kernel, and from its assembler."""

    kernel: str
    block: str
    registers: int
    spilled_bytes: int
    shared_bytes: int
    mma: int
    wgmma: int


class Traffic(NamedTuple):
    """Bytes between memory and the second cache."""

    moved: int
    least: int


_TYPES = {
    **dict.fromkeys(("hidden", "weight"), "*bf16"),
    **dict.fromkeys(("log_sums", "at_target", "log_sum", "parts", "upstream", "gradient"), "*fp32"),
    **dict.fromkeys(("keyword_embedding", "text_embedding", "nll", "length", "rewards"), "*fp32"),
    **dict.fromkeys(("skip_below", "softcap", "alpha", "beta", "gamma", "bound", "epsilon"), "fp32"),
    "targets": "*i64",
}
_MULTIPLES_OF_16 = {"hidden_row", "weight_row", "part", "tokens", "words", "rows", "width"}


def compile_sequence_nll(kernel: str, block: triton_kernels.Block, card: Card, width: int = 576) -> Compiled:
    """Compile one kernel of ``sequence_nll`` for bfloat16 matrices with rows of one piece.

    Parameters
    ----------
    kernel
        ``"log_sum_exp"``, ``"hidden_gradient"`` or ``"weight_gradient"``.
    block
        The configuration.
    card
        For what.
    width
        Columns d.
    """
    constants = {
        "hidden_column": 1,
        "weight_column": 1,
        "WIDTH": width,
        "CAPPED": False,
        "PRECISION": "ieee",
        "WIDEN": False,
        "BLOCK_TOKENS": block.tokens,
        "BLOCK_WORDS": block.words,
        "BLOCK_WIDTH": block.width,
        "BLOCK_OUT": block.out,
    }
    function = getattr(triton_kernels, kernel).fn
    sizes = f"{block.tokens}×{block.words}×{block.width}, {block.warps} warps, {block.stages} stages"
    return _compile(function, constants, sizes, card, block.warps, block.stages)


def compile_group_reward(card: Card) -> Compiled:
    """Compile the kernel of ``group_reward`` for groups of 8 and 384 columns."""
    constants = {"FORM": 0, "ROWS": 8, "COLUMNS": 128}
    return _compile(reward_groups, constants, "8×128, 4 warps", card, 4, 3)


def _compile(
    function: Any, constants: dict[str, Any], block: str, card: Card, warps: int, stages: int
) -> Compiled:
    names = function.arg_names
    constants = {name: value for name, value in constants.items() if name in names}
    signature = {name: "constexpr" if name in constants else _TYPES.get(name, "i32") for name in names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if signature[name].startswith("*") or (name in _MULTIPLES_OF_16 and name not in constants)
    }
    made = triton.compile(
        ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned),
        target=GPUTarget("cuda", card.capability, 32),
        options={"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True},
    )
    ptx = made.asm["ptx"]
    registers, spilled = _resources(ptx, card.capability)
    return Compiled(
        kernel=function.__name__,
        block=block,
        registers=registers,
        spilled_bytes=spilled,
        shared_bytes=made.metadata.shared,
        mma=ptx.count("mma.sync"),
        wgmma=ptx.count("wgmma.mma_async"),
    )


def _resources(ptx: str, capability: int) -> tuple[int, int]:
    """Registers of a thread, and bytes that it stores elsewhere for want of registers, as the assembler tells them."""
    tool = get_ptxas(capability).path  # which one Triton itself takes for the card
    # The assembler knows wgmma under the name of the architecture with its own features only.
    architecture = f"sm_{capability}{'a' if capability >= 90 else ''}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        command = [tool, "-v", f"--gpu-name={architecture}", str(path), "-o", f"{path}.cubin"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers = re.search(r"Used (\d+) registers", shown)
    spilled = re.search(r"(\d+) bytes spill stores", shown)
    if registers is None or spilled is None:
        raise RuntimeError(f"ptxas says nothing of registers: {shown}")
    return int(registers[1]), int(spilled[1])


def traffic(kernel: str, tokens: int, width: int, words: int, card: Card) -> Traffic:
    """Model the bytes that ``sequence_nll`` moves for bfloat16 matrices, and the least that any way of doing it must.

    Programs that run together read the same tile of weights at about the same time, so that memory is read once for
    all of them: as often as there are waves of programs. Hidden states and partial gradients stay in the second cache
    if they fill no more than half of it; they are then read from, or written to, memory once. Otherwise every tile of
    the vocabulary reads the hidden states, and reads and writes the partial gradients, anew.

    Parameters
    ----------
    kernel
        ``"log_sum_exp"`` or ``"hidden_gradient"``.
    tokens, width, words
        T, d, V.
    card
        Its processors and cache.

    Examples
    --------
    >>> moved, least = traffic("log_sum_exp", 2048, 576, 49152, CARDS[0])
    >>> round(moved / least, 2)
    1.0
    """
    gradient = kernel == "hidden_gradient"
    block = triton_kernels.blocks_for(gradient=gradient)[0]
    splits = splits_for(tokens, words, card.processors, width if gradient else 0)
    programs = triton.cdiv(tokens, block.tokens) * splits
    waves = triton.cdiv(programs, card.processors)
    tiles = triton.cdiv(triton.cdiv(words, splits), block.words)
    hidden, weights = 2 * tokens * width, 2 * words * width
    partial = 4 * splits * tokens * width if gradient else 0
    cached = hidden + partial <= card.cache_bytes // 2
    by_token = 16 * tokens  # target, and two results
    moved = waves * weights + by_token + (hidden if cached else tiles * splits * hidden)
    # Sums of the parts, or the parts themselves.
    moved += partial * (1 if cached else 2 * tiles) if gradient else 16 * splits * tokens
    least = hidden + weights + by_token + (4 * tokens * width if gradient else 0)
    return Traffic(moved, least)
