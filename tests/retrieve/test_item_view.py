"""What a prompt shows of an item."""

import pytest

from mmsrarec.backbone import count_tokens, cut_text
from mmsrarec.data import ItemContent
from mmsrarec.errors import InputError
from mmsrarec.retrieve import ItemView


def whole(text: str, tokens: int) -> str:
    return text


def test_candidate_text_has_keywords_before_the_description() -> None:
    content = ItemContent("Mug\n of  tea", "Holds tea!", ("Kitchen", "Gifts"))
    view = ItemView([content], [("blue", "striped")], whole)
    assert (
        view.candidate_text(0)
        == "Mug of tea. Keywords: blue, striped. Holds tea! Categories: Kitchen, Gifts."
    )


def test_absent_parts_are_left_out() -> None:
    view = ItemView([ItemContent("", "", ())], [()], whole)
    assert view.candidate_text(0) == ""
    assert view.picture(0) is None


def test_candidate_text_keeps_to_its_tokens(tiny_llama) -> None:
    tokenizer = tiny_llama.tokenizer
    long = ItemContent("A title", "many words " * 5000, ())
    view = ItemView(
        [long], [("one", "two")], lambda text, n: cut_text(text, tokenizer, n), candidate_tokens=30
    )
    text = view.candidate_text(0)
    assert text.startswith("A title. Keywords: one, two.")
    assert 20 <= count_tokens(text, tokenizer) <= 30


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="keywords must have one entry for each of the 1 items, got 0"):
        ItemView([ItemContent("a")], [], whole)
    with pytest.raises(InputError, match="candidate_tokens must be 1 or more, got 0"):
        ItemView([], [], whole, candidate_tokens=0)
