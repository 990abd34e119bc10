"""Why an item was recommended, in words and pictures: for the terminal, a notebook, or one HTML file.

Stands between the rankers, which know the numbers, and the recommender, which hands an :class:`Explanation`
to the user. It holds plain data only: nothing here computes a score.
"""

from mmsrarec.explain.explanation import Explanation, KeywordItem, Neighbour, SharedItem
from mmsrarec.explain.matching import Evidence, keywords_match, mark_matches
from mmsrarec.explain.page import page_environment, render_fragment, render_page
from mmsrarec.explain.pictures import Thumbnail, thumbnail
from mmsrarec.explain.wording import plain

__all__ = [
    "Evidence",
    "Explanation",
    "KeywordItem",
    "Neighbour",
    "SharedItem",
    "Thumbnail",
    "keywords_match",
    "mark_matches",
    "page_environment",
    "plain",
    "render_fragment",
    "render_page",
    "thumbnail",
]
