"""Tiny models of each supported family, made on the spot: random weights, a real tokenizer, a real processor.

Used by tests, doctests and benchmarks; nothing is downloaded. Each function gives the pair that ``Backbone.load``
takes; ``seed`` is of the weights, ``vocabulary`` is that of :func:`tiny_tokenizer`, and further arguments change the
language model's configuration.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mmsrarec.backbone.loading import PictureOnlyQwenProcessor

__all__ = [
    "CONTROL_TOKENS",
    "TinyPicture",
    "tiny_llama",
    "tiny_llava",
    "tiny_qwen",
    "tiny_smolvlm",
    "tiny_tokenizer",
]

_HIDDEN = 32
CONTROL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)),
    "<end_of_utterance>",
]
_CORPUS = [
    "yes no Yes No",
    " yes no Yes No",
    "the next item a user likes: keywords of the history and of similar users",
    "cosy autumn knitwear, red lamp, steel bottle for children, answer yes or no",
    "system user assistant User: Assistant: System:",
]

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As SmolVLM's own: the colon's space depends on what the turn begins with.
_IDEFICS = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True)
class TinyPicture:
    """A picture made of its colour and size; what the backbone asks of a picture and nothing more.

    Examples
    --------
    >>> TinyPicture((255, 0, 0)).load().size
    (48, 48)
    """

    colour: tuple[int, int, int]
    size: tuple[int, int] = (48, 48)

    @property
    def key(self) -> str:
        """SHA-256 of what the picture is made of."""
        return hashlib.sha256(repr((self.colour, self.size)).encode()).hexdigest()

    def load(self) -> Image.Image:
        """Draw a rectangle of the colour on its complement."""
        image = Image.new("RGB", self.size, tuple(255 - value for value in self.colour))
        box = (self.size[0] // 4, self.size[1] // 4, self.size[0] // 2, 3 * self.size[1] // 4)
        image.paste(self.colour, box)
        return image


@functools.cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=[AddedToken(token, special=True) for token in CONTROL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS * 8, trainer)
    return tokenizer.to_str()


def tiny_tokenizer(
    chat_template: str = _CHATML, vocabulary: PreTrainedTokenizerFast | None = None
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of a few hundred tokens, with the control tokens of all families.

    Parameters
    ----------
    chat_template
        Its chat template.
    vocabulary
        A tokenizer whose vocabulary is taken over, the control tokens added, in place of training one.

    Examples
    --------
    >>> tokenizer = tiny_tokenizer()
    >>> tokenizer.decode(tokenizer.encode("cosy knitwear"))
    'cosy knitwear'
    """
    trained = _trained() if vocabulary is None else vocabulary.backend_tokenizer.to_str()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    if vocabulary is not None:
        tokenizer.add_tokens(
            [AddedToken(token, special=True) for token in CONTROL_TOKENS], special_tokens=True
        )
    tokenizer.chat_template = chat_template
    return tokenizer


def _text_settings(tokenizer: PreTrainedTokenizerFast, changes: dict[str, Any]) -> dict[str, Any]:
    hidden = changes.get("hidden_size", _HIDDEN)
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        # Wide enough that different prompts give clearly different answers.
        "initializer_range": 0.3,
    } | changes


def _made(model_class: Any, config: Any, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = model_class(config)
    # A checkpoint has no stop tokens of its own beyond the tokenizer's.
    model.generation_config.eos_token_id = config.get_text_config().eos_token_id
    return model.eval()


def tiny_llama(
    seed: int = 0, *, vocabulary: PreTrainedTokenizerFast | None = None, **text_config: Any
) -> tuple[PreTrainedModel, Any]:
    """Make a text-only model.

    Examples
    --------
    >>> model, tokenizer = tiny_llama()
    >>> model.config.model_type
    'llama'
    """
    tokenizer = tiny_tokenizer(vocabulary=vocabulary)
    return _made(LlamaForCausalLM, LlamaConfig(**_text_settings(tokenizer, text_config)), seed), tokenizer


def tiny_llava(
    seed: int = 0, *, vocabulary: PreTrainedTokenizerFast | None = None, **text_config: Any
) -> tuple[PreTrainedModel, Any]:
    """Make a LLaVA: a CLIP tower, nine tokens a picture, a Llama.

    Examples
    --------
    >>> model, processor = tiny_llava()
    >>> model.config.model_type
    'llava'
    """
    tokenizer = tiny_tokenizer(_CHATML.replace("IMAGE", "<image>"), vocabulary)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=48,
        patch_size=16,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**_text_settings(tokenizer, text_config)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        image_seq_length=9,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    return _made(LlavaForConditionalGeneration, config, seed), processor


def tiny_qwen(
    seed: int = 0, *, vocabulary: PreTrainedTokenizerFast | None = None, **text_config: Any
) -> tuple[PreTrainedModel, Any]:
    """Make a Qwen2.5-VL: pictures of any shape, positions along three axes.

    Examples
    --------
    >>> model, processor = tiny_qwen()
    >>> model.config.model_type
    'qwen2_5_vl'
    """
    tokenizer = tiny_tokenizer(
        _CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"), vocabulary
    )
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in _QWEN_TOKENS}
    text = _text_settings(tokenizer, text_config)
    half = text["hidden_size"] // text["num_attention_heads"] // 2
    axes = [half // 4, half // 4, half // 2]
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": axes}
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": text["hidden_size"],
            "patch_size": 8,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    images = Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, min_pixels=16 * 16, max_pixels=64 * 64)
    processor = PictureOnlyQwenProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
    return _made(Qwen2_5_VLForConditionalGeneration, config, seed), processor


_QWEN_TOKENS = ("image_pad", "video_pad", "vision_start", "vision_end")


def tiny_smolvlm(
    seed: int = 0, *, vocabulary: PreTrainedTokenizerFast | None = None, **text_config: Any
) -> tuple[PreTrainedModel, Any]:
    """Make a SmolVLM (Idefics3): a picture becomes tiles and an overview.

    Examples
    --------
    >>> model, processor = tiny_smolvlm()
    >>> model.config.model_type
    'idefics3'
    """
    tokenizer = tiny_tokenizer(_IDEFICS, vocabulary)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        text_config=LlamaConfig(**_text_settings(tokenizer, text_config)),
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=tokenizer.chat_template)
    return _made(Idefics3ForConditionalGeneration, config, seed), processor
