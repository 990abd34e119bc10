"""What one needs to test a recommender built on this package: tiny models, and conformance test classes.

A class such as :class:`BackboneTests` is inherited in a test module; its tests then hold the user's own part to the
contract that the rest of the package relies on.
"""

from __future__ import annotations

from mmsrarec.testing.backbone import BackboneTests
from mmsrarec.testing.tiny_models import TinyPicture, tiny_llama, tiny_llava, tiny_qwen, tiny_smolvlm

__all__ = ["BackboneTests", "TinyPicture", "tiny_llama", "tiny_llava", "tiny_qwen", "tiny_smolvlm"]
