"""Chats and pictures to inputs of the embedded backbone: image processor, tokenizer, chat template."""

from __future__ import annotations

from importlib.resources import files

from transformers import LlavaProcessor, PreTrainedTokenizerBase
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling

from mmsrarec.backbone.embedded.configuration import EfficientNetLiteConfig

__all__ = ["IMAGE_TOKEN", "EfficientNetLiteImageProcessor", "build_processor"]

IMAGE_TOKEN = "<image>"
# Token 0 of the published vocabulary. As padding it keeps the end-of-turn token, which answers must learn
# to write, apart from what losses skip.
PADDING_TOKEN = "<|endoftext|>"


class EfficientNetLiteImageProcessor(PilBackend):
    """Resizes a picture to the tower's square and normalizes it as its training did.

    Pillow and NumPy alone do the work, so that a picture gives the same numbers whether torchvision is
    installed or not. The whole picture is kept, squeezed into the square: covers and posters carry what
    matters at their edges too. Mean 127 and deviation 128 out of 255 are those of the published
    TensorFlow model.
    """

    resample = PILImageResampling.BICUBIC
    image_mean = (127 / 255,) * 3
    image_std = (128 / 255,) * 3
    size = {"height": 224, "width": 224}  # noqa: RUF012  transformers reads the class attribute
    default_to_square = True
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    model_input_names = ["pixel_values"]  # noqa: RUF012


def build_processor(tokenizer: PreTrainedTokenizerBase, tower: EfficientNetLiteConfig) -> LlavaProcessor:
    """Join tokenizer, image processor and chat template.

    Parameters
    ----------
    tokenizer
        The language model's tokenizer as published. It gains ``<image>`` as its last token, and a padding
        token of its own; it is changed in place.
    tower
        Shape of the image tower.

    Returns
    -------
    LlavaProcessor
        Writes each picture as ``(image_size / patch_size)^2`` image tokens.
    """
    tokenizer.add_special_tokens({"pad_token": PADDING_TOKEN, "additional_special_tokens": [IMAGE_TOKEN]})
    tokenizer.padding_side = "left"
    side = tower.image_size
    return LlavaProcessor(
        image_processor=EfficientNetLiteImageProcessor(size={"height": side, "width": side}),
        tokenizer=tokenizer,
        patch_size=tower.patch_size,
        vision_feature_select_strategy="full",
        image_token=IMAGE_TOKEN,
        chat_template=(files(__package__) / "chat_template.jinja").read_text("utf-8"),
    )
