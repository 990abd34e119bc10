"""The image tower EfficientNet-Lite0 as a transformers model; what a picture meets first.

Batch normalization is folded into the convolutions and activations run channels-last, which makes the
frozen tower several times faster on a CPU than the package its weights come from (see
docs/decisions/0003-embedded-backbone.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from mmsrarec.backbone.embedded.configuration import EfficientNetLiteConfig

__all__ = ["EfficientNetLiteModel", "fold_batch_normalization"]

BATCH_NORMALIZATION_EPSILON = 1e-3
# Pictures that run at once on a CPU. The activations of more are too large for the allocator to reuse, and page
# faults then cost as much as the convolutions: 35 ms a picture at 8, 19 ms at 2, one core.
CPU_PIECE = 2


class ConvolutionReLU6(nn.Conv2d):
    """A biased convolution with TensorFlow's "same" padding, and ReLU6 unless `linear`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        symmetric = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding=symmetric, groups=groups)
        self.linear = linear
        # TensorFlow pads an even input of a strided convolution by one more at the right and the bottom.
        total = kernel - stride
        self.uneven_padding = (total // 2, total - total // 2) * 2 if stride > 1 else None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (pictures, inputs, height, width) to (pictures, outputs, height / stride, width / stride)."""
        if self.uneven_padding is not None:
            features = functional.pad(features, self.uneven_padding)
        features = super().forward(features)
        return features if self.linear else functional.relu6(features)


class InvertedBottleneck(nn.Module):
    """Expand, convolve each channel by itself, project back (Sandler et al., CVPR 2018)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = ConvolutionReLU6(inputs, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvolutionReLU6(inner, inner, kernel, stride, groups=inner)
        self.project = ConvolutionReLU6(inner, outputs, 1, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (pictures, inputs, height, width) to (pictures, outputs, height / stride, width / stride)."""
        inner = self.project(self.depthwise(self.expand(features)))
        return inner + features if self.residual else inner


class EfficientNetLiteModel(PreTrainedModel):
    """EfficientNet-Lite without its classifier: a picture becomes a grid of tokens.

    Parameters
    ----------
    config
        Shape of the tower.

    Examples
    --------
    >>> tower = EfficientNetLiteModel(EfficientNetLiteConfig()).eval()
    >>> tower(torch.zeros(1, 3, 224, 224)).last_hidden_state.shape
    torch.Size([1, 16, 1280])
    """

    config: EfficientNetLiteConfig
    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    base_model_prefix = "tower"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        channels = config.stem_channels
        self.stem = ConvolutionReLU6(3, channels, 3, 2)
        blocks = []
        for repeats, kernel, stride, expansion, outputs in config.stages:
            for step in [stride] + [1] * (repeats - 1):
                blocks.append(InvertedBottleneck(channels, outputs, kernel, step, expansion))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = ConvolutionReLU6(channels, config.hidden_size, 1)
        self.grid = config.image_size // config.patch_size
        self.post_init()

    def forward(
        self, pixel_values: torch.Tensor, return_dict: bool | None = None, **_: object
    ) -> BaseModelOutputWithPooling | tuple[torch.Tensor, ...]:
        """Encode pictures.

        Parameters
        ----------
        pixel_values
            (pictures, 3, image_size, image_size), normalized as the image processor does.
        return_dict
            ``False`` gives a tuple.

        Returns
        -------
        BaseModelOutputWithPooling
            ``last_hidden_state`` (pictures, tokens, hidden_size), rows of the grid from left to right and top
            to bottom; ``pooler_output`` (pictures, hidden_size), their mean; ``hidden_states``, a tuple of
            ``last_hidden_state`` alone, so that layer -1 is the only one to select.
        """
        pixel_values = pixel_values.to(self.dtype).contiguous(memory_format=torch.channels_last)
        pieces = pixel_values.split(CPU_PIECE) if pixel_values.device.type == "cpu" else (pixel_values,)
        # (pictures, hidden_size, image_size / 32, image_size / 32)
        features = torch.cat([self._features(piece) for piece in pieces])
        pooled = features.mean((2, 3))  # (pictures, hidden_size)
        tokens = functional.adaptive_avg_pool2d(features, self.grid).flatten(2).transpose(1, 2)
        output = BaseModelOutputWithPooling(
            last_hidden_state=tokens.contiguous(),  # (pictures, tokens, hidden_size)
            pooler_output=pooled,
            hidden_states=(tokens,),
        )
        return output.to_tuple() if return_dict is False else output

    def _features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        features = self.stem(pixel_values)
        for block in self.blocks:
            features = block(features)
        return self.head(features)


def fold_batch_normalization(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn the published weights of EfficientNet-Lite into the tower's, batch normalization folded in.

    For a convolution w followed by a normalization with scale g, shift b, mean m and variance v, the folded
    convolution is ``w * g / sqrt(v + epsilon)`` with bias ``b - m * g / sqrt(v + epsilon)``.

    Parameters
    ----------
    published
        State of ``efficientnet_lite_pytorch.EfficientNet``; its classifier is left out.

    Returns
    -------
    dict
        State of :class:`EfficientNetLiteModel`, float32.
    """
    folded: dict[str, torch.Tensor] = {}

    def fold(name: str, convolution: str, normalization: str) -> None:
        variance = published[f"{normalization}.running_var"].double()
        scale = published[f"{normalization}.weight"].double() / torch.sqrt(
            variance + BATCH_NORMALIZATION_EPSILON
        )
        weight = published[f"{convolution}.weight"].double() * scale[:, None, None, None]
        bias = published[f"{normalization}.bias"] - published[f"{normalization}.running_mean"] * scale
        folded[f"{name}.weight"], folded[f"{name}.bias"] = weight.float(), bias.float()

    fold("stem", "_conv_stem", "_bn0")
    n_blocks = 1 + max(int(name.split(".")[1]) for name in published if name.startswith("_blocks."))
    for block in range(n_blocks):
        theirs, ours = f"_blocks.{block}", f"blocks.{block}"
        if f"{theirs}._expand_conv.weight" in published:
            fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
        fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
    fold("head", "_conv_head", "_bn1")
    return folded
