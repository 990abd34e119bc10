from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.explain import (
    Explanation,
    KeywordItem,
    Neighbour,
    SharedItem,
    render_fragment,
    render_page,
)

VOID = {"meta", "link", "img", "br"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "</style><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\ud800\x00\u202ebackwards",
    "]]><!--",
]


class Outline(HTMLParser):
    """Elements, attributes and text of a page; fails on elements that do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def hostile_explanation(text: str) -> Explanation:
    item = KeywordItem(text, text, (text, "plain"), frozenset({text}))
    return Explanation(
        text,
        (item,),
        (Neighbour(0.5, item),),
        item,
        0.5,
        0.5,
        1,
        {text: 1.0},
        (text,),
        (text,),
        2,
        (SharedItem(2, item),),
    )


def test_the_page_tells_the_whole_story(scarf: Explanation):
    text = Outline(scarf.to_html()).text
    for part in (
        "Why Scarf for user 17 ?",
        "0.83",
        "83 % of the weight",
        "Final score 0.741",
        "Rank 1",
        "What user 17 took",
        "What similar users took next",
        "similarity 0.93",
        "the explained item itself",
        "language model: p(yes)",
        "+1.62",
        "Nobody in the training data took this item.",
        "Who else took it",
        "14 users took this and something of the history.",
        "3 users who also took Gloves took this.",
        "1 user who also took Hat took this.",
    ):
        assert part in text


def test_matching_keywords_are_marked_and_others_are_not(scarf: Explanation):
    page = scarf.to_html()
    assert '<mark class="mmsr-chip">merino wool</mark>' in page
    assert '<span class="mmsr-chip">cotton</span>' in page
    assert page.index(">wool<") < page.index(">red<")


def test_the_page_needs_nothing_but_itself(scarf: Explanation):
    outline = Outline(scarf.to_html())
    for tag, attributes in outline.elements:
        assert tag not in {"script", "iframe", "object", "embed", "form", "base", "video", "audio"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "@import" not in scarf.to_html()
    assert "http:" not in scarf.to_html()
    policy = next(a["content"] for _, a in outline.elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_the_page_is_accessible_by_its_structure(scarf: Explanation):
    outline = Outline(scarf.to_html())
    assert ("html", {"lang": "en"}) in outline.elements
    assert all(attributes.get("alt") for tag, attributes in outline.elements if tag == "img")
    assert all(
        attributes.get("aria-label")
        for tag, attributes in outline.elements
        if tag == "svg" or attributes.get("role") == "img"
    )
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text):
    ordinary = Outline(hostile_explanation("ordinary").to_html())
    hostile = Outline(hostile_explanation(text).to_html())
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in ordinary.elements]
    assert [sorted(attributes) for _, attributes in hostile.elements] == [
        sorted(attributes) for _, attributes in ordinary.elements
    ]
    assert "49" not in hostile.text


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(codec=None), max_size=60))
def test_any_text_gives_the_same_elements(text):
    outline = Outline(hostile_explanation("a" + text).to_html())
    assert len(outline.elements) == len(Outline(hostile_explanation("ordinary").to_html()).elements)


def test_pictures_shape_the_cards_and_missing_ones_get_a_placeholder(scarf: Explanation):
    page = scarf.to_html()
    assert "--shape:0.667" in page
    assert page.count("<img ") == 5
    assert 'aria-label="No picture of Mug"><span aria-hidden="true">M</span>' in page


def test_a_new_person_and_an_item_without_words(scarf: Explanation):
    bare = Explanation(None, (), (), KeywordItem(5, ""), None, 0.2)
    text = Outline(bare.to_html()).text
    assert "Why item 5 for this person ?" in text
    assert "No history yet" in text
    assert "No similar users" in text
    assert "no keywords" in text
    assert "The language model was not asked" in text
    assert "Who else took it" not in text


@pytest.mark.parametrize("probability", [0.0, 1.0, float("nan"), None])
def test_extreme_probabilities(scarf: Explanation, probability):
    outline = Outline(replace(scarf, probability=probability).to_html())
    dashes = [a["stroke-dasharray"] for tag, a in outline.elements if "stroke-dasharray" in a]
    assert dashes == (["100.0 200"] if probability == 1.0 else [])


def test_several_explanations_share_one_page(scarf: Explanation):
    page = render_page([scarf, hostile_explanation("other")], title="Two <reasons>")
    assert page.count("<article") == 2
    assert "<title>Two &lt;reasons&gt;</title>" in page
    assert page.count("<h1") == 1


def test_no_explanation_is_an_error():
    with pytest.raises(InputError, match="at least one"):
        render_page([])


def test_the_fragment_stands_alone(scarf: Explanation):
    fragment = render_fragment(scarf)
    assert fragment == scarf._repr_html_()
    outline = Outline(fragment)
    assert outline.elements[0][0] == "div"
    assert not {"html", "body", "script"} & {tag for tag, _ in outline.elements}
    assert "h1" not in {tag for tag, _ in outline.elements}


def test_every_style_rule_is_held_inside_the_page(scarf: Explanation):
    style = re.search(r"<style>(.*?)</style>", render_fragment(scarf), re.DOTALL).group(1)
    selectors = [
        selector.strip()
        for group in re.findall(r"(?:^|[}\n])\s*([^{}@]+)\{", style)
        for selector in group.split(",")
    ]
    assert len(selectors) > 60
    assert [selector for selector in selectors if not selector.startswith(".mmsr")] == []


def test_the_page_is_written_whole(scarf: Explanation, tmp_path):
    path = tmp_path / "pages" / "why.html"
    page = scarf.to_html(path)
    assert path.read_text("utf-8") == page
    assert [each.name for each in path.parent.iterdir()] == ["why.html"]


def test_a_page_that_cannot_be_written_is_one_clear_error(scarf: Explanation, tmp_path):
    (tmp_path / "why.html").mkdir()
    with pytest.raises(StoredFileError, match="could not be written"):
        scarf.to_html(tmp_path / "why.html")
    assert [each.name for each in tmp_path.iterdir()] == ["why.html"]
