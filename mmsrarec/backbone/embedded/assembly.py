"""Puts the embedded backbone together: language model, image tower and projector in one LLaVA."""

from __future__ import annotations

from importlib.resources import as_file, files

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import GenerationConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

from mmsrarec.backbone.embedded.configuration import EfficientNetLiteConfig
from mmsrarec.backbone.embedded.processor import IMAGE_TOKEN, build_processor
from mmsrarec.backbone.embedded.tower import fold_batch_normalization
from mmsrarec.backbone.embedded.weights import (
    LanguageModel,
    quiet_loading,
    read_language_model,
    read_tower_weights,
)

__all__ = ["PROJECTOR_FILE", "load_embedded"]

PROJECTOR_FILE = "projector.safetensors"
LANGUAGE_MODEL_PREFIX = "model.language_model."
TOWER_PREFIX = "model.vision_tower."
PROJECTOR_PREFIX = "model.multi_modal_projector."
# Longest chat, in tokens; what the language model was trained on.
MAX_LENGTH = 8192


def load_embedded(
    dtype: torch.dtype = torch.float32, *, projector: bool = True
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    r"""Put the embedded backbone together from the weights of installed packages.

    SmolLM2-135M-Instruct and EfficientNet-Lite0 (7 x 7 features pooled to 16 tokens) are joined by a
    two-layer projector (Liu et al., "Visual Instruction Tuning", NeurIPS 2023; the projector of LLaVA-1.5).
    No network is touched.

    Parameters
    ----------
    dtype
        Type of the weights. Default float32.
    projector
        ``False`` leaves out the projector that comes with the package and gives the untrained one, the same
        each time.

    Returns
    -------
    model
        In evaluation mode, on the CPU.
    processor
        Its chat template places pictures (``{"type": "image"}``) where they stand in a message.

    Raises
    ------
    MissingDependencyError
        If a package is not installed; the message says what to type.
    StoredFileError
        If a weight file is not the published one.

    Examples
    --------
    >>> model, processor = load_embedded()
    >>> chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    >>> processor.apply_chat_template(chat, add_generation_prompt=True)
    '<|im_start|>user\n<image>What is it?<|im_end|>\n<|im_start|>assistant\n'
    """
    language_model = read_language_model()
    tower_state = fold_batch_normalization(read_tower_weights())
    tower_config = EfficientNetLiteConfig()
    processor = build_processor(language_model.tokenizer, tower_config)
    processor.tokenizer.model_max_length = MAX_LENGTH
    config = _configuration(language_model, tower_config, processor)
    state = {
        LANGUAGE_MODEL_PREFIX + name.removeprefix("model."): t for name, t in language_model.state.items()
    }
    embedding = LANGUAGE_MODEL_PREFIX + "embed_tokens.weight"
    state[embedding] = _with_image_row(state[embedding])
    state |= {TOWER_PREFIX + name: tensor for name, tensor in tower_state.items()}
    state |= _projector_state(config, shipped=projector)
    with quiet_loading():
        model = LlavaForConditionalGeneration.from_pretrained(
            None, config=config, state_dict=state, dtype=dtype
        )
    # transformers makes the name "None" of it, and PEFT would look for a model of that name on the hub at each save.
    model.name_or_path = model.config.name_or_path = ""
    model.generation_config = GenerationConfig(
        bos_token_id=config.text_config.bos_token_id,
        eos_token_id=config.text_config.eos_token_id,
        pad_token_id=config.text_config.pad_token_id,
    )
    return model.eval(), processor


def _configuration(
    language_model: LanguageModel, tower: EfficientNetLiteConfig, processor: LlavaProcessor
) -> LlavaConfig:
    tokenizer = processor.tokenizer
    text = language_model.config
    text.vocab_size = len(tokenizer)
    text.pad_token_id = tokenizer.pad_token_id
    text.bos_token_id = tokenizer.bos_token_id
    text.eos_token_id = tokenizer.eos_token_id
    return LlavaConfig(
        vision_config=tower,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=tower.n_tokens,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )


def _with_image_row(embedding: torch.Tensor) -> torch.Tensor:
    """Append the row of the image token: the mean row has the mean logit, so it is never likely."""
    return torch.cat([embedding, embedding.mean(0, keepdim=True)])


def _projector_state(config: LlavaConfig, *, shipped: bool) -> dict[str, torch.Tensor]:
    file = files(__package__) / PROJECTOR_FILE
    if shipped and file.is_file():
        with as_file(file) as path:
            state = {name: tensor.float() for name, tensor in load_file(path).items()}
    else:
        state = _untrained_projector(config.vision_config.hidden_size, config.text_config.hidden_size)
    return {PROJECTOR_PREFIX + name: tensor for name, tensor in state.items()}


def _untrained_projector(inputs: int, outputs: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, columns in (("linear_1", inputs), ("linear_2", outputs)):
        weight = torch.empty(outputs, columns)
        nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
        state[f"{name}.weight"], state[f"{name}.bias"] = weight, torch.zeros(outputs)
    return state
