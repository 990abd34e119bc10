"""The blend is fitted on what `recommend` would find, and nothing that is fitted has seen what is asked later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmsrarec.data import Dataset, Histories
from mmsrarec.rank import FEATURES, BlendRanker, Signals, choose_candidates
from mmsrarec.recommender.blending import fit_blend
from mmsrarec.recommender.engine import Engine
from mmsrarec.retrieve import ContextBuilder, SequenceModel, SimilarUsers


def make_engine(taken: Histories, view) -> Engine:
    n_items = len(view)
    model = SequenceModel(dimension=16, epochs=2).fit(taken, n_items)
    similar_users = SimilarUsers().fit(model, taken)
    signals = Signals.fit(model, similar_users, taken, view.all_keywords)
    builder = ContextBuilder(view, similar_users, count_tokens=lambda text: len(text.split()))
    return Engine(builder, signals, None, BlendRanker(), 8)


def fitted_bytes(dataset: Dataset, view, folder: Path) -> dict[str, bytes]:
    """Fit everything on all but the last event of each user; return what is stored."""
    known = dataset.hold_out_last()[0].histories()
    engine = make_engine(known, view)
    whole = known.select(np.flatnonzero(known.lengths > 1))
    blend, _ = fit_blend(engine, whole, exclude_users=np.arange(len(whole)), asked=0, seed=0)
    engine.sequence_model.save(folder / "sequence_model")
    engine.signals.similar_users.save(folder / "similar_users")
    blend.save(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_other_items(dataset: Dataset, from_end: int) -> Dataset:
    """Deal out anew what the users took so many events before the end."""
    histories = dataset.histories()
    rows = (histories.indptr[1:] - from_end)[histories.lengths > from_end]
    items = dataset.interactions["item"].to_numpy().copy()
    items[rows] = np.random.default_rng(0).permutation(items[rows])
    return replace(dataset, interactions=dataset.interactions.with_columns(item=pl.Series(items)))


def test_what_people_took_last_leaves_no_trace_in_anything_fitted(catalogue, view, tmp_path) -> None:
    for name in ("as it is", "last dealt anew", "earlier dealt anew"):
        (tmp_path / name).mkdir()
    fitted = fitted_bytes(catalogue, view, tmp_path / "as it is")
    last = with_other_items(catalogue, 1)
    assert not last.interactions.equals(catalogue.interactions)
    assert fitted_bytes(last, view, tmp_path / "last dealt anew") == fitted
    # The comparison can fail: what is learned from does leave one.
    before = fitted_bytes(with_other_items(catalogue, 3), view, tmp_path / "earlier dealt anew")
    assert before.keys() == fitted.keys()
    assert all(before[name] != fitted[name] for name in ("blend.json", "sequence_model/weights.safetensors"))


def test_the_order_is_learned_from_what_would_be_found(catalogue, view, monkeypatch) -> None:
    known = catalogue.histories()
    engine = make_engine(known, view)
    whole = known.select(np.flatnonzero(known.lengths > 1)[:12])
    exclude = np.flatnonzero(known.lengths > 1)[:12]
    seen: list[list[np.ndarray]] = []
    monkeypatch.setattr(BlendRanker, "fit", lambda self, *groups: seen.extend(groups) or self)
    monkeypatch.setattr(BlendRanker, "kind_", "none", raising=False)
    monkeypatch.setattr(BlendRanker, "cross_validated_", {}, raising=False)
    fit_blend(engine, whole, exclude_users=exclude, asked=0, seed=0)
    retrieved, sampled = seen
    histories = whole.without_last()
    contexts = engine.builder.build(histories, exclude_users=exclude)
    for user, signals in enumerate(engine.signals.of(histories, contexts, exclude)):
        unseen = np.ones(engine.n_items, bool)
        unseen[histories[user]] = False
        found = choose_candidates(signals, unseen, engine.budget)
        assert len(retrieved[user]) == (len(found) if whole[user][-1] in found else 0)
        expected = signals["sequence"][whole[user][-1]]
        assert sampled[user][0, FEATURES.index("sequence")] == pytest.approx(expected, abs=1e-5)
    assert {len(group) for group in retrieved} == {0, engine.budget}
