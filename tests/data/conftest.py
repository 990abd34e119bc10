import os
from pathlib import Path

import pytest

from mmsrarec.data import Dataset, make_catalogue


@pytest.fixture(scope="session")
def shop() -> Dataset:
    return make_catalogue(40, 60, 0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    named = os.environ.get("MMSRAREC_DATA")
    folder = Path(named) if named else Path(__file__).parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: set MMSRAREC_DATA to its folder")
    return folder
