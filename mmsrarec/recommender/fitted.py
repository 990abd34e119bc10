"""What a fitted recommender is asked: ids and frames are mapped at the border, the engine answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmsrarec.errors import InputError
from mmsrarec.explain import Explanation
from mmsrarec.recommender.border import (
    Asked,
    allowed_items,
    found_frame,
    read_candidates,
    read_people,
    recommendation_frame,
)
from mmsrarec.recommender.components import Components, join
from mmsrarec.recommender.engine import Engine, Ranked
from mmsrarec.recommender.explaining import explain
from mmsrarec.recommender.parameters import check_flag, check_integer
from mmsrarec.recommender.presets import Preset, find_preset

__all__ = ["Fitted"]

_USERS_AT_ONCE = 16


class Fitted:
    """The questions of :class:`mmsrarec.Recommender`.

    Attributes
    ----------
    parts_
        What a fit, a load, or an update has made.
    engine_
        The same, joined into what scores.
    """

    preset: str | Preset

    def _take(self, parts: Components) -> None:
        self.parts_ = parts
        self.engine_ = join(parts, candidates=find_preset(self.preset).candidates)

    def predict(
        self,
        *,
        users: Sequence[Any] | None = None,
        histories: Sequence[Sequence[Any]] | None = None,
        items: Sequence[Any],
        timestamps: Sequence[Sequence[Any]] | None = None,
        at: Any = None,
    ) -> Any:
        """Return the language model's probability that an item is the next one.

        p = p(yes) / (p(yes) + p(no)) of the first token (MMSRARec, stage 3).

        Parameters
        ----------
        users
            Known user ids, one an entry of `items`.
        histories
            Instead of `users`: item ids of people the model has never seen, oldest first.
        items
            One item id an entry, or one list of item ids an entry.
        timestamps, at
            As in :meth:`recommend`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            float32 (n,), aligned with the input; for lists of items, one such array an entry.

        Raises
        ------
        InputError
            If an id is unknown, the lengths differ, or the recommender was loaded without its language model.
        """
        asked = read_people(self._parts, users, histories, timestamps, at)
        candidates, ragged = read_candidates(self._parts.catalogue, items, len(asked.histories))
        by_row = self._engine_for(language_model=True).probability(
            asked.histories, candidates, exclude_users=asked.exclude_users, progress="scoring"
        )
        if ragged:
            return by_row
        return np.concatenate([np.empty(0, np.float32), *by_row])

    def recommend(
        self,
        users: Sequence[Any] | None = None,
        *,
        histories: Sequence[Sequence[Any]] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        allow: Sequence[Any] | None = None,
        block: Sequence[Any] | None = None,
        timestamps: Sequence[Sequence[Any]] | None = None,
        at: Any = None,
        language_model: bool = True,
    ) -> Any:
        """Recommend items out of the whole catalogue.

        Parameters
        ----------
        users
            Known user ids.
        histories
            Instead of `users`: item ids of people the model has never seen; ``user_id`` in the result is then
            the position in this list.
        k
            Recommendations a user, 1 or more; fewer where fewer items are left.
        exclude_seen
            Leave out what the user has already taken.
        allow, block
            Item ids that alone may, or may not, be recommended.
        timestamps
            When each event of `histories` happened, one list a person, in the unit of the training data. ``None``:
            nobody knows.
        at
            When the recommendation is wanted, one time or one a person: a number in the unit of the training data, a
            date, a datetime or ISO 8601 text. How long somebody was away says something about what comes next, where
            the training data had times. ``None``: nobody knows, and the answer does not depend on the clock.
        language_model
            Ask the language model about each candidate. ``False`` ranks in real time, without one inference: by what
            a student learned to guess of it when the blend was fitted (``parts_.student``), or by the other signals
            alone if the student learned nothing.

        Returns
        -------
        frame
            Columns ``user_id, item_id, rank`` (from 1) and ``score`` (blended probability), of the kind that
            the training data came in.

        Raises
        ------
        InputError
            If an id is unknown, `k` is below 1 or above the size of the catalogue, a time is none, or a recommender
            that was loaded without its language model is to ask it.
        """
        check_integer("k", k, 1)
        check_flag("exclude_seen", exclude_seen)
        engine = self._engine_for(language_model)
        catalogue = self._parts.catalogue
        asked = read_people(self._parts, users, histories, timestamps, at)
        if k > catalogue.n_items:
            raise InputError(f"k must be at most {catalogue.n_items}, the size of the catalogue, got {k}.")
        allowed = allowed_items(
            catalogue, asked.histories, exclude_seen=exclude_seen, allow=allow, block=block
        )
        ranked = _recommend(engine, asked, k, allowed)
        return recommendation_frame(catalogue, asked.names, ranked, k)

    def explain(
        self,
        user: Any = None,
        item: Any = None,
        *,
        history: Sequence[Any] | None = None,
        timestamps: Sequence[Any] | None = None,
        at: Any = None,
        language_model: bool = True,
    ) -> Explanation:
        """Say why an item stands where it stands for a user.

        Parameters
        ----------
        user
            Known user id.
        item
            Item id; ``None`` takes the user's first recommendation.
        history
            Instead of `user`: item ids of a person the model has never seen.
        timestamps, at
            When the events of `history` happened, and when the person asks; see :meth:`recommend`.
        language_model
            As in :meth:`recommend`: with ``False`` it explains what that recommends with ``False``, without a p(yes).

        Returns
        -------
        Explanation
            Prints as text, shows as HTML in a notebook, and writes a page with ``to_html(path)``.

        Raises
        ------
        InputError
            If an id is unknown.
        """
        parts, engine = self._parts, self._engine_for(language_model)
        users, histories, times = (
            None if given is None else [given] for given in (user, history, timestamps)
        )
        asked = read_people(parts, users, histories, times, at)
        wanted = None if item is None else int(parts.catalogue.item_index([item])[0])
        allowed = allowed_items(parts.catalogue, asked.histories)
        [ranked] = _recommend(engine, asked, 1, allowed)
        return explain(parts, engine, asked, ranked, user_id=user, item=wanted)

    def search(self, query: str | Sequence[str], k: int = 20) -> Any:
        """Find items by words.

        Parameters
        ----------
        query
            Free text or a list of keywords.
        k
            At most this many items, 1 or more.

        Returns
        -------
        frame
            Columns ``item_id, title, keywords, rank, score``; items that share no word are not returned.
        """
        check_integer("k", k, 1)
        found, scores = self._engine.signals.search.search(query, k)
        return found_frame(self._parts.catalogue, self._parts.retrieval.view, found, scores)

    @property
    def _engine(self) -> Engine:
        if not hasattr(self, "engine_"):
            raise InputError("this Recommender is not fitted; call fit, or Recommender.load.")
        return self.engine_

    @property
    def _parts(self) -> Components:
        _ = self._engine
        return self.parts_

    def _engine_for(self, language_model: bool) -> Engine:
        check_flag("language_model", language_model)
        if not language_model:
            return self._engine.without_language_model()
        self._parts.require_language_model()
        return self._engine


def _recommend(engine: Engine, asked: Asked, k: int, allowed: Sequence[np.ndarray]) -> list[Ranked]:
    ranked: list[Ranked] = []
    for start in range(0, len(asked.histories), _USERS_AT_ONCE):
        part = slice(start, start + _USERS_AT_ONCE)
        ranked += engine.recommend(
            asked.histories[part],
            allowed[part],
            k=k,
            exclude_users=asked.exclude_users[part],
            progress="ranking candidates" if len(asked.histories) > 1 else None,
        )
    return ranked
