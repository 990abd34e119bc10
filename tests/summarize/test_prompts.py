"""Prompts hold what an item has, in the wording of the templates, within their budget."""

from __future__ import annotations

from mmsrarec.data import ItemContent
from mmsrarec.summarize import prompts
from mmsrarec.summarize.prompts import (
    TEMPLATES,
    image_prompt,
    read_template,
    reconstruction_prompt,
    template_fingerprint,
    text_prompt,
)
from mmsrarec.testing import TinyPicture
from mmsrarec.testing.tiny_models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def count(text: str) -> int:
    return len(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def test_each_modality_has_its_prompt_and_only_where_there_is_one() -> None:
    picture = TinyPicture((255, 0, 0))
    both = ItemContent("Red mug", "For tea.", ("Kitchen", "Gifts"), picture)
    assert image_prompt(both).pictures == (picture,)
    assert "mug" not in image_prompt(both).text
    asked = text_prompt(both, TOKENIZER, 64)
    assert asked.pictures == ()
    assert asked.text.endswith("Red mug. Kitchen, Gifts. For tea.")
    assert image_prompt(ItemContent("Red mug")) is None
    assert text_prompt(ItemContent("", "", (), picture), TOKENIZER, 64) is None
    assert text_prompt(ItemContent("", "", ("Gifts",)), TOKENIZER, 64).text.endswith("Gifts.")


def test_a_long_description_leaves_title_and_categories() -> None:
    content = ItemContent("Red mug", "tea " * 500, ("Kitchen",))
    asked = text_prompt(content, TOKENIZER, 24).text
    assert "Red mug. Kitchen." in asked
    assert count(asked) <= 24 + count(read_template("text"))


def test_braces_in_an_item_stay_braces() -> None:
    assert text_prompt(ItemContent("{text} {image} {}"), TOKENIZER, 64).text.endswith("{text} {image} {}.")
    assert reconstruction_prompt(["{keywords}", "mug"]).text.endswith("{keywords}, mug")


def test_the_item_comes_last_so_that_the_instruction_is_a_shared_prefix() -> None:
    assert read_template("image").endswith("{image}")
    assert read_template("text").endswith("{text}")


def test_another_wording_is_another_fingerprint(monkeypatch) -> None:
    before = template_fingerprint()
    assert before == template_fingerprint()
    monkeypatch.setattr(prompts, "read_template", lambda name: f"{name} {{image}}{{text}}{{keywords}}")
    assert template_fingerprint() != before
    assert set(TEMPLATES) == {"image", "text", "reconstruct"}
