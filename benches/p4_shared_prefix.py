"""P4: p(yes) of 21 candidates with text and picture, the prompt's beginning run once, against one by one.

The embedded backbone on a generated shop. Both sides read pictures from the same warm cache, so that the language
model is what is compared. ``MMSRAREC_BENCH_HISTORY`` is the number of history items (default 5).
"""

import os

import numpy as np
import pytest

from mmsrarec.backbone import Backbone, count_tokens, cut_text
from mmsrarec.data import make_catalogue
from mmsrarec.retrieve import ItemView, UserContext
from mmsrarec.tune import yes_no_prompt

HISTORY = int(os.environ.get("MMSRAREC_BENCH_HISTORY", 5))
CANDIDATES = 21


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.load("embedded")


@pytest.fixture(scope="module")
def prompts(backbone: Backbone, tmp_path_factory):
    data = make_catalogue(60, 20, 0, folder=tmp_path_factory.mktemp("shop"))
    contents = [data.item_content(item) for item in range(data.n_items)]
    keywords = [(*content.categories, *content.title.lower().split()) for content in contents]
    view = ItemView(contents, keywords, lambda text, tokens: cut_text(text, backbone.tokenizer, tokens))
    context = UserContext(tuple(np.arange(HISTORY) % data.n_items), ())
    made = [yes_no_prompt(context, view, data.n_items - 1 - candidate) for candidate in range(CANDIDATES)]
    backbone.first_token_probability(made)
    assert count_tokens(context.history_text(view), backbone.tokenizer) > 0
    return made


@pytest.mark.benchmark(group="P4")
def test_ours(benchmark, backbone: Backbone, prompts) -> None:
    benchmark.pedantic(lambda: backbone.first_token_probability(prompts), rounds=3)


@pytest.mark.benchmark(group="P4")
def test_one_batch(benchmark, backbone: Backbone, prompts) -> None:
    p = benchmark.pedantic(lambda: backbone.first_token_probability(prompts, share_prefix=False), rounds=3)
    assert np.abs(p - backbone.first_token_probability(prompts)).max() < 1e-5


@pytest.mark.benchmark(group="P4")
def test_one_by_one(benchmark, backbone: Backbone, prompts) -> None:
    benchmark.pedantic(lambda: [backbone.first_token_probability([prompt]) for prompt in prompts], rounds=3)
