"""Configuration of the image tower EfficientNet-Lite0; read by :mod:`.tower` and by ``AutoConfig``."""

from __future__ import annotations

from transformers import PretrainedConfig

from mmsrarec.errors import InputError

__all__ = ["EfficientNetLiteConfig"]


class EfficientNetLiteConfig(PretrainedConfig):
    """Shape of an EfficientNet-Lite image tower whose feature grid is pooled to few tokens.

    The defaults are EfficientNet-Lite0 (Tan and Le, ICML 2019; the Lite variant has no squeeze-and-excitation
    and ReLU6 in place of Swish).

    Parameters
    ----------
    image_size
        Height and width of the input, in pixels. Default 224.
    patch_size
        Pixels that one token stands for, in each direction. Default 56, so 4 x 4 = 16 tokens a picture.
    hidden_size
        Width of a token: channels of the last convolution. Default 1280.
    stem_channels
        Channels of the first convolution. Default 32.
    stages
        One row a stage: repeats, kernel size, stride of the first block, expansion, output channels.

    Raises
    ------
    InputError
        If `image_size` is no multiple of 32 (the tower's stride), or `patch_size` is not between 1 and it.

    Examples
    --------
    >>> EfficientNetLiteConfig().n_tokens
    16
    """

    model_type = "efficientnet_lite"

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 56,
        hidden_size: int = 1280,
        stem_channels: int = 32,
        stages: list[list[int]] | None = None,
        **kwargs: object,
    ) -> None:
        if image_size < 32 or image_size % 32:
            raise InputError(f"image_size must be a multiple of 32, got {image_size}; take 224.")
        if not 1 <= patch_size <= image_size:
            raise InputError(
                f"patch_size must be between 1 and image_size={image_size}, got {patch_size}; take 56."
            )
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_size = hidden_size
        self.stem_channels = stem_channels
        self.stages = stages or [
            [1, 3, 1, 1, 16],
            [2, 3, 2, 6, 24],
            [2, 5, 2, 6, 40],
            [3, 3, 2, 6, 80],
            [3, 5, 1, 6, 112],
            [4, 5, 2, 6, 192],
            [1, 3, 1, 6, 320],
        ]
        super().__init__(**kwargs)

    @property
    def n_tokens(self) -> int:
        """Tokens a picture becomes."""
        return (self.image_size // self.patch_size) ** 2
