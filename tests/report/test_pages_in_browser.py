"""What only a browser can say: nothing runs, nothing is fetched, nothing overflows, everything is seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mmsrarec.explain import render_fragment, render_page
from mmsrarec.report import render_report

pytestmark = pytest.mark.browser

PAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "ordinary explanation": lambda sections: render_page(sections["explanations"][:1]),
    "hostile explanation": lambda sections: render_page(sections["explanations"][1:2]),
    "new person": lambda sections: render_page(sections["explanations"][2:]),
    "notebook fragment": lambda sections: (
        "<!doctype html><html lang='en'><title>notebook</title>"
        + render_fragment(sections["explanations"][0])
    ),
    "report": lambda sections: render_report(**sections),
}

CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const background = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest('style') || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = element.closest('svg') ? style.fill : style.color;
    const [a, b] = [luminance(rgba(ink)), luminance(background(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push(element.className + ' ' + ratio.toFixed(2) + ' ' + element.textContent.slice(0, 30));
  }
  return low;
}"""


@dataclass
class Seen:
    """A page in the browser and what happened while it was shown."""

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@pytest.fixture
def show(browser, tmp_path) -> Iterator[Callable[..., Seen]]:
    with contextlib.ExitStack() as stack:

        def open_page(html: str, *, width: int = 1180, scheme: str = "light") -> Seen:
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            stack.callback(context.close)
            seen = Seen(context.new_page())
            seen.page.on("console", lambda message: seen.console.append(message.text))
            seen.page.on("pageerror", lambda error: seen.console.append(str(error)))
            seen.page.on("request", lambda request: seen.requests.append(request.url))
            seen.page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
            path = tmp_path / "page.html"
            path.write_text(html, "utf-8")
            seen.page.goto(path.as_uri())
            return seen

        yield open_page


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_inert_whole_and_legible(show, sections, name, scheme):
    seen = show(PAGES[name](sections), scheme=scheme)
    assert seen.console == []
    assert [url for url in seen.requests if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in seen.requests if url.startswith("file:")]) == 1
    assert seen.dialogs == []
    assert seen.page.evaluate("window.hacked") is None
    assert seen.page.evaluate("document.querySelectorAll('script, iframe, [onerror]').length") == 0
    broken = seen.page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length")
    assert broken == 0
    assert seen.page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 360, 600, 900, 1600])
def test_nothing_overflows_sideways(show, sections, name, width):
    page = show(PAGES[name](sections), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 1180])
@pytest.mark.parametrize("size", [(200, 200), (100, 300), (300, 100)])
def test_pictures_of_any_shape_leave_the_words_free(show, sections, width, size):
    drawn = sections["explanations"][0]
    near = drawn.neighbours[0]
    neighbours = (replace(near, item=replace(near.item, picture=type(near.item.picture)("plum", size))),)
    page = show(render_page([replace(drawn, neighbours=neighbours)]), width=width).page
    overlaps = page.evaluate(
        """[...document.querySelectorAll('.mmsr-card')].map(card => {
          const picture = card.querySelector('.mmsr-picture').getBoundingClientRect();
          const words = card.querySelector('.mmsr-card-body').getBoundingClientRect();
          return Math.min(picture.right - words.left, picture.bottom - words.top);
        })"""
    )
    assert len(overlaps) == 6
    assert max(overlaps) <= 0.5


def test_all_pictures_are_shown_and_described(show, sections):
    page = show(PAGES["ordinary explanation"](sections)).page
    pictures = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.clientWidth, i.alt])")
    assert len(pictures) == 9
    assert all(natural > 0 and shown > 80 and alt for natural, shown, alt in pictures)


def test_small_pictures_in_the_evidence_are_drawn(show, sections):
    page = show(PAGES["ordinary explanation"](sections)).page
    backgrounds = page.evaluate(
        "[...document.querySelectorAll('.mmsr-mini')].map(e => getComputedStyle(e).backgroundImage)"
    )
    assert len(backgrounds) == 16
    assert all(background.startswith('url("data:image/jpeg') for background in backgrounds)


def test_the_gauge_is_as_full_as_p_says(show, sections):
    page = show(PAGES["ordinary explanation"](sections)).page
    gauge = page.locator(".mmsr-gauge")
    assert gauge.get_attribute("aria-label") == "p of yes is 0.83 on a scale of 0 to 1"
    assert gauge.locator(".mmsr-value").get_attribute("stroke-dasharray") == "83.0 200"


def test_light_and_dark_differ(show, sections):
    colours = [
        show(PAGES["report"](sections), scheme=scheme).page.evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in ("light", "dark")
    ]
    assert colours[0] != colours[1]


def test_hostile_text_is_shown_as_it_is(show, sections):
    page = show(PAGES["hostile explanation"](sections)).page
    assert "<script>window.hacked=1;alert(1)</script>" in page.locator(".mmsr-name").inner_text()
    assert "{{7*7}}" in page.locator(".mmsr-name").inner_text()
