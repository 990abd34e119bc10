"""The public object: fit, predict, recommend, explain, search, save, load."""

from mmsrarec.recommender.presets import PRESETS, Preset
from mmsrarec.recommender.recommender import Recommender

__all__ = ["PRESETS", "Preset", "Recommender"]
