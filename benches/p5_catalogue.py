"""P5: keywords of a whole catalogue, the same prompts of each item, against transformers' ``generate``.

The peer asks the same prompts in padded batches in catalogue order, by processor and ``generate`` as documented there,
greedily, the adapter merged into the weights beforehand. Both sides answer in at most 24 tokens and take turns,
a batch of items each. Peak memory is of a process of its own for each side, above the loaded model.

``MMSRAREC_DATA`` with movielens-posters in it gives the items, else a generated shop; ``MMSRAREC_BENCH_ITEMS`` is their
number (default 84), ``MMSRAREC_BENCH_SUMMARIZER`` a saved summarizer of the embedded backbone (default: none, and a
warm start of ``MMSRAREC_BENCH_WARM`` items, default 48, is made first), ``MMSRAREC_BENCH_PROJECTOR`` the aligned
projector that it learned with.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pytest
import torch

from mmsrarec.backbone import Backbone, SentenceEncoder, load_projector
from mmsrarec.data import Dataset, ItemContent, make_catalogue
from mmsrarec.storage import read_json
from mmsrarec.summarize import KeywordTable, Summarizer
from mmsrarec.summarize.prompts import image_prompt, text_prompt

ITEMS = int(os.environ.get("MMSRAREC_BENCH_ITEMS", 84))
ANSWER_TOKENS, TEXT_TOKENS, PEER_ROWS, TURN_ITEMS = 24, 48, 32, 42


def read_contents(folder: Path) -> list[ItemContent]:
    data = os.environ.get("MMSRAREC_DATA")
    posters = None if data is None else Path(data) / "movielens-posters"
    if posters is not None and posters.is_dir():
        dataset = Dataset.from_csv(
            posters / "interactions.csv", posters / "items.csv", images=posters / "images"
        )
    else:
        dataset = make_catalogue(max(2 * ITEMS, 120), 20, 0, folder=folder)
    order = np.random.default_rng(0).permutation(dataset.n_items)
    return [dataset.item_content(int(item)) for item in order]


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> list[ItemContent]:
    return read_contents(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def saved(shop: list[ItemContent], tmp_path_factory) -> Path:
    given = os.environ.get("MMSRAREC_BENCH_SUMMARIZER")
    if given is not None:
        return Path(given)
    folder = tmp_path_factory.mktemp("summarizer")
    summarizer = Summarizer(
        backbone=load_backbone(),
        encoder=SentenceEncoder.load(),
        warm_start_items=int(os.environ.get("MMSRAREC_BENCH_WARM", 48)),
        grpo_steps=0,
        text_tokens=TEXT_TOKENS,
        answer_tokens=ANSWER_TOKENS,
    )
    summarizer.fit(shop[ITEMS:], workdir=folder / "run").save(folder / "saved")
    return folder / "saved"


def load_backbone() -> Backbone:
    backbone = Backbone.load("embedded")
    projector = os.environ.get("MMSRAREC_BENCH_PROJECTOR")
    if projector is not None:
        load_projector(backbone, Path(projector))
    return backbone


def load_ours(saved: Path) -> Summarizer:
    return Summarizer.load(saved, backbone=load_backbone(), encoder=SentenceEncoder.load())


def load_peer(saved: Path) -> Backbone:
    backbone = load_backbone()
    backbone.load_adapter("summarize", saved / read_json(saved / "settings.json")["steps"][-1])
    return backbone


@contextmanager
def merged(backbone: Backbone) -> Iterator[None]:
    """The adapter in the weights, as one would put it there before a long run."""
    with backbone.adapter("summarize"):
        backbone.model.merge_adapter(["summarize"])
        try:
            yield
        finally:
            backbone.model.unmerge_adapter()


@torch.no_grad()
def ask_peer(backbone: Backbone, contents: list[ItemContent], images: bool) -> list[str]:
    """Rendered prompts are made by ours; processor, padding and generation are transformers' own."""
    asked = [[text_prompt(content, backbone.tokenizer, TEXT_TOKENS) for content in contents]]
    if images:
        asked.append([image_prompt(content) for content in contents if content.picture is not None])
    backbone.tokenizer.padding_side = "left"
    answers = []
    for prompts in asked:
        for start in range(0, len(prompts), PEER_ROWS):
            chosen = prompts[start : start + PEER_ROWS]
            pictures = [[picture.load() for picture in prompt.pictures] for prompt in chosen]
            inputs = backbone.processor(
                text=[backbone.chat.render(prompt) for prompt in chosen],
                images=pictures if any(pictures) else None,
                padding=True,
                return_tensors="pt",
            )
            written = backbone.hf.generate(
                **inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False, eos_token_id=backbone.stop_ids
            )
            new = written[:, inputs["input_ids"].shape[1] :]
            answers += backbone.tokenizer.batch_decode(new, skip_special_tokens=True)
    return answers


def memory_mebibytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def peak_of(side: str, saved: Path, contents: list[ItemContent]) -> float:
    """Peak memory above the loaded model; the whole of a process."""
    summarizer = load_ours(saved) if side == "ours" else None
    backbone = load_peer(saved) if summarizer is None else summarizer.backbone
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far, of loading, is forgotten
    before = memory_mebibytes("VmRSS")
    if summarizer is not None:
        summarizer.summarize(contents, KeywordTable(None))
    else:
        with merged(backbone):
            ask_peer(backbone, contents, read_json(saved / "settings.json")["images_admitted"])
    return memory_mebibytes("VmHWM") - before


def peak_in_a_process(side: str, saved: Path, contents: list[ItemContent]) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_of, (side, saved, contents))


@pytest.mark.benchmark(group="P5")
def test_ours(benchmark, saved: Path, shop: list[ItemContent], tmp_path: Path) -> None:
    ours, peer = load_ours(saved), load_peer(saved)
    contents = shop[:ITEMS]
    turns = [contents[start : start + TURN_ITEMS] for start in range(0, ITEMS, TURN_ITEMS)]
    stored = KeywordTable(tmp_path / "keywords.sqlite")
    spent: dict[str, list[float]] = {"ours": [], "generate": []}

    def generate() -> None:
        start = perf_counter()
        ask_peer(peer, turns[len(spent["generate"])], ours.images_admitted_)
        spent["generate"].append(perf_counter() - start)

    def summarize() -> None:
        start = perf_counter()
        ours.summarize(turns[len(spent["ours"])], stored)
        spent["ours"].append(perf_counter() - start)

    with merged(peer):
        ask_peer(peer, contents[:2], ours.images_admitted_)
        ours.summarize(contents[:2], KeywordTable(None))
        benchmark.pedantic(summarize, setup=generate, rounds=len(turns))
    again = []
    for _ in range(3):
        start = perf_counter()
        ours.summarize(contents, stored)
        again.append(perf_counter() - start)
    assert len(stored) == len({content.key for content in contents})
    ratios = [mine / other for mine, other in zip(spent["ours"], spent["generate"], strict=True)]
    benchmark.extra_info["figures"] = {
        "time, generate = 1": (median(ratios), 0.5),
        "second run, first = 1": (min(again) / sum(spent["ours"]), 0.001),
        **{
            f"peak MiB above the model, {side}": (peak_in_a_process(side, saved, contents), None)
            for side in spent
        },
    }
    for side, seconds in spent.items():
        benchmark.extra_info[f"items a second, {side}"] = f"{ITEMS / sum(seconds):.2f}"
