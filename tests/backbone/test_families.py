from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlavaConfig, PixtralVisionConfig

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.backbone.families import family_of, rope_positions
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture


@pytest.mark.parametrize("sizes", [[(48, 48)], [(64, 20), (20, 64), (33, 57)], []])
def test_positions_are_those_of_transformers(tiny_qwen: Backbone, sizes: list[tuple[int, int]]) -> None:
    pictures = [TinyPicture((index, 90, 10), size) for index, size in enumerate(sizes)]
    content = [part for picture in pictures for part in ("some text ", picture)]
    one = tiny_qwen.encode([Prompt((*content, "the end"))])[0]
    batch = tiny_qwen.collate([one])
    expected, _ = tiny_qwen.inner.get_rope_index(
        batch["input_ids"], batch["mm_token_type_ids"], image_grid_thw=batch.get("image_grid_thw")
    )
    grids = [tiny_qwen.reader.expansion(picture).grid for picture in pictures]
    assert torch.equal(rope_positions(len(one), list(one.image_spans), grids, 2), expected[:, 0])  # type: ignore[arg-type]


def test_a_grid_of_another_model_is_named() -> None:
    with pytest.raises(InputError, match="fills 3 tokens, its grid 4"):
        rope_positions(9, [(1, 4)], [(1, 4, 4)], 2)


def test_a_llava_that_keeps_pictures_shapes_is_another_family() -> None:
    assert family_of(LlavaConfig()) is not None
    assert family_of(LlavaConfig(vision_config=PixtralVisionConfig())) is None
    assert family_of(LlamaConfig()) is None
