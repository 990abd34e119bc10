"""P8: how the time and the memory of a fit without the language model, of `recommend` and of `update` grow.

A generated shop at 10,000, 100,000 and 1,000,000 interactions. As in real shops, users grow with the interactions (ten
each, by a lognormal law) and items more slowly, as interactions to the power 0.75: movielens-posters has 2,872 items in
46,956 events, which is their power 0.74, microlens-50k 19,220 in 359,708, 0.77. Items have a topic and a popularity by
Zipf's law (0.9); three of four events are of the user's own topic. A tenth of the users validate.

Each size runs in a process of its own. Stages are timed apart: reading the frame; the sequence model for one epoch;
similar users; what is counted (item-kNN, transitions, paths, popularity, keyword index); the blend. Then `recommend`
for 100 known users, and `update` by a hundredth of the events. What a fit does once for each item (reading pictures,
summarizing, embedding texts) is not part of it; topics stand for the embeddings of texts.

A time is within its target if it is at most 1.3 times what linear growth from the size before would give. Memory is the
peak of the process in a stage beyond what it took before the data was read, everything imported and warmed up. The
model is what is kept of the sequence model's weights and the similar users' vectors (256 bytes a position).

    python -m benches P8
    python -m benches P8 --sizes 10000 100000 --epochs 2
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

SIZES = [10_000, 100_000, 1_000_000]
EVENTS_A_USER = 10
ITEMS_EXPONENT = 0.75
TOPICS = 50
ASKED = 100
BUDGET = 200
SHARE_OF_LINEAR = 1.3
BYTES_AN_INTERACTION = 200
FIT = ("sequence model", "similar users", "counts", "blend")


def main(words: Sequence[str]) -> int:
    """Measure each size in a process of its own and print the growth from one to the next."""
    parser = argparse.ArgumentParser(prog="python -m benches P8", description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--epochs", type=int, default=1, help="of the sequence model")
    parser.add_argument("--workdir", type=Path, default=Path("build/growth"), help="one file a size; kept")
    arguments = parser.parse_args(words)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    measured = []
    for size in arguments.sizes:
        path = arguments.workdir / f"{size}-{arguments.epochs}.json"
        if not path.exists():
            command = [sys.executable, "-m", "benches.p8_growth", str(size), str(arguments.epochs), str(path)]
            subprocess.run(command, check=True)
        measured.append(json.loads(path.read_text()))
    Console(width=150).print(results(measured))
    return 0


def results(measured: list[dict[str, Any]]) -> Table:
    """Return the table: a row for each stage, a column for each size and one for each step between two."""
    table = Table("what")
    for place, one in enumerate(measured):
        table.add_column(f"{one['interactions']:,}", justify="right")
        if place:
            table.add_column("of linear", justify="right")
    names = list(measured[0]["seconds"])
    rows = {name: [one["seconds"][name] for one in measured] for name in names}
    rows["fit"] = [sum(one["seconds"][name] for name in FIT) for one in measured]
    sizes = [one["interactions"] for one in measured]
    for name, seconds in rows.items():
        # What is asked for one user is compared with a linear law as well: there is more to look through.
        cells = [name]
        for place, value in enumerate(seconds):
            cells.append(f"{value:.4g} s")
            if place:
                ratio = value / seconds[place - 1] / (sizes[place] / sizes[place - 1])
                cells.append(f"{ratio:.2f}{'' if ratio <= SHARE_OF_LINEAR else ' !'}")
        table.add_row(*cells)
    table.add_section()
    for name in ("users", "items", "order"):
        table.add_row(
            name, *_spread([f"{one[name]:,}" if name != "order" else one[name] for one in measured])
        )
    table.add_section()
    for name in names:
        table.add_row(f"peak: {name}", *_spread([f"{one['peaks'][name]:,.0f} MiB" for one in measured]))
    table.add_row("model", *_spread([f"{one['model']:,.0f} MiB" for one in measured]))
    for name, stages in (("fit", ("reading", *FIT)), ("update", ("update",))):
        peaks = [max(one["peaks"][stage] for stage in stages) - one["model"] for one in measured]
        cells = []
        for place, one in enumerate(measured):
            cells.append(_bytes(peaks[place], one["interactions"]))
            if place:
                more = one["interactions"] - measured[place - 1]["interactions"]
                cells.append(_bytes(peaks[place] - peaks[place - 1], more))
        table.add_row(f"{name}: bytes an interaction, the model aside, and one more", *cells)
    return table


def _bytes(mebibytes: float, interactions: int) -> str:
    value = mebibytes * 2**20 / interactions
    return f"{value:,.0f}{'' if value < BYTES_AN_INTERACTION else ' !'}"


def _spread(cells: list[str]) -> list[str]:
    return [cell for place, one in enumerate(cells) for cell in ([one] if place == 0 else [one, ""])]


class Shop:
    """A generated shop of a size.

    Attributes
    ----------
    events
        Columns user_id, item_id, timestamp; the last rows are the events of the update.
    """

    def __init__(self, interactions: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.n_items = round(interactions**ITEMS_EXPONENT)
        self.n_users = interactions // EVENTS_A_USER
        self.topic = rng.integers(0, TOPICS, self.n_items)
        share = rng.permutation(1 / np.arange(1, self.n_items + 1) ** 0.9)
        # Twice as many are drawn as are kept: many meet an item again.
        lengths = np.maximum(4, rng.lognormal(np.log(2 * EVENTS_A_USER) - 0.32, 0.8, self.n_users)).astype(
            int
        )
        lengths = np.minimum(lengths, self.n_items // 2)
        user = np.repeat(np.arange(self.n_users), lengths)
        own = rng.integers(0, TOPICS, self.n_users)[user]
        by_topic = [np.flatnonzero(self.topic == topic) for topic in range(TOPICS)]
        item = _draw(np.arange(self.n_items), share, len(user), rng)
        follows = rng.random(len(user)) < 0.75
        for topic, members in enumerate(by_topic):
            rows = np.flatnonzero(follows & (own == topic))
            item[rows] = _draw(members, share[members], len(rows), rng)
        frame = pl.DataFrame({"user_id": user, "item_id": item}).unique(maintain_order=True)
        kept = np.sort(rng.permutation(len(frame))[:interactions])
        frame = frame[kept]
        self.events = frame.with_columns(timestamp=pl.Series(np.arange(len(frame)) + 1_600_000_000))
        self.keywords = [
            (
                f"topic{self.topic[row]}",
                f"kind{row % 997}",
                f"look{row % 89} shade{row % 13}",
                f"maker{row % 211}",
            )
            for row in range(self.n_items)
        ]
        self.content = rng.normal(size=(TOPICS, 384)).astype(np.float32)[self.topic]
        self.content += rng.normal(size=self.content.shape, scale=0.5).astype(np.float32)


def _draw(items: np.ndarray, share: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    cumulative = np.cumsum(share)
    return items[np.searchsorted(cumulative, rng.random(count) * cumulative[-1]).clip(0, len(items) - 1)]


def measure(interactions: int, epochs: int) -> dict[str, Any]:
    """Fit, ask and update at one size; seconds by stage and mebibytes."""
    _run(Shop(2_000), 1)  # libraries, thread pools and kernels are there afterwards
    return _run(Shop(interactions), epochs)


def _run(shop: Shop, epochs: int) -> dict[str, Any]:
    from mmsrarec import Dataset, Recommender, testing
    from mmsrarec.data import ItemContent
    from mmsrarec.rank import BlendRanker
    from mmsrarec.recommender import PRESETS
    from mmsrarec.recommender.blending import MOST_BLEND_USERS, fit_blend
    from mmsrarec.recommender.components import Components, Retrieval, join
    from mmsrarec.recommender.known_users import KnownUsers
    from mmsrarec.retrieve import SequenceModel, SimilarUsers

    _, tokenizer = testing.tiny_llama()
    items = pl.DataFrame({"item_id": np.arange(shop.n_items), "title": [words[0] for words in shop.keywords]})
    is_late = pl.int_range(pl.len()) % 100 == 0
    late, early = shop.events.filter(is_late), shop.events.filter(~is_late)
    seconds: dict[str, float] = {}
    peaks: dict[str, float] = {}
    before = _mebibytes("VmRSS")

    def timed(name: str, work: Callable[[], Any]) -> Any:
        gc.collect()
        _forget_peak()
        started = time.perf_counter()
        found = work()
        seconds[name] = time.perf_counter() - started
        peaks[name] = _mebibytes("VmHWM") - before
        return found

    data = timed("reading", lambda: Dataset.from_frames(early, items))
    train, validation, _ = data.split(by="user", ratios=(9, 1, 0), seed=0)
    users = KnownUsers.from_datasets(train, validation)
    taken, held_out = users.training_histories(), validation.histories()
    model = timed(
        "sequence model",
        lambda: SequenceModel(epochs=epochs).fit(
            taken, shop.n_items, content=shop.content, validation=held_out
        ),
    )
    similar_users = timed("similar users", lambda: SimilarUsers().fit(model, taken))
    contents = [ItemContent(words[0]) for words in shop.keywords]
    retrieval = timed(
        "counts",
        lambda: Retrieval.assemble(
            tokenizer, contents, shop.keywords, model, similar_users, taken, history=5, neighbours=3
        ),
    )
    parts = Components(
        users=users,
        content_keys=[""] * shop.n_items,
        language_model=None,
        encoder_fingerprint="",
        retrieval=retrieval,
        blend=BlendRanker(),
    )
    usable = np.random.default_rng(0).permutation(np.flatnonzero(held_out.lengths >= 2))[:MOST_BLEND_USERS]
    parts.blend, _ = timed(
        "blend",
        lambda: fit_blend(
            join(parts, candidates=BUDGET),
            held_out.select(usable),
            exclude_users=np.full(len(usable), -1),
            asked=0,
            seed=0,
        ),
    )
    recommender = Recommender(preset=replace(PRESETS["demo"], candidates=BUDGET))
    recommender._take(parts)
    asked = train.user_ids.gather_every(max(1, train.n_users // ASKED))[:ASKED].to_list()
    timed("recommend", lambda: recommender.recommend(asked, k=10, language_model=False))
    timed("update", lambda: recommender.update(late))
    vectors = recommender.engine_.signals.similar_users.vectors_
    weights = sum(value.nbytes for value in model._network.state_dict().values())
    return {
        "interactions": len(shop.events),
        "users": shop.n_users,
        "items": shop.n_items,
        "order": parts.blend.kind_,
        "seconds": seconds,
        "peaks": peaks,
        "model": (vectors.nbytes + weights) / 2**20,
    }


def _mebibytes(name: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024


def _forget_peak() -> None:
    """Let the peak of this process begin anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    size, epochs, path = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    found = measure(size, epochs)
    path.write_text(json.dumps(found))
