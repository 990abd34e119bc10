"""The memory that is computed, against what tiny models of the families take, tensor by tensor."""

from __future__ import annotations

import weakref

import pytest
import torch
from peft import LoraConfig
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen2_5_VLConfig
from transformers.cache_utils import DynamicCache

from mmsrarec import testing
from mmsrarec.backbone import Backbone, Prompt, prefix_attention
from mmsrarec.backbone.forward import whole_inputs
from mmsrarec.backbone.losses import example_loss
from mmsrarec.backbone.memory import MemoryNeed, scoring_memory, tuning_memory
from mmsrarec.backbone.packing import TrainingRow
from mmsrarec.backbone.shared_prefix import group_by_prefix

FAMILIES = ["tiny_llava", "tiny_qwen", "tiny_smolvlm"]
LORA = LoraConfig(
    r=4,
    lora_alpha=8,
    target_modules=r".*(language_model|text_model).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
)
HISTORY = "a history of some length, told in the same words for every candidate of the user, " * 3
SHAPES = [
    {"hidden_size": 128, "num_hidden_layers": 3},
    {"hidden_size": 192, "num_hidden_layers": 6, "intermediate_size": 640},
]


class Peak(TorchDispatchMode):
    """Counts bytes of the storages that are made inside, and the most that were alive at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.most = 0
        self._seen: set[int] = set()

    def _drop(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive -= size

    def __torch_dispatch__(self, function, types, given=(), named=None):
        results = function(*given, **(named or {}))
        old = {
            leaf.untyped_storage()._cdata
            for leaf in tree_leaves((given, named))
            if isinstance(leaf, torch.Tensor)
        }
        for leaf in tree_leaves(results):
            if not isinstance(leaf, torch.Tensor):
                continue
            storage = leaf.untyped_storage()
            key = storage._cdata
            if key in self._seen or key in old:
                continue
            self._seen.add(key)
            self.alive += storage.nbytes()
            weakref.finalize(storage, self._drop, key, storage.nbytes())
        self.most = max(self.most, self.alive)
        return results


def made(family: str, shape: dict[str, int], dtype: str) -> Backbone:
    return Backbone.load(getattr(testing, family)(**shape), device="cpu", dtype=dtype)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_and_adapter_are_exact(family: str) -> None:
    backbone = made(family, SHAPES[0], "bfloat16")
    config = backbone.hf.config
    backbone.add_adapter("one", LORA)
    named = list(backbone.hf.named_parameters())
    need = tuning_memory(config, LORA, rows=1, tokens=1)
    assert need.weights == sum(weight.nbytes for name, weight in named if "lora_" not in name)
    # Values, gradients and two moments, all in float32.
    assert need.adapter == 4 * sum(weight.nbytes for name, weight in named if "lora_" in name)
    assert {weight.dtype for name, weight in named if "lora_" in name} == {torch.float32}


@pytest.mark.parametrize(
    ("family", "shape", "dtype", "layers"),
    [
        *((family, SHAPES[0], "bfloat16", 3) for family in FAMILIES),
        ("tiny_qwen", SHAPES[1], "float32", 6),
        ("tiny_qwen", SHAPES[1], "float32", 2),
    ],
)
def test_scoring_takes_what_was_computed(
    family: str, shape: dict, dtype: str, layers: int, monkeypatch
) -> None:
    monkeypatch.setattr(prefix_attention, "is_available", lambda backbone: False)
    backbone = made(family, shape, dtype)
    prompts = [Prompt((f"{name} {HISTORY}", f"candidate {place:02}")) for name in "ab" for place in range(8)]
    encoded = backbone.encode(prompts)
    groups = group_by_prefix(encoded)
    prefix, branch = groups[0].prefix, len(encoded[0]) - groups[0].prefix
    backbone.first_token_probability(prompts)
    with Peak() as peak:
        backbone.hidden_states(prompts, layers=[layers])
    need = scoring_memory(
        backbone.hf.config,
        dtype=backbone.dtype,
        users=len(groups),
        prefix_tokens=prefix,
        candidates=8,
        branch_tokens=branch,
        batch_tokens=backbone.batch_tokens,
        layers=layers,
    )
    assert 0.95 * peak.most <= need.cache + need.activations <= 1.5 * peak.most


def test_the_cache_is_counted_exactly(tiny_qwen: Backbone) -> None:
    cache = DynamicCache(config=tiny_qwen.hf.config)
    [one] = tiny_qwen.encode([Prompt((HISTORY,))])
    with torch.no_grad():
        tiny_qwen.inner(**whole_inputs(tiny_qwen, [one]), past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    need = scoring_memory(
        tiny_qwen.hf.config,
        dtype=torch.float32,
        prefix_tokens=len(one) - 1,
        candidates=1,
        branch_tokens=1,
    )
    assert need.cache == held + held // len(one) * (len(one) - 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_tuning_takes_what_was_computed(shape: dict, dtype: str, checkpointing: bool) -> None:
    backbone = made("tiny_qwen", shape, dtype)
    backbone.add_adapter("one", LORA)
    encoded = backbone.encode([Prompt((HISTORY, "yes or no?"))] * 4, ["yes", "no", "yes", "no"])
    rows = [TrainingRow((one,)) for one in encoded]
    with backbone.train_adapter("one") as model:
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.enable_input_require_grads()
        example_loss(backbone, model, rows)[0].backward()
        model.zero_grad(set_to_none=True)
        with Peak() as peak:
            example_loss(backbone, model, rows)[0].backward()
        gradients = sum(weight.grad.nbytes for weight in model.parameters() if weight.grad is not None)
    need = tuning_memory(
        backbone.hf.config,
        LORA,
        dtype=backbone.dtype,
        rows=4,
        tokens=len(rows[0]),
        checkpointing=checkpointing,
    )
    assert gradients == need.adapter // 4
    assert 0.95 * peak.most <= need.activations + gradients <= 1.3 * peak.most


def test_the_published_sizes_of_qwen() -> None:
    """3.75 and 8.29 thousand million parameters, as their model cards say."""
    vision = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420}
    for hidden, text, parameters in (
        (2048, {"num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
                "intermediate_size": 11008, "vocab_size": 151936}, 3.75e9),
        (3584, {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
                "intermediate_size": 18944, "vocab_size": 152064}, 8.29e9),
    ):  # fmt: skip
        tied = hidden == 2048
        config = Qwen2_5_VLConfig(
            text_config={"hidden_size": hidden, "tie_word_embeddings": tied, **text},
            vision_config={"out_hidden_size": hidden, **vision},
            tie_word_embeddings=tied,
        )
        need = scoring_memory(config, prefix_tokens=1, branch_tokens=1)
        assert need.weights / 2 == pytest.approx(parameters, rel=0.005)
    assert str(MemoryNeed(2**30, cache=2**29)) == "1.50 GiB (weights 1.00, cache 0.50)"
