"""Pictures inside a page: small JPEGs as data URIs, so that the page needs nothing but itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from PIL import Image

from mmsrarec.errors import MmsrarecError
from mmsrarec.progress import logger

if TYPE_CHECKING:
    from mmsrarec.data import Picture

__all__ = ["Thumbnail", "thumbnail"]

LONGEST_SIDE = 240
_JPEG_QUALITY = 84
_CACHED = 512


@dataclass(frozen=True)
class Thumbnail:
    """A small picture that travels inside the page.

    Attributes
    ----------
    uri
        ``data:image/jpeg;base64,…``.
    width, height
        Pixels; neither is over the side asked for, 240 by default.
    tint
        Mean colour of its edge as ``#rrggbb``, for the area around it.
    """

    uri: str
    width: int
    height: int
    tint: str


def thumbnail(picture: Picture | None, longest_side: int = LONGEST_SIDE) -> Thumbnail | None:
    """Shrink a picture.

    Parameters
    ----------
    picture
        Anything with ``load()`` (giving a Pillow image) and ``key``; ``None`` gives ``None``.
    longest_side
        Most pixels of the longer side; a smaller picture keeps its size.

    Returns
    -------
    Thumbnail or None
        ``None`` also where the picture cannot be read: the page shows a placeholder, the log says why.

    Examples
    --------
    >>> thumbnail(None) is None
    True
    """
    if picture is None:
        return None
    try:
        return _cached_thumbnail(_ByKey(picture), longest_side)
    except (MmsrarecError, OSError, ValueError, SyntaxError) as error:
        logger.warning("A picture is shown as a placeholder: %s", error)
        return None


class _ByKey:
    """A picture as a cache key: pictures with the same bytes are the same picture."""

    def __init__(self, picture: Any) -> None:
        self.picture = picture
        self.key = picture.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByKey) and self.key == other.key


@lru_cache(maxsize=_CACHED)
def _cached_thumbnail(source: _ByKey, longest_side: int) -> Thumbnail:
    image = source.picture.load()
    if "A" in image.getbands():
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A"))
        image = flat
    image = image.convert("RGB")
    image.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/jpeg;base64,{encoded}", image.width, image.height, _edge_colour(image))


def _edge_colour(image: Image.Image) -> str:
    sides = Image.new("RGB", (2, image.height))
    sides.paste(image.crop((0, 0, 1, image.height)), (0, 0))
    sides.paste(image.crop((image.width - 1, 0, image.width, image.height)), (1, 0))
    return "#" + sides.resize((1, 1), Image.Resampling.BOX).tobytes().hex()
