from __future__ import annotations

import re

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mmsrarec.errors import InputError
from mmsrarec.report import StageTime, render_report, write_report


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("</style>")[1]))


def test_every_section_is_there(sections):
    text = words(render_report(**sections))
    for part in (
        "users 120",
        "interactions 359 708",
        "share 0.2500",
        "How good it is",
        "mmsrarec 0.5120 1",
        "What each part is worth",
        "similar users",
        "How far its probabilities can be trusted",
        "p(yes) alone",
        "keywords 1 min 32 s 1500 MiB",
        "ranker 1 h 06 min",
        "all stages 1 h 08 min",
        "tuning loss",
        "before 0.1000",
        "user 17",
        "1 Hat",
        "2 item 2",
        "not a number",
    ):
        assert part in text
    assert text.count("What similar users took next") == 3


def test_sections_without_data_are_left_out():
    text = words(render_report(title="Empty"))
    for heading in (
        "How good",
        "What each part",
        "How far",
        "What each stage",
        "How it learned",
        "What it recommends",
        "Why",
    ):
        assert heading not in text


def test_memory_is_shown_only_where_it_was_measured():
    assert "Peak memory" not in render_report(stages=[("keywords", 1.0)])
    assert "Peak memory" in render_report(stages=[StageTime("keywords", 1.0, 10.0)])


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
def test_an_evaluation_frame_of_any_kind(kind):
    page = render_report(evaluation=kind({"model": ["<ours>"], "AUC": [0.83]}))
    assert "&lt;ours&gt;" in page
    assert '<td class="mmsr-number">0.8300</td>' in page


def test_a_fragment_goes_in_as_it_is():
    class Table:
        def to_html(self) -> str:
            return "<table><tr><td>ours</td></tr></table>"

    assert Table().to_html() in render_report(evaluation=Table())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"evaluation": 3}, "evaluation must be a frame or have to_html.., got int"),
        ({"recommendations": pl.DataFrame({"user_id": [1]})}, "missing: item_id, rank, score"),
        ({"gains": pl.DataFrame({"part": ["sft"], "model": ["a"]})}, "gains .* missing: protocol, metric"),
        ({"recommendations": [1]}, "must be a frame with the columns user_id"),
        ({"evaluation": pl.DataFrame({"a": range(201)})}, "201 rows"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        render_report(**arguments)


def test_the_file_is_written_whole(sections, tmp_path):
    path = write_report(tmp_path / "a" / "report.html", **sections)
    assert path.read_text("utf-8") == render_report(**sections)
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
