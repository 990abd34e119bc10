from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from mmsrarec.errors import InputError
from mmsrarec.explain import thumbnail


def decode(uri: str) -> Image.Image:
    start = "data:image/jpeg;base64,"
    assert uri.startswith(start)
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(start))))


@pytest.mark.parametrize("size", [(3000, 400), (400, 3000), (500, 500), (20, 30)])
def test_thumbnails_are_small_jpegs_of_the_same_shape(drawn_picture, size):
    small = thumbnail(drawn_picture("teal", size))
    image = decode(small.uri)
    assert (image.format, image.size) == ("JPEG", (small.width, small.height))
    assert max(image.size) <= 240
    assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.05)
    assert abs(int(small.tint[3:5], 16) - 128) <= 6


def test_a_small_picture_is_not_enlarged(drawn_picture):
    small = thumbnail(drawn_picture("teal", (20, 30)))
    assert (small.width, small.height) == (20, 30)


def test_transparency_is_laid_on_white(drawn_picture):
    small = thumbnail(drawn_picture("#00000000", (40, 40), "RGBA"))
    assert decode(small.uri).getpixel((20, 20)) == (255, 255, 255)


def test_the_same_bytes_are_read_once(drawn_picture):
    first = drawn_picture("#123456", (50, 50))
    second = drawn_picture("#123456", (50, 50), loads=first.loads)
    assert thumbnail(first) == thumbnail(second)
    assert len(first.loads) == 1


@pytest.mark.parametrize(
    "error", [OSError("gone"), InputError("picture has too many pixels"), SyntaxError("broken PNG")]
)
def test_an_unreadable_picture_gives_a_placeholder_and_a_record(error, caplog):
    class Unreadable:
        key = f"unreadable {type(error).__name__}"

        def load(self) -> Image.Image:
            raise error

    with caplog.at_level("WARNING", logger="mmsrarec"):
        assert thumbnail(Unreadable()) is None
    assert str(error) in caplog.text
