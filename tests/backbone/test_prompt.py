from __future__ import annotations

import pytest

from mmsrarec.backbone import PictureLike, Prompt
from mmsrarec.errors import InputError
from mmsrarec.testing import TinyPicture

RED = TinyPicture((200, 0, 0))


def test_content_is_kept_in_order() -> None:
    prompt = Prompt(["a", RED, "b"])  # type: ignore[arg-type]
    assert prompt.content == ("a", RED, "b")
    assert prompt.pictures == (RED,)
    assert prompt.text == "ab"


def test_prompts_are_equal_by_content() -> None:
    assert Prompt(("a", RED)) == Prompt(("a", TinyPicture((200, 0, 0))))
    assert hash(Prompt(("a", RED))) == hash(Prompt(("a", RED)))


@pytest.mark.parametrize(
    ("content", "named"), [("text", "Prompt\\(\\(text,\\)\\)"), ((), "at least one"), (("a", 3), "int")]
)
def test_unusable_content_is_named(content: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        Prompt(content)  # type: ignore[arg-type]


def test_a_data_picture_is_what_a_prompt_takes() -> None:
    data = pytest.importorskip("mmsrarec.data.images")
    assert all(hasattr(data.Picture, name) for name in ("load", "key"))
    assert isinstance(RED, PictureLike)
