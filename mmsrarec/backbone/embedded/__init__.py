"""The embedded backbone: a small multimodal language model made of weights from the package registry.

Importing this room registers the image tower with transformers' Auto classes, so that a saved embedded
backbone is loaded again by ``AutoModelForImageTextToText`` and ``AutoProcessor``.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoImageProcessor, AutoModel

from mmsrarec.backbone.embedded.assembly import load_embedded
from mmsrarec.backbone.embedded.configuration import EfficientNetLiteConfig
from mmsrarec.backbone.embedded.processor import EfficientNetLiteImageProcessor
from mmsrarec.backbone.embedded.tower import EfficientNetLiteModel

__all__ = [
    "EfficientNetLiteConfig",
    "EfficientNetLiteImageProcessor",
    "EfficientNetLiteModel",
    "load_embedded",
]

AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)
AutoImageProcessor.register(
    EfficientNetLiteConfig, image_processor_classes={"pil": EfficientNetLiteImageProcessor}, exist_ok=True
)
