"""The examples in the kernels' docstrings.

They are run as the package has them: pytest would import ``kernels/`` once more, under another name, and with it
register torch's operators a second time.
"""

import doctest
import importlib
import pkgutil

import mmsrarec.kernels
import pytest

MODULES = [
    "mmsrarec.kernels",
    *(module.name for module in pkgutil.walk_packages(mmsrarec.kernels.__path__, "mmsrarec.kernels.")),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("name", ["mmsrarec.kernels.sequence_nll", "mmsrarec.kernels.group_reward"])
def test_there_are_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).attempted
