"""Who is similar, what they took next, and which words find an item.

``SequenceModel`` represents a history, ``SimilarUsers`` finds training users near it, ``KeywordIndex`` and
``KeywordSearch`` find items by words, ``ItemKNN`` and ``Transitions`` those taken together and in a row,
``CoInteraction`` the users who connect a history with a candidate, which ``PathFinder`` puts into words, and
``ContextBuilder`` turns a history and its similar users into the ``UserContext`` that prompts are written from.
"""

from mmsrarec.retrieve.co_interaction import Bridges, CoInteraction
from mmsrarec.retrieve.context import ContextBuilder, NextItem, UserContext
from mmsrarec.retrieve.item_neighbours import ItemKNN, Transitions
from mmsrarec.retrieve.item_view import ItemView, item_text
from mmsrarec.retrieve.keyword_index import KeywordIndex
from mmsrarec.retrieve.keyword_search import KeywordSearch
from mmsrarec.retrieve.path_evidence import PathEvidence, PathFinder
from mmsrarec.retrieve.sequence_model import SequenceModel
from mmsrarec.retrieve.similar_users import Neighbours, SimilarUsers

__all__ = [
    "Bridges",
    "CoInteraction",
    "ContextBuilder",
    "ItemKNN",
    "ItemView",
    "KeywordIndex",
    "KeywordSearch",
    "Neighbours",
    "NextItem",
    "PathEvidence",
    "PathFinder",
    "SequenceModel",
    "SimilarUsers",
    "Transitions",
    "UserContext",
    "item_text",
]
