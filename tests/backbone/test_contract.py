"""Each family, and the embedded backbone, held to the contract that users' own backbones are held to."""

from __future__ import annotations

import pytest
import torch

from mmsrarec.backbone import Backbone, Prompt
from mmsrarec.testing import BackboneTests, TinyPicture, tiny_qwen


@pytest.mark.filterwarnings("ignore:backbone 'llama' reads text only")
class TestLlama(BackboneTests):
    @pytest.fixture
    def backbone(self, tiny_llama: Backbone) -> Backbone:
        return tiny_llama


class TestLlava(BackboneTests):
    @pytest.fixture
    def backbone(self, tiny_llava: Backbone) -> Backbone:
        return tiny_llava


class TestQwen(BackboneTests):
    @pytest.fixture
    def backbone(self, tiny_qwen: Backbone) -> Backbone:
        return tiny_qwen


class TestSmolVLM(BackboneTests):
    @pytest.fixture
    def backbone(self, tiny_smolvlm: Backbone) -> Backbone:
        return tiny_smolvlm


class TestEmbedded(BackboneTests):
    @pytest.fixture
    def backbone(self, embedded: Backbone) -> Backbone:
        return embedded

    @staticmethod
    def prompts() -> list[Prompt]:
        told = "She bought a cosy scarf. Is the next one for her? "
        red, blue = TinyPicture((220, 30, 40), (96, 96)), TinyPicture((40, 50, 230), (80, 170))
        return [Prompt((told, red)), Prompt((told, blue)), Prompt((told, "A lamp?"))]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnGpu(BackboneTests):
    tolerance = 1e-4

    @pytest.fixture
    def backbone(self) -> Backbone:
        return Backbone.load(tiny_qwen(), device="cuda")
