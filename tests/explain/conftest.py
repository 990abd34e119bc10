"""Explanations for the tests of this folder, with pictures made in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from PIL import Image

from mmsrarec.explain import Explanation, KeywordItem, Neighbour, SharedItem, mark_matches


@dataclass
class DrawnPicture:
    """A picture of one colour: what an explanation needs of `mmsrarec.data.Picture`."""

    colour: str
    size: tuple[int, int] = (300, 450)
    mode: str = "RGB"
    loads: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.colour} {self.size} {self.mode}"

    def load(self) -> Image.Image:
        self.loads.append(self.colour)
        return Image.new(self.mode, self.size, self.colour)


@pytest.fixture
def drawn_picture() -> type[DrawnPicture]:
    return DrawnPicture


@pytest.fixture
def scarf() -> Explanation:
    """One ordinary explanation: three history items, two neighbours, a few matches."""
    history = [
        KeywordItem("i1", "Hat", ("wool", "red", "winter"), picture=DrawnPicture("red")),
        KeywordItem("i2", "Socks", ("cotton", "striped"), picture=DrawnPicture("green")),
        KeywordItem("i3", "Gloves", ("merino wool", "blue"), picture=DrawnPicture("blue")),
    ]
    neighbours = [
        Neighbour(0.93, KeywordItem("i9", "Scarf", ("wool", "blue", "soft"), picture=DrawnPicture("navy"))),
        Neighbour(0.41, KeywordItem("i7", "Mug", ("ceramic",))),
    ]
    candidate = KeywordItem("i9", "Scarf", ("wool", "blue", "soft", "long"), picture=DrawnPicture("navy"))
    candidate, marked_history, marked_neighbours, matches = mark_matches(candidate, history, neighbours)
    return Explanation(
        user_id=17,
        history=marked_history,
        neighbours=marked_neighbours,
        candidate=candidate,
        probability=0.834,
        score=0.741,
        rank=1,
        features={"mllm_logit": 1.62, "sequence": 0.91, "popularity": -0.31},
        matches=matches,
        notes=("Nobody in the training data took this item.",),
        bridge_users=14,
        shared_items=(SharedItem(3, history[2]), SharedItem(1, history[0])),
    )
