"""What tests of several rooms share: tiny models, the embedded backbone, a generated shop, the data folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from mmsrarec.errors import MmsrarecError

if TYPE_CHECKING:
    from mmsrarec.backbone import Backbone
    from mmsrarec.data import Dataset
    from mmsrarec.retrieve import CoInteraction, ContextBuilder, ItemView, SimilarUsers

# The same cases each time, so that a change is judged by what it changes; `make test-all` draws new ones.
settings.register_profile("repeated", derandomize=True, deadline=None)
settings.register_profile("drawn", deadline=None)
settings.load_profile("repeated")


@pytest.fixture(scope="session")
def tiny_llama() -> Backbone:
    from mmsrarec import testing
    from mmsrarec.backbone import Backbone

    return Backbone.load(testing.tiny_llama(), device="cpu")


@pytest.fixture(scope="session")
def tiny_llava() -> Backbone:
    from mmsrarec import testing
    from mmsrarec.backbone import Backbone

    return Backbone.load(testing.tiny_llava(), device="cpu")


@pytest.fixture(scope="session")
def tiny_qwen() -> Backbone:
    from mmsrarec import testing
    from mmsrarec.backbone import Backbone

    return Backbone.load(testing.tiny_qwen(), device="cpu")


@pytest.fixture(scope="session")
def tiny_smolvlm() -> Backbone:
    from mmsrarec import testing
    from mmsrarec.backbone import Backbone

    return Backbone.load(testing.tiny_smolvlm(), device="cpu")


@pytest.fixture
def no_language_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no language model can be loaded."""
    from mmsrarec.backbone import Backbone

    def refuse(*asked: object, **named: object) -> None:
        raise AssertionError("the language model was loaded")

    monkeypatch.setattr(Backbone, "load", refuse)


@pytest.fixture(scope="session")
def embedded() -> Backbone:
    from mmsrarec.backbone import Backbone

    try:
        return Backbone.load("embedded", device="cpu")
    except MmsrarecError as error:
        pytest.skip(f"the embedded backbone is not installed: {error}")


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    from mmsrarec.data import make_catalogue

    return make_catalogue(40, 60, 0, folder=tmp_path_factory.mktemp("catalogue"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MMSRAREC_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; set MMSRAREC_DATA to the folder of real data sets")
    return folder


@pytest.fixture(scope="session")
def similar_users(catalogue: Dataset) -> SimilarUsers:
    from mmsrarec.retrieve import SequenceModel, SimilarUsers

    model = SequenceModel(dimension=16, epochs=2, seed=0).fit(catalogue.histories(), catalogue.n_items)
    return SimilarUsers().fit(model, catalogue.histories())


@pytest.fixture(scope="session")
def paths(catalogue: Dataset) -> CoInteraction:
    from mmsrarec.retrieve import CoInteraction

    took = catalogue.histories()
    return CoInteraction.from_arrays(took.indptr, took.items, catalogue.n_items)


@pytest.fixture(scope="session")
def view(catalogue: Dataset) -> ItemView:
    from mmsrarec.retrieve import ItemView

    contents = [catalogue.item_content(item) for item in range(catalogue.n_items)]
    keywords = [(*content.categories, *content.title.lower().split()) for content in contents]
    return ItemView(contents, keywords, lambda text, tokens: " ".join(text.split()[:tokens]))


@pytest.fixture(scope="session")
def builder(view: ItemView, similar_users: SimilarUsers, paths: CoInteraction) -> ContextBuilder:
    from mmsrarec.retrieve import ContextBuilder, PathFinder

    return ContextBuilder(
        view, similar_users, count_tokens=lambda text: len(text.split()), paths=PathFinder(paths)
    )
