"""New items and new events for a fitted recommender, without a fit.

What is learned (summarizer, sequence model, adapter, blend) stays as it is. What is counted is counted again from all
events, and what is represented by the sequence model is represented where it changed. The parts given are never
written to: whatever goes wrong, they are what they were.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmsrarec.backbone import SentenceEncoder
from mmsrarec.data import BadRows, ImageFolder
from mmsrarec.data.growing import merge_items
from mmsrarec.progress import logger
from mmsrarec.recommender.components import Components
from mmsrarec.recommender.contents import content_keys, read_contents
from mmsrarec.summarize import KeywordTable

__all__ = ["add_interactions", "add_items"]


def add_interactions(
    parts: Components, interactions: Any, columns: Mapping[str, str] | None, *, strict: bool
) -> tuple[Components, BadRows]:
    """Take in new events and new users; see :meth:`mmsrarec.Recommender.update`.

    Returns
    -------
    grown : Components
        `parts` itself if there was no event to take in.
    bad_rows : BadRows
        What could not be used.
    """
    users, bad_rows = parts.users.updated(interactions, columns, strict=strict)
    new_events = users.data.n_interactions - parts.users.data.n_interactions
    logger.info("update: %d new events, %d new users", new_events, len(users) - len(parts.users))
    if not new_events:
        return parts, bad_rows
    before, taken = parts.users.training_histories().lengths, users.training_histories()
    # Events are only ever added, so a history that is as long as it was is what it was.
    unchanged = np.flatnonzero(taken.lengths[: len(before)] == before)
    changed = np.setdiff1d(np.arange(len(taken)), unchanged)
    signals = parts.retrieval.signals
    counts = np.bincount(taken.items, minlength=users.data.n_items)
    model = copy.copy(signals.sequence_model).recount(counts)
    similar_users = signals.similar_users.updated(model, taken, changed)
    return parts.regrown(users, taken, sequence_model=model, similar_users=similar_users), bad_rows


def add_items(
    parts: Components,
    items: Any,
    encoder: SentenceEncoder,
    images: str | Path | None,
    columns: Mapping[str, str] | None,
    *,
    strict: bool,
    table: Path | None,
) -> tuple[Components, BadRows]:
    """Take in new items, and known ones that are not what they were; see :meth:`mmsrarec.Recommender.add_items`.

    Parameters
    ----------
    parts
        Fitted.
    items, columns, strict
        As :meth:`mmsrarec.Dataset.with_items` takes them.
    encoder
        The one of the fit.
    images
        Folder of the pictures.
    table
        Where keywords are kept while they are made; ``None`` keeps them in memory.

    Returns
    -------
    grown : Components
        `parts` itself if nothing is new.
    bad_rows : BadRows
        What could not be used.
    """
    before = parts.users.data
    folder = None if images is None else ImageFolder(images)
    data, given = merge_items(before, items, folder, columns, strict)
    bad_rows = data.bad_rows
    data, found = read_contents(data, given)
    keys = dict(zip(given.tolist(), content_keys(found), strict=True))
    read = dict(zip(given.tolist(), found, strict=True))
    new = [item for item in read if item >= before.n_items]
    changed = [item for item in read if item < before.n_items and keys[item] != parts.content_keys[item]]
    logger.info("add_items: %d new, %d changed, %d given in all", len(new), len(changed), len(read))
    if not new and not changed:
        return parts, bad_rows
    summarizer = parts.require_language_model().summarizer
    summarizer.encoder = encoder
    with KeywordTable(table) as rows:
        written = summarizer.summarize([read[item] for item in changed + new], rows)
    old = parts.retrieval
    contents = [data.item_content(item) for item in range(data.n_items)]
    hashes, keywords = list(parts.content_keys), list(old.keywords)
    # New items stand behind all others, in ascending order.
    hashes += [keys[item] for item in new]
    keywords += written[len(changed) :]
    for item, words in zip(changed, written[: len(changed)], strict=True):
        hashes[item], keywords[item] = keys[item], words
    reworded = [item for item in changed if old.contents[item].text != contents[item].text]
    model, vectors = copy.copy(old.signals.sequence_model), parts.vectors
    if new:
        added = encoder.encode([contents[item].text for item in new])
        model.grow(len(contents), content=added)
        vectors = None if vectors is None else np.concatenate([vectors, added.astype(vectors.dtype)])
    if reworded:
        after = encoder.encode([contents[item].text for item in reworded])
        model.redescribe(reworded, encoder.encode([old.contents[item].text for item in reworded]), after)
        if vectors is not None:
            vectors = vectors.copy()
            vectors[reworded] = after
    users = parts.users.with_catalogue(data)
    taken = users.training_histories()
    owners = np.repeat(np.arange(len(taken)), taken.lengths)[np.isin(taken.items, reworded)]
    grown = parts.regrown(
        users,
        taken,
        sequence_model=model,
        similar_users=old.signals.similar_users.updated(model, taken, owners),
        contents=contents,
        content_keys=hashes,
        keywords=keywords,
        vectors=vectors,
    )
    return grown, bad_rows
