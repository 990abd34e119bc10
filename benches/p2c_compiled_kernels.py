"""P2c: the Triton kernels compiled ahead of time for sm_80 and sm_90; a table in place of times.

Shared memory is what one program takes. The last column is the bytes that the roofline model of
``mmsrarec.kernels.ahead_of_time.traffic`` counts, over the least possible, at T = 2048, d = 576, V = 49,152.
"""

from __future__ import annotations

from mmsrarec.kernels import ahead_of_time
from mmsrarec.kernels.sequence_nll.triton_kernels import BLOCKS, GRADIENT_BLOCKS
from rich.table import Table

SHAPE = (2048, 576, 49_152)


def table() -> Table:
    """Compile every configuration and tell what it takes."""
    shown = Table(
        "card", "kernel", "block", "registers", "spilled", "shared KiB", "mma", "wgmma", "MB moved / least"
    )
    for card in ahead_of_time.CARDS:
        compiled = [
            *(ahead_of_time.compile_sequence_nll("log_sum_exp", block, card) for block in BLOCKS),
            *(
                ahead_of_time.compile_sequence_nll(kernel, block, card)
                for kernel in ("hidden_gradient", "weight_gradient")
                for block in GRADIENT_BLOCKS
            ),
            ahead_of_time.compile_group_reward(card),
        ]
        for made in compiled:
            bytes_moved = ""
            if made.kernel in ("log_sum_exp", "hidden_gradient"):
                moved, least = ahead_of_time.traffic(made.kernel, *SHAPE, card)
                bytes_moved = f"{moved / 1e6:.1f} / {least / 1e6:.1f} = {moved / least:.2f}"
            numbers = (
                made.registers, made.spilled_bytes, made.shared_bytes // 1024, made.mma, made.wgmma
            )  # fmt: skip
            shown.add_row(card.name, made.kernel, made.block, *map(str, numbers), bytes_moved)
    return shown
