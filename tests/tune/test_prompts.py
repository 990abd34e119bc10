"""Templates are filled once; what is put in is never read as a template."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.errors import InputError
from mmsrarec.tune import TEMPLATES, WORDINGS, fill, prompts, template_fingerprint, template_text

FIELDS = {"history": "H", "neighbours": "N", "candidate": "C", "paths": "P\n"}


@given(st.text(), st.text(), st.integers(1, WORDINGS))
def test_text_goes_in_as_it_is(keywords: str, options: str, wording: int) -> None:
    prompt = fill("match_keywords", {"keywords": keywords, "options": options}, wording=wording)
    values = {"keywords": keywords, "options": options}
    text = template_text("match_keywords", wording)
    first, second = sorted(values, key=lambda name: text.index(f"{{{name}}}"))
    before, rest = text.split(f"{{{first}}}")
    between, after = rest.split(f"{{{second}}}")
    assert prompt.content == (before + values[first] + between + values[second] + after,)


def test_picture_stands_where_the_template_says(catalogue) -> None:
    picture = catalogue.item_content(0).picture
    for wording in range(1, WORDINGS + 1):
        prompt = fill("yes_no", {**FIELDS, "picture": picture}, wording=wording)
        assert len(prompt.content) == 3
        assert prompt.content[1] is picture
        assert prompt.content[2].startswith("C\nP\n")


def test_without_a_picture_the_text_is_one_piece() -> None:
    prompt = fill("yes_no", {**FIELDS, "picture": None})
    assert len(prompt.content) == 1
    assert "Candidate: C" in prompt.content[0]


def test_missing_field_is_an_error() -> None:
    with pytest.raises(KeyError, match="options"):
        fill("match_keywords", {"keywords": "a"})


def test_every_template_is_there_once_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {template_text(name, 1 + place) for name in TEMPLATES for place in range(WORDINGS)}
    assert len(texts) == len(TEMPLATES) * WORDINGS
    before = template_fingerprint()
    assert len(before) == 32
    template = prompts.template_text
    monkeypatch.setattr(
        prompts, "template_text", lambda name, wording: template(name, wording) + " " * (wording == 2)
    )
    assert template_fingerprint() != before


@pytest.mark.parametrize("asked", [("other", 1), ("yes_no", 0), ("yes_no", WORDINGS + 1)])
def test_a_template_that_is_not_there_is_a_clear_error(asked: tuple[str, int]) -> None:
    with pytest.raises(InputError, match="a template is one of"):
        template_text(*asked)
