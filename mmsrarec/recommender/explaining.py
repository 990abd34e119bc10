"""Builds the explanation of one candidate from what the engine used to rank it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsrarec.data import Dataset
from mmsrarec.explain import Explanation, KeywordItem, Neighbour, SharedItem, mark_matches
from mmsrarec.rank import FEATURES, BlendRanker
from mmsrarec.recommender.engine import Ranked
from mmsrarec.retrieve import CoInteraction, ItemView

__all__ = ["explain_candidate"]


def explain_candidate(
    ranked: Ranked,
    place: int,
    *,
    user_id: Any,
    rank: int | None,
    whole_history: np.ndarray,
    exclude_user: int,
    catalogue: Dataset,
    view: ItemView,
    paths: CoInteraction,
    blend: BlendRanker,
    popularity: np.ndarray,
) -> Explanation:
    """Return why the candidate at `place` of `ranked` got its score.

    Parameters
    ----------
    ranked
        Ranked candidates of the user.
    place
        Position of the explained one in them.
    user_id
        External id, or ``None`` for a person known by a history alone.
    rank
        Its place among the user's recommendations, from 1; ``None`` if it is not among them.
    whole_history
        Dense item ids of the person, also those that the prompt left out.
    exclude_user
        The person's id in the knowledge base, −1 for none.
    catalogue, view, popularity
        Ids, words and training events of the items.
    paths
        Co-interaction of training users.
    blend
        The fitted blend, for the contributions of its features.
    """
    item_ids = catalogue.item_ids

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
    bridge_users, shared_items = _connections(paths, whole_history, item, exclude_user)
    p = float(ranked.probabilities[place])
    contributions = blend.contributions(ranked.features[place : place + 1])[0]
    return Explanation(
        user_id=user_id,
        history=history,
        neighbours=neighbours,
        candidate=candidate,
        probability=None if np.isnan(p) else p,
        score=float(ranked.scores[place]),
        rank=rank,
        features=_by_signal(contributions),
        matches=matches,
        notes=tuple(_notes(ranked, item, popularity)),
        bridge_users=bridge_users,
        shared_items=tuple(SharedItem(users, show(shared)) for users, shared in shared_items),
    )


def _by_signal(contributions: np.ndarray) -> dict[str, float]:
    """Name what each signal adds; three columns say what the sequence model thinks."""
    added: dict[str, float] = {}
    for name, value in zip(FEATURES, contributions, strict=True):
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
