"""mmsrarec: the recommender whose reasons are words."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsrarec.data import Dataset, make_catalogue
    from mmsrarec.recommender import Recommender

__all__ = ["Dataset", "Recommender", "__version__", "make_catalogue"]
__version__ = "0.1.0"

# torch and transformers take seconds to import, so a name's room is loaded when it is first used.
_ROOMS = {
    "Dataset": "mmsrarec.data",
    "make_catalogue": "mmsrarec.data",
    "Recommender": "mmsrarec.recommender",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'mmsrarec' has no attribute {name!r}")
