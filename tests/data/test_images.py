"""Pictures: only from inside the folder, never decoded before their size is known, reasons when refused."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsrarec.data import ImageFolder, ItemContent
from mmsrarec.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    Image.fromarray(noise).save(folder / "a.jpg", quality=90)
    Image.fromarray(noise).save(folder / "sub" / "a.webp")
    Image.fromarray(noise).save(folder / "a.gif")
    Image.fromarray(noise).save(folder / "a.bmp")
    Image.fromarray(noise).save(tmp_path / "secret.png")
    return folder


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "sub/a.webp", "a.gif", "a.bmp"])
def test_good_pictures_load_as_rgb(root, name):
    picture = ImageFolder(root).picture(name)
    assert ImageFolder(root).problem(name) is None
    assert picture.load().mode == "RGB"
    assert picture.load().size == (30, 40)


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "sub/../../secret.png", "/etc/hostname", "..\\secret.png", "C:/x.png", "//host/x.png"],
)
def test_names_that_lead_outside_are_refused(root, name):
    folder = ImageFolder(root)
    assert folder.problem(name) == "image outside the folder"
    assert folder.picture(name) is None


def test_symlinks_that_lead_outside_are_refused(root):
    (root / "link.png").symlink_to(root.parent / "secret.png")
    (root / "up").symlink_to(root.parent)
    (root / "inside.png").symlink_to(root / "a.png")
    folder = ImageFolder(root)
    assert folder.problem("link.png") == folder.problem("up/secret.png") == "image outside the folder"
    assert folder.picture("link.png") is None
    assert folder.picture("inside.png").load().size == (30, 40)


def test_a_link_swapped_in_after_the_check_is_refused(root):
    picture = ImageFolder(root).picture("a.png")
    (root / "a.png").unlink()
    (root / "a.png").symlink_to(root.parent / "secret.png")
    with pytest.raises(InputError, match="outside the folder"):
        picture.load()
    with pytest.raises(InputError, match="outside the folder"):
        _ = picture.key


def test_the_root_itself_may_be_a_link(root):
    (root.parent / "alias").symlink_to(root)
    assert ImageFolder(root.parent / "alias").picture("a.png").load().size == (30, 40)


@pytest.mark.parametrize(
    "name", ["none.png", "sub/none.png", "a\0.png", "x" * 5000, "\ud83d.png", "a.png/more"]
)
def test_absent_files_are_missing(root, name):
    assert ImageFolder(root).problem(name) == "image missing"


def test_addresses_are_not_fetched(root):
    assert ImageFolder(root).problem("https://example.org/a.png") == "image is a URL"


def test_folders_and_pipes_are_not_opened(root):
    os.mkfifo(root / "pipe.png")
    folder = ImageFolder(root)
    assert folder.problem("pipe.png") == "image unreadable"
    assert folder.problem("sub") == "image unreadable"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "sub/a.webp", "a.gif", "a.bmp"])
def test_truncated_pictures_have_a_reason(root, name):
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: len(content) * 2 // 3])
    folder = ImageFolder(root)
    assert folder.problem(name) in ("image truncated", "image unreadable")
    with pytest.raises(InputError, match=f"'{name}': image (truncated|unreadable)"):
        folder.picture(name).load()


def test_bytes_after_the_end_do_no_harm(root):
    with open(root / "a.jpg", "ab") as handle:
        handle.write(b"\0" * 5000)
    assert ImageFolder(root).problem("a.jpg") is None


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0"]
)
def test_foreign_files_are_unreadable(root, content):
    (root / "x.png").write_bytes(content)
    assert ImageFolder(root).problem("x.png") == "image unreadable"


def test_a_damaged_middle_is_named_when_loaded(root):
    content = bytearray((root / "a.png").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (root / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"'a\.png': image unreadable"):
        ImageFolder(root).picture("a.png").load()


@pytest.mark.parametrize("size", [(8_000, 8_000), (12_000, 8_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_are_refused_by_their_header(root, size, recwarn):
    (root / "bomb.png").write_bytes(png_header(*size))
    folder = ImageFolder(root)
    assert folder.problem("bomb.png") == "image too large"
    with pytest.raises(InputError, match="image too large"):
        folder.picture("bomb.png").load()
    assert not recwarn.list


def test_limits_can_be_set(root):
    assert ImageFolder(root, max_pixels=1199).problem("a.png") == "image too large"
    assert ImageFolder(root, max_pixels=1200).problem("a.png") is None
    assert ImageFolder(root, max_bytes=100).problem("a.png") == "image too large"
    with pytest.raises(InputError, match="max_pixels must be 1 or more, got 0"):
        ImageFolder(root, max_pixels=0)


def test_the_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="images must be an existing folder"):
        ImageFolder(tmp_path / "none")


def test_transparency_is_white_and_orientation_is_applied(root):
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(root / "clear.png")
    assert ImageFolder(root).picture("clear.png").load().getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0] + [0] * 765)
    palette.save(root / "palette.png", transparency=0)
    assert ImageFolder(root).picture("palette.png").load().getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save(root / "turned.jpg", exif=exif)
    assert ImageFolder(root).picture("turned.jpg").load().size == (2, 4)


def test_deep_grey_keeps_its_brightness(root):
    Image.fromarray(np.full((2, 2), 128 * 257, dtype=np.uint16)).save(root / "deep.png")
    assert ImageFolder(root).picture("deep.png").load().getpixel((0, 0)) == (128, 128, 128)


def test_keys_follow_the_bytes(root):
    buffer = BytesIO((root / "a.png").read_bytes())
    (root / "copy.png").write_bytes(buffer.getvalue())
    folder = ImageFolder(root)
    assert folder.picture("a.png").key == folder.picture("copy.png").key != folder.picture("a.jpg").key
    assert folder.picture("a.png") is folder.picture("a.png")


def test_content_keys_tell_apart_what_differs(root):
    picture = ImageFolder(root).picture("a.png")
    contents = [
        ItemContent("ab", ""),
        ItemContent("a", "b"),
        ItemContent("ab", "", ("c",)),
        ItemContent("ab", "", ("c", "")),
        ItemContent("ab", "", (), picture),
        ItemContent("ab", "", (), ImageFolder(root).picture("a.jpg")),
        ItemContent("a\ud83d\0b"),
    ]
    assert len({content.key for content in contents}) == len(contents)
    assert ItemContent("ab", "", (), picture).key == contents[4].key
