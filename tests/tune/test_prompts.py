"""Templates are filled once; what is put in is never read as a template."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.tune import TEMPLATES, fill, template_fingerprint, template_text


@given(st.text(), st.text())
def test_text_goes_in_as_it_is(keywords: str, options: str) -> None:
    prompt = fill("match_keywords", {"keywords": keywords, "options": options})
    before, rest = template_text("match_keywords").split("{keywords}")
    between, after = rest.split("{options}")
    assert prompt.content == (before + keywords + between + options + after,)


def test_picture_stands_where_the_template_says(catalogue) -> None:
    picture = catalogue.item_content(0).picture
    prompt = fill("yes_no", {"history": "H", "neighbours": "N", "picture": picture, "candidate": "C"})
    assert len(prompt.content) == 3
    assert prompt.content[1] is picture
    assert prompt.content[0].endswith("Candidate: ")
    assert prompt.content[2].startswith("C\n")


def test_without_a_picture_the_text_is_one_piece() -> None:
    prompt = fill("yes_no", {"history": "H", "neighbours": "N", "picture": None, "candidate": "C"})
    assert len(prompt.content) == 1
    assert "Candidate: C" in prompt.content[0]


def test_missing_field_is_an_error() -> None:
    with pytest.raises(KeyError, match="options"):
        fill("match_keywords", {"keywords": "a"})


def test_every_template_is_there_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(template_text(name) for name in TEMPLATES)
    assert len(template_fingerprint()) == 32
