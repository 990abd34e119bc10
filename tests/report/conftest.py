"""A report with every section, and headless Chromium to look at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from PIL import Image

from mmsrarec.explain import Explanation, KeywordItem, Neighbour, SharedItem, mark_matches
from mmsrarec.report import StageTime

HOSTILE = (
    "\"'><script>window.hacked=1;alert(1)</script><img src=//example.org/x onerror=alert(2)>&amp;{{7*7}}"
)
LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 4
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class DrawnPicture:
    """A picture of one colour: what an explanation needs of `mmsrarec.data.Picture`."""

    colour: str
    size: tuple[int, int] = (200, 300)

    @property
    def key(self) -> str:
        return f"{self.colour} {self.size}"

    def load(self) -> Image.Image:
        return Image.new("RGB", self.size, self.colour)


@pytest.fixture(scope="session")
def explanations() -> list[Explanation]:
    """An ordinary explanation, a hostile one, and one of a person without a history."""
    colours = ["teal", "salmon", "goldenrod", "slateblue", "olive", "crimson", "navy", "peru"]
    shown = [
        KeywordItem(i, f"Item number {i}", ("wool", f"kind {i}", "warm"), picture=DrawnPicture(colour))
        for i, colour in enumerate(colours)
    ]
    neighbours = [Neighbour(0.9 - i / 10, item) for i, item in enumerate(shown[5:])]
    candidate = KeywordItem(9, "Scarf", ("wool", "warm", "long"), picture=DrawnPicture("black"))
    candidate, history, neighbours, matches = mark_matches(candidate, shown[:5], neighbours)
    features = {"mllm_logit": 1.5, "sequence": -0.4, "keywords": 0.2}
    ordinary = Explanation(
        17,
        history,
        neighbours,
        candidate,
        0.83,
        0.74,
        1,
        features,
        matches,
        ("A note.",),
        bridge_users=12,
        shared_items=tuple(SharedItem(users, item) for users, item in zip((7, 1), history, strict=False)),
    )
    bad = KeywordItem(HOSTILE, HOSTILE + LONG, (HOSTILE, LONG, "שלום עולם", "🎉"), frozenset({HOSTILE}))
    hostile = Explanation(
        HOSTILE,
        (bad, bad),
        (Neighbour(2.0, bad),),
        bad,
        0.5,
        0.5,
        2,
        {HOSTILE: 1.0},
        (HOSTILE,),
        (HOSTILE,),
        bridge_users=2,
        shared_items=(SharedItem(2, bad),),
    )
    return [ordinary, hostile, Explanation(None, (), (), shown[0], None, 0.1)]


@pytest.fixture(scope="session")
def sections(explanations: list[Explanation]) -> dict[str, Any]:
    """All that a report shows."""
    return {
        "title": f"Run {HOSTILE}",
        "facts": {"users": 120, "interactions": 359_708, "backbone": HOSTILE, "share": 0.25},
        "stages": [StageTime("keywords", 92.4, 1500.0), ("ranker", 4000.0), (HOSTILE, 0.0)],
        "curves": {
            "tuning_loss": [(step, 2.0 / (1 + step)) for step in range(900)],
            HOSTILE: [(0, float("nan"))],
        },
        "evaluation": pl.DataFrame({"model": ["mmsrarec", HOSTILE], "NDCG@5": [0.512, None], "n": [1, 2]}),
        "reliability": {
            "p(yes) alone": [(0.05, 0.04, 90), (0.5, 0.6, 10)],
            HOSTILE: [(1.0, 0.0, 7)],
            "never asked": [],
        },
        "gains": pl.DataFrame(
            {
                "part": ["similar_users", HOSTILE, "sft", "paths"],
                "model": ["mmsrarec", "mmsrarec", HOSTILE, "p(yes) alone"],
                "protocol": "uniform",
                "metric": "NDCG@5",
                "gain": [0.02, -0.1, 0.0, float("nan")],
                "low": [-0.01, -0.15, 0.0, float("nan")],
                "high": [0.05, -0.02, 0.0, float("nan")],
            }
        ),
        "tables": {f"Rewards {HOSTILE}": pl.DataFrame({"stage": ["before", HOSTILE], "total": [0.1, 0.5]})},
        "recommendations": pl.DataFrame(
            {
                "user_id": ["17", "17", HOSTILE],
                "item_id": [1, 2, 3],
                "title": ["Hat", None, HOSTILE],
                "rank": [1, 2, 1],
                "score": [0.9, 0.5, float("nan")],
            }
        ),
        "explanations": explanations,
    }


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless, with a profile of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("chromium is not installed; type: apt install chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield running
        running.close()
