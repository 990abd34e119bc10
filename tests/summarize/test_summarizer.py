"""The whole first stage on a tiny model: fit, resume, summarize, evaluate, save, load."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from trl import GRPOConfig

from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.data import ItemContent, make_catalogue
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.storage import exclusive_folder
from mmsrarec.summarize import KeywordTable, Summarizer
from mmsrarec.summarize.summarizer import ADAPTER


def tiny(backbone: Backbone, encoder: SentenceEncoder | None, workdir: Path, **changes: object) -> Summarizer:
    config = GRPOConfig(
        output_dir=str(workdir),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        steps_per_generation=1,
        num_generations=2,
        max_completion_length=6,
        max_steps=2,
        learning_rate=1e-2,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    settings = {"warm_start_items": 6, "grpo": config, "text_tokens": 12, "answer_tokens": 8}
    return Summarizer(backbone=backbone, encoder=encoder, **(settings | changes))


@pytest.fixture(autouse=True)
def _no_adapter_left(tiny_llava: Backbone):
    yield
    for name in list(tiny_llava.adapters):
        tiny_llava.remove_adapter(name)


def test_the_whole_stage(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder, contents: list[ItemContent], tmp_path: Path
) -> None:
    summarizer = tiny(tiny_llava, tiny_encoder, tmp_path)
    bare = summarizer.fingerprint
    assert summarizer.fit(contents[:20], workdir=tmp_path / "run", seed=3) is summarizer
    assert len(summarizer.reward_log_) == 2
    assert summarizer.warm_start_log_
    assert tiny_llava.adapters == (ADAPTER,)
    assert tiny_llava.active_adapter is None
    assert summarizer.fingerprint != bare

    table = KeywordTable(tmp_path / "keywords.sqlite")
    keywords = summarizer.summarize(contents[:12], table)
    assert len(keywords) == 12
    assert all(len(words) <= 8 for words in keywords)
    assert len(table) == 12

    measured = summarizer.evaluate(contents[20:26])
    assert measured["stage"].unique(maintain_order=True).to_list() == ["base", "warm_start", "grpo"]
    assert set(measured["prompt"]) == {"text", "image", "merged"}
    assert (measured["items"] == 6).all()
    assert tiny_llava.adapters == (ADAPTER,)

    summarizer.save(tmp_path / "saved")
    kept = summarizer.fingerprint, summarizer.reward_log_
    shutil.rmtree(tmp_path / "run")
    loaded = Summarizer.load(tmp_path / "saved", backbone=tiny_llava, encoder=tiny_encoder)
    assert (loaded.fingerprint, loaded.reward_log_) == kept
    assert (loaded.max_keywords, loaded.text_tokens, loaded.reward_weights) == (8, 12, (1.0, 1.0, 0.01))
    assert loaded.summarize(contents[:12], KeywordTable(None)) == keywords
    assert loaded.evaluate(contents[20:26]).equals(measured)


def test_a_finished_fit_is_found_again_and_another_one_is_not_taken_for_it(
    tiny_llava: Backbone,
    tiny_encoder: SentenceEncoder,
    contents: list[ItemContent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = tiny(tiny_llava, tiny_encoder, tmp_path, grpo=None, grpo_steps=0)
    first.fit(contents[:10], workdir=tmp_path / "run")
    made = first.fingerprint, first.warm_start_log_
    from mmsrarec.summarize import training

    trained: list[int] = []
    warm_start = training.warm_start
    monkeypatch.setattr(
        training, "warm_start", lambda *parts, **more: trained.append(1) or warm_start(*parts, **more)
    )
    again = tiny(tiny_llava, tiny_encoder, tmp_path, grpo=None, grpo_steps=0)
    again.fit(contents[:10], workdir=tmp_path / "run")
    assert (again.fingerprint, again.warm_start_log_) == made
    assert trained == []
    again.fit(contents[:10], workdir=tmp_path / "run", seed=1)
    assert trained == [1]
    assert again.fingerprint != made[0]


def test_an_interrupted_fit_ends_as_an_undisturbed_one(
    tiny_llava: Backbone,
    tiny_encoder: SentenceEncoder,
    contents: list[ItemContent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mmsrarec.summarize import training

    whole = tiny(tiny_llava, tiny_encoder, tmp_path).fit(contents[:10], workdir=tmp_path / "whole")
    expected = whole.fingerprint

    def stop(*parts: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_policy", stop)
        with pytest.raises(KeyboardInterrupt):
            tiny(tiny_llava, tiny_encoder, tmp_path).fit(contents[:10], workdir=tmp_path / "cut")
    assert tiny_llava.adapters == ()
    with monkeypatch.context() as patch:
        patch.setattr(training, "warm_start", stop)
        resumed = tiny(tiny_llava, tiny_encoder, tmp_path).fit(contents[:10], workdir=tmp_path / "cut")
    assert resumed.fingerprint == expected


def test_an_unchanged_catalogue_is_one_look_up_and_a_changed_item_is_asked_about_alone(
    tiny_llava: Backbone, contents: list[ItemContent], monkeypatch: pytest.MonkeyPatch
) -> None:
    summarizer = tiny(tiny_llava, None, Path("."), warm_start_items=0, grpo=None, grpo_steps=0)
    table = KeywordTable(None)
    first = summarizer.summarize(contents, table)
    asked: list[int] = []
    generate = Backbone.generate
    monkeypatch.setattr(
        Backbone,
        "generate",
        lambda self, prompts, **more: asked.append(len(prompts)) or generate(self, prompts, **more),
    )
    statements: list[str] = []
    table._database.set_trace_callback(statements.append)
    assert summarizer.summarize(contents, table) == first
    assert asked == []
    assert len(statements) == 1
    changed = [*contents[:-1], ItemContent("A new lamp", "", (), None)]
    assert summarizer.summarize(changed, table)[:-1] == first[:-1]
    assert sum(asked) == 1


def test_batching_and_order_do_not_change_an_items_keywords(
    tiny_llava: Backbone, contents: list[ItemContent]
) -> None:
    summarizer = tiny(tiny_llava, None, Path("."), warm_start_items=0, grpo=None, grpo_steps=0)
    together = summarizer.summarize(contents[:20], KeywordTable(None))
    apart = KeywordTable(None)
    one_by_one = [summarizer.summarize([content], apart)[0] for content in reversed(contents[:20])]
    assert list(reversed(one_by_one)) == together


def test_an_item_uses_what_it_has(tiny_llava: Backbone, contents: list[ItemContent]) -> None:
    summarizer = tiny(tiny_llava, None, Path("."), warm_start_items=0, grpo=None, grpo_steps=0)
    pictured = next(content for content in contents if content.picture is not None)
    items = [
        ItemContent("", "", (), pictured.picture),
        ItemContent(pictured.title, pictured.description, pictured.categories),
        ItemContent("", "", ()),
    ]
    table = KeywordTable(None)
    keywords = summarizer.summarize(items, table)
    rows = table.get_many([item.key for item in items], made_by=summarizer.fingerprint)
    assert rows[items[0].key].text_keywords == ()
    assert rows[items[1].key].image_keywords == ()
    assert keywords[2] == ()


def test_a_text_only_backbone_summarizes_text(
    tiny_llama: Backbone, tiny_encoder: SentenceEncoder, contents: list[ItemContent], tmp_path: Path
) -> None:
    summarizer = tiny(tiny_llama, tiny_encoder, tmp_path)
    summarizer.fit(contents[:8], workdir=tmp_path / "run")
    table = KeywordTable(None)
    summarizer.summarize(contents[:3], table)
    rows = table.get_many([content.key for content in contents[:3]], made_by=summarizer.fingerprint)
    assert all(row.image_keywords == () for row in rows.values())
    tiny_llama.remove_adapter(ADAPTER)


def test_what_cannot_be_is_named(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder, contents: list[ItemContent], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="max_keywords must be a whole number of 1 or more, got 0"):
        tiny(tiny_llava, tiny_encoder, tmp_path, max_keywords=0)
    with pytest.raises(InputError, match="reward_weights"):
        tiny(tiny_llava, tiny_encoder, tmp_path, reward_weights=(1.0, 2.0))
    summarizer = tiny(tiny_llava, tiny_encoder, tmp_path)
    with pytest.raises(InputError, match="not fitted"):
        summarizer.summarize(contents[:1], KeywordTable(None))
    with pytest.raises(InputError, match="not fitted"):
        summarizer.save(tmp_path / "saved")
    bare = tiny(tiny_llava, None, tmp_path, warm_start_items=0, grpo=None, grpo_steps=0)
    with pytest.raises(InputError, match="workers must be a whole number of 1 or more, got 0"):
        bare.summarize(contents[:1], KeywordTable(None), workers=0)
    with pytest.raises(InputError, match="workers above 1 need a table in a file"):
        bare.summarize(contents[:1], KeywordTable(None), workers=2)
    with pytest.raises(InputError, match="contents"):
        summarizer.fit([], workdir=tmp_path / "run")
    with exclusive_folder(tmp_path / "run"), pytest.raises(InputError, match="in use by another process"):
        summarizer.fit(contents[:4], workdir=tmp_path / "run")
    with pytest.raises(InputError, match="encoder"):
        tiny(tiny_llava, None, tmp_path).fit(contents[:4], workdir=tmp_path / "run")
    with pytest.raises(InputError, match="hold a text"):
        pictures = [ItemContent("", "", (), content.picture) for content in contents[:4]]
        tiny(tiny_llava, tiny_encoder, tmp_path, warm_start_items=0).fit(pictures, workdir=tmp_path / "run")
    assert tiny_llava.adapters == ()
    with pytest.raises(StoredFileError, match="not a folder"):
        Summarizer.load(tmp_path / "none", backbone=tiny_llava)


def test_settings_make_the_fingerprint_and_paths_do_not(
    tiny_llava: Backbone, tiny_encoder: SentenceEncoder, tmp_path: Path
) -> None:
    one = tiny(tiny_llava, tiny_encoder, tmp_path / "one").settings_fingerprint
    assert one == tiny(tiny_llava, tiny_encoder, tmp_path / "two").settings_fingerprint
    for change in (
        {"max_keywords": 5},
        {"warm_start_items": 7},
        {"reward_weights": (1.0, 1.0, 0.0)},
        {"reconstruction": "clipped"},
        {"grpo": None},
        {"text_tokens": 13},
    ):
        assert tiny(tiny_llava, tiny_encoder, tmp_path, **change).settings_fingerprint != one


SUMMARIZE = textwrap.dedent(
    """
    import sys
    import torch
    from mmsrarec import testing
    from mmsrarec.backbone import Backbone
    from mmsrarec.data import make_catalogue
    from mmsrarec.summarize import KeywordTable, Summarizer

    torch.set_num_threads(1)
    catalogue = make_catalogue(60, 10, 0, folder=sys.argv[1])
    contents = [catalogue.item_content(item) for item in range(catalogue.n_items)]
    summarizer = Summarizer(
        backbone=Backbone.load(testing.tiny_llava(), device="cpu"), encoder=None, warm_start_items=0, grpo_steps=0
    )
    table = KeywordTable(sys.argv[2])
    put, kept = table.put_answer, []

    def told(key, prompt, answer, *, made_by):
        put(key, prompt, answer, made_by=made_by)
        kept.append(key)
        if len(kept) == int(sys.argv[3]):
            print("there", flush=True)
            sys.stdin.read()

    table.put_answer = told
    summarizer.summarize(contents, table)
    """
)


# 42 items are a batch: killed within the text prompts of the first, and within the image prompts of the second.
@pytest.mark.parametrize(("answers", "rows"), [(20, 0), (2 * 42 + 25, 42)])
def test_a_killed_run_goes_on_with_the_next_answer(
    answers: int, rows: int, tiny_llava: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(tmp_path / "shop"), str(tmp_path / "killed.sqlite"), str(answers)]
    killed = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SUMMARIZE, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "there\n"
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    catalogue = make_catalogue(60, 10, 0, folder=tmp_path / "shop")
    contents = [catalogue.item_content(item) for item in range(catalogue.n_items)]
    summarizer = Summarizer(backbone=tiny_llava, encoder=None, warm_start_items=0, grpo_steps=0)
    asked: list[int] = []
    generate = Backbone.generate
    monkeypatch.setattr(
        Backbone,
        "generate",
        lambda self, prompts, **more: asked.append(len(prompts)) or generate(self, prompts, **more),
    )
    with KeywordTable(tmp_path / "killed.sqlite") as table:
        assert len(table) == rows
        resumed = summarizer.summarize(contents, table)
        assert sum(asked) == 2 * 60 - answers
        assert table.get_answers([content.key for content in contents], made_by=summarizer.fingerprint) == {}
        table.save_parquet(tmp_path / "killed.parquet")
    undisturbed = KeywordTable(None)
    assert summarizer.summarize(contents, undisturbed) == resumed
    undisturbed.save_parquet(tmp_path / "whole.parquet")
    assert (tmp_path / "killed.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
