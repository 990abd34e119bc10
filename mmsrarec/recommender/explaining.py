"""Builds the explanation of one candidate from what the engine used to rank it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsrarec.errors import InputError
from mmsrarec.explain import Explanation, KeywordItem, Neighbour, SharedItem, mark_matches
from mmsrarec.rank import FEATURES
from mmsrarec.recommender.border import Asked
from mmsrarec.recommender.components import Components
from mmsrarec.recommender.engine import Engine, Ranked
from mmsrarec.retrieve import CoInteraction

__all__ = ["explain"]


def explain(
    parts: Components, engine: Engine, asked: Asked, ranked: Ranked, *, user_id: Any, item: int | None
) -> Explanation:
    """Return why an item got its score.

    Parameters
    ----------
    parts, engine
        Of the fitted recommender.
    asked
        One person.
    ranked
        The person's recommendations.
    user_id
        External id, or ``None`` for a person known by a history alone.
    item
        Dense id of the item; ``None`` explains the first recommendation.

    Raises
    ------
    InputError
        If no item is named and none is recommended.
    """
    places = np.arange(len(ranked.items)) if item is None else np.flatnonzero(ranked.items == item)
    if len(places):
        place = int(places[0])
        return _explain_place(parts, asked, ranked, place, user_id=user_id, rank=place + 1)
    if item is None:
        raise InputError("nothing is left to recommend to this user; name an item to explain.")
    [alone] = engine.rank(asked.histories, [np.array([item])], exclude_users=asked.exclude_users)
    return _explain_place(parts, asked, alone, 0, user_id=user_id, rank=None)


def _explain_place(
    parts: Components, asked: Asked, ranked: Ranked, place: int, *, user_id: Any, rank: int | None
) -> Explanation:
    item_ids, view = parts.catalogue.item_ids, parts.retrieval.view

    def show(item: int) -> KeywordItem:
        return KeywordItem(
            item_id=item_ids[item],
            title=view.contents[item].title,
            keywords=view.keywords(item),
            picture=view.picture(item),
        )

    item = int(ranked.items[place])
    candidate, history, neighbours, matches = mark_matches(
        show(item),
        [show(shown) for shown in ranked.context.history],
        [Neighbour(next_item.similarity, show(next_item.item)) for next_item in ranked.context.neighbours],
    )
    bridge_users, shared_items = _connections(
        parts.retrieval.signals.paths, asked.histories[0], item, int(asked.exclude_users[0])
    )
    p = float(ranked.probabilities[place])
    contributions = parts.blend.contributions(ranked.features[place : place + 1])[0]
    return Explanation(
        user_id=user_id,
        history=history,
        neighbours=neighbours,
        candidate=candidate,
        probability=None if np.isnan(p) else p,
        score=float(ranked.scores[place]),
        rank=rank,
        features=_by_signal(contributions, ranked.features[place]),
        matches=matches,
        notes=tuple(_notes(ranked, item, parts.popularity)),
        bridge_users=bridge_users,
        shared_items=tuple(SharedItem(users, show(shared)) for users, shared in shared_items),
    )


def _by_signal(contributions: np.ndarray, features: np.ndarray) -> dict[str, float]:
    """Name what each signal that is known adds; three columns say what the sequence model thinks."""
    added: dict[str, float] = {}
    for name, value, feature in zip(FEATURES, contributions, features, strict=True):
        if np.isnan(feature):
            continue
        signal = "sequence" if name.startswith("sequence_") else name
        added[signal] = added.get(signal, 0.0) + float(value)
    return added


def _connections(
    paths: CoInteraction, history: np.ndarray, item: int, exclude_user: int
) -> tuple[int, list[tuple[int, int]]]:
    """Count the bridge users, and how many took each item that the strongest paths go through."""
    counts, bridges = paths.evidence(history, [item], exclude_user=exclude_user)
    through = [shared for shared in dict.fromkeys(bridges.items[0].tolist()) if shared >= 0]
    took_both = [
        int(paths.evidence([shared], [item], max_paths=0, exclude_user=exclude_user)[0][0])
        for shared in through
    ]
    return int(counts[0]), list(zip(took_both, through, strict=True))


def _notes(ranked: Ranked, item: int, popularity: np.ndarray) -> list[str]:
    notes = []
    if popularity[item] == 0:
        notes.append(
            "Nobody in the training data took this item; it is known by its words and picture alone."
        )
    if not ranked.context.history:
        notes.append("This person has no history yet.")
    if ranked.context.dropped:
        notes.append(f"{ranked.context.dropped} weaker pieces of evidence did not fit into the prompt.")
    return notes
