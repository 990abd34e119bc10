"""Progress is shown as bars on a terminal and as lines elsewhere."""

import io

import pytest
from rich.console import Console

from mmsrarec import progress


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=text, force_terminal=False, width=200))
    return text


def test_lines_carry_an_estimate(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_SECONDS", 0.0)
    assert list(progress.track([1, 2, 3], "counting")) == [1, 2, 3]
    lines = output.getvalue().splitlines()
    assert lines[0].startswith("counting: 1/3")
    assert lines[0].endswith("s left")


def test_short_work_is_silent(output: io.StringIO) -> None:
    list(progress.track(range(1000), "counting"))
    assert output.getvalue() == ""


def test_markup_in_a_note_is_text(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_SECONDS", 0.0)
    with progress.ticker("work", total=2) as ticker:
        ticker.advance(1, "[/red]")
    assert "[/red]" in output.getvalue()


def test_terminal_gets_one_bar_for_nested_work(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=text, force_terminal=True, width=120))
    for _ in progress.track(range(2), "outer"):
        list(progress.track(range(3), "inner"))
    assert "outer" in text.getvalue()
    assert "inner" in text.getvalue()


def test_hidden_progress_writes_nothing(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL_SECONDS", 0.0)
    progress.set_progress(False)
    try:
        list(progress.track(range(3), "counting"))
    finally:
        progress.set_progress(True)
    assert output.getvalue() == ""
