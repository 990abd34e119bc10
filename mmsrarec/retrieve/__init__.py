"""Who is similar, what they took next, and which words find an item.

``SequenceModel`` represents a history, ``SimilarUsers`` finds training users near it, ``KeywordIndex`` and
``KeywordSearch`` find items by words, and ``ContextBuilder`` turns all of it into the ``UserContext`` that
prompts are written from.
"""

from mmsrarec.retrieve.context import ContextBuilder, NextItem, UserContext
from mmsrarec.retrieve.item_view import ItemView
from mmsrarec.retrieve.keyword_index import KeywordIndex
from mmsrarec.retrieve.keyword_search import KeywordSearch
from mmsrarec.retrieve.sequence_model import SequenceModel
from mmsrarec.retrieve.similar_users import SimilarUsers

__all__ = [
    "ContextBuilder",
    "ItemView",
    "KeywordIndex",
    "KeywordSearch",
    "NextItem",
    "SequenceModel",
    "SimilarUsers",
    "UserContext",
]
