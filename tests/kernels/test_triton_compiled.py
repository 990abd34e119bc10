"""Holds what Triton makes of the kernels for sm_80 and sm_90, without a GPU."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

from mmsrarec.kernels import ahead_of_time
from mmsrarec.kernels.sequence_nll.triton_kernels import BLOCKS, GRADIENT_BLOCKS, Block

CARDS = pytest.mark.parametrize("card", ahead_of_time.CARDS, ids=lambda card: f"sm_{card.capability}")
CONFIGURATIONS = [
    *(("log_sum_exp", block) for block in BLOCKS),
    *(("hidden_gradient", block) for block in GRADIENT_BLOCKS),
    *(("weight_gradient", block) for block in GRADIENT_BLOCKS),
]


@CARDS
@pytest.mark.parametrize(("kernel", "block"), CONFIGURATIONS)
def test_sequence_nll_fits_the_card(kernel: str, block: Block, card: ahead_of_time.Card) -> None:
    made = ahead_of_time.compile_sequence_nll(kernel, block, card)
    assert made.spilled_bytes == 0
    assert made.registers <= 255
    assert made.shared_bytes <= card.shared_bytes
    products = 1 if kernel == "log_sum_exp" else 2
    if card.capability >= 90:
        assert made.wgmma >= 4 * products
    else:
        assert made.mma >= 32 * products


@CARDS
def test_group_reward_fits_the_card(card: ahead_of_time.Card) -> None:
    made = ahead_of_time.compile_group_reward(card)
    assert made.spilled_bytes == 0
    assert made.shared_bytes <= 4096


@CARDS
@pytest.mark.parametrize("kernel", ["log_sum_exp", "hidden_gradient"])
def test_bytes_moved_are_near_the_least(kernel: str, card: ahead_of_time.Card) -> None:
    moved, least = ahead_of_time.traffic(kernel, 2048, 576, 49_152, card)
    assert least <= moved <= 1.2 * least
