"""One recommender, fitted once on the generated shop with a tiny random model of a real family."""

from pathlib import Path

import pytest

from mmsrarec import Dataset, Recommender
from mmsrarec.recommender import Preset
from mmsrarec.testing import tiny_llava

TINY = Preset(
    align_items=0,
    align_epochs=0,
    warm_start_items=4,
    grpo_steps=1,
    held_out_items=4,
    sequence_epochs=2,
    tune_examples=8,
    tune_validation_users=2,
    readout_users=12,
    blend_users=4,
    candidates=8,
)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA in a folder, as a user would have one."""
    folder = tmp_path_factory.mktemp("backbone")
    model, processor = tiny_llava()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def parameters(tiny_folder: Path) -> dict:
    return {"backbone": str(tiny_folder), "encoder": "embedded", "preset": TINY, "device": "cpu", "seed": 3}


@pytest.fixture(scope="session")
def parts(catalogue: Dataset) -> tuple[Dataset, Dataset, Dataset]:
    return catalogue.split(by="user", ratios=(8, 1, 1), seed=0)


@pytest.fixture(scope="session")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work") / "run"


@pytest.fixture(scope="session")
def fitted(parameters: dict, parts: tuple[Dataset, Dataset, Dataset], workdir: Path) -> Recommender:
    return Recommender(**parameters).fit(parts[0], parts[1], workdir=workdir)


@pytest.fixture(scope="session")
def saved(fitted: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save(folder)
    return folder
