"""Data in: checked tables, id maps, splits, negatives and pictures.

First room of the flow; nothing here imports torch. Everything later reads a :class:`Dataset`.
"""

from __future__ import annotations

from mmsrarec.data.amazon import read_amazon_reviews
from mmsrarec.data.bad_rows import BadRows, BadRowsWarning, Reason
from mmsrarec.data.catalogue import catalogue_facts, catalogue_tastes, make_catalogue
from mmsrarec.data.content import ItemContent, join_text
from mmsrarec.data.dataset import Dataset
from mmsrarec.data.histories import Histories
from mmsrarec.data.images import ImageFolder, Picture
from mmsrarec.data.negatives import sample_negatives
from mmsrarec.data.readers import read_microlens, read_movielens
from mmsrarec.data.recbole import read_recbole

__all__ = [
    "BadRows",
    "BadRowsWarning",
    "Dataset",
    "Histories",
    "ImageFolder",
    "ItemContent",
    "Picture",
    "Reason",
    "catalogue_facts",
    "catalogue_tastes",
    "join_text",
    "make_catalogue",
    "read_amazon_reviews",
    "read_microlens",
    "read_movielens",
    "read_recbole",
    "sample_negatives",
]
