"""A generated shop: a small multimodal dataset made by rule, for demos, tests and examples.

It is invented, says so, and is no evidence about real shoppers. Its hidden facts are known, so tests can ask
whether a model finds in the pictures what is only there, and in the text what is only there.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from mmsrarec.data.dataset import Dataset
from mmsrarec.data.drawing import COLOURS, PATTERNS, draw_product
from mmsrarec.data.images import ImageFolder
from mmsrarec.data.silhouettes import KINDS, SHAPES
from mmsrarec.data.wording import BRANDS, KIND_WORDS, SEASONS, write_description, write_title
from mmsrarec.errors import InputError
from mmsrarec.progress import track
from mmsrarec.storage import atomic_path

__all__ = ["catalogue_facts", "catalogue_tastes", "make_catalogue"]

# Each use of the seed has a stream of its own, so that one more item changes no user's taste and so on.
(
    _ITEM_STREAM,
    _LOOK_STREAM,
    _TASTE_STREAM,
    _EVENT_STREAM,
    _PICTURE_STREAM,
    _TEXT_STREAM,
    _APPEAL_STREAM,
) = range(7)
_START = 1_704_067_200  # 2024-01-01 00:00:00 UTC
_DAY = 86_400
_DRIFT_SHARE = 0.25
_WEIGHTS = {
    "colour": 3.0,
    "pattern": 1.5,
    "department": 1.8,
    "season": 1.4,
    "follows": 2.6,
    "popularity": 0.5,
}
_POOL = 256
_CHUNK_USERS = 1024


def make_catalogue(
    items: int = 60,
    users: int = 120,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    *,
    pictures: bool = True,
) -> Dataset:
    """Make a generated shop of clothing and homeware with pictures, texts and shoppers.

    The picture alone shows colour, pattern and shape; the text alone says material, season, occasion and brand;
    both tell the kind of product. Shoppers have tastes in colour, pattern, department and season
    (:func:`catalogue_tastes`); some change their colour half-way; and some kinds are often bought after others,
    such as a scarf after a coat.

    Parameters
    ----------
    items
        Number of products, 2 or more.
    users
        Number of shoppers, 1 or more; each has 3 to about 14 events, at most half the products.
    seed
        The same seed gives the same bytes. The first products of a larger shop are those of a smaller one.
    folder
        Where ``items.csv``, ``interactions.csv`` and ``images/`` are written. By default a temporary folder that
        is removed with the dataset.
    pictures
        ``False`` makes a shop without pictures, for large ones.

    Returns
    -------
    Dataset
        Ids are ``"i1"`` … and ``"u1"`` …

    Raises
    ------
    InputError
        If a number is too small.
    StoredFileError
        If `folder` cannot be written.

    Examples
    --------
    >>> data = make_catalogue(items=4, users=3, seed=0)
    >>> data.n_items, data.n_users, data.item_content(0).picture.load().size
    (4, 3, (224, 224))
    """
    for name, value, least in (("items", items, 2), ("users", users, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"{name} must be a whole number of {least} or more, got {value!r}.")
    facts = catalogue_facts(items, seed)
    temporary = folder is None
    root = Path(tempfile.mkdtemp(prefix="mmsrarec-shop-")) if folder is None else Path(folder)
    item_table = _write_texts(facts, seed, pictures)
    interactions = _simulate(facts, catalogue_tastes(users, seed), seed)
    images = _draw_pictures(facts, seed, root / "images") if pictures else None
    for name, frame in (("items.csv", item_table), ("interactions.csv", interactions)):
        with atomic_path(root / name) as path:
            frame.write_csv(path)
    data = Dataset.from_csv(root / "interactions.csv", root / "items.csv", images=images)
    if temporary and images is not None:
        weakref.finalize(images, _remove, root, os.getpid())
    elif temporary:
        _remove(root, os.getpid())
    return data


def catalogue_facts(items: int = 60, seed: int = 0) -> pl.DataFrame:
    """Tell the hidden facts of the products of :func:`make_catalogue`.

    Parameters
    ----------
    items, seed
        As given to :func:`make_catalogue`.

    Returns
    -------
    polars.DataFrame
        Row `i` is dense item `i`: item_id; kind; colour, pattern, shape (in the picture only); department,
        category, material, season, occasion, brand (in the text only).

    Examples
    --------
    >>> catalogue_facts(3, seed=0).columns[:5]
    ['item_id', 'kind', 'colour', 'pattern', 'shape']
    """
    kinds, colours, patterns = (
        _evenly(choices, items, seed, order)
        for order, choices in enumerate((KINDS, tuple(COLOURS), PATTERNS))
    )
    rows = []
    for item in range(items):
        draw = np.random.default_rng([seed, _ITEM_STREAM, item])
        kind = kinds[item]
        words = KIND_WORDS[kind]
        rows.append(
            {
                "item_id": f"i{item + 1}",
                "kind": kind,
                "colour": colours[item],
                "pattern": patterns[item],
                "shape": _one_of(SHAPES[kind], draw),
                "department": words.department,
                "category": words.category,
                "material": _one_of(words.materials, draw),
                "season": _one_of(SEASONS, draw),
                "occasion": _one_of(words.occasions, draw),
                "brand": _one_of(BRANDS, draw),
            }
        )
    return pl.DataFrame(rows)


def catalogue_tastes(users: int = 120, seed: int = 0) -> pl.DataFrame:
    """Tell the hidden tastes of the shoppers of :func:`make_catalogue`.

    Parameters
    ----------
    users, seed
        As given to :func:`make_catalogue`.

    Returns
    -------
    polars.DataFrame
        user_id; colour; later_colour (the favourite in the second half of the history, often the same); pattern;
        department; season.

    Examples
    --------
    >>> catalogue_tastes(2, seed=0)["user_id"].to_list()
    ['u1', 'u2']
    """
    departments = tuple(dict.fromkeys(words.department for words in KIND_WORDS.values()))
    rows = []
    for user in range(users):
        draw = np.random.default_rng([seed, _TASTE_STREAM, user])
        colour = _one_of(tuple(COLOURS), draw)
        drifts = draw.random() < _DRIFT_SHARE
        others = tuple(name for name in COLOURS if name != colour)
        later = _one_of(others, draw)
        rows.append(
            {
                "user_id": f"u{user + 1}",
                "colour": colour,
                "later_colour": later if drifts else colour,
                "pattern": _one_of(PATTERNS, draw),
                "department": _one_of(departments, draw),
                "season": _one_of(SEASONS, draw),
            }
        )
    return pl.DataFrame(rows)


def _evenly(choices: tuple[str, ...], count: int, seed: int, order: int) -> list[str]:
    """Deal choices out in shuffled rounds, so that each comes up equally often in a shop of any size."""
    dealt: list[str] = []
    while len(dealt) < count:
        draw = np.random.default_rng([seed, _LOOK_STREAM, order, len(dealt)])
        dealt += [choices[index] for index in draw.permutation(len(choices))]
    return dealt[:count]


def _one_of(choices: tuple[str, ...], draw: np.random.Generator) -> str:
    return choices[draw.integers(len(choices))]


def _write_texts(facts: pl.DataFrame, seed: int, pictures: bool) -> pl.DataFrame:
    rows = []
    for item, fact in enumerate(facts.iter_rows(named=True)):
        draw = np.random.default_rng([seed, _TEXT_STREAM, item])
        kind, material, season = fact["kind"], fact["material"], fact["season"]
        rows.append(
            {
                "item_id": fact["item_id"],
                "title": write_title(kind, material, fact["brand"]),
                "description": write_description(kind, material, season, fact["occasion"], draw),
                "categories": "|".join((fact["department"], fact["category"], season.capitalize())),
                "image": f"{fact['item_id']}.png" if pictures else None,
            }
        )
    schema = dict.fromkeys(("item_id", "title", "description", "categories", "image"), pl.String)
    return pl.DataFrame(rows, schema=schema)


def _draw_pictures(facts: pl.DataFrame, seed: int, folder: Path) -> ImageFolder:
    for item, fact in enumerate(track(facts.to_dicts(), "drawing pictures")):
        draw = np.random.default_rng([seed, _PICTURE_STREAM, item])
        image = draw_product(fact["kind"], fact["shape"], fact["colour"], fact["pattern"], draw)
        encoded = io.BytesIO()
        image.save(encoded, "PNG")
        with atomic_path(folder / f"{fact['item_id']}.png") as path:
            path.write_bytes(encoded.getvalue())
    return ImageFolder(folder)


def _simulate(facts: pl.DataFrame, tastes: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Let every shopper choose one product after the other."""
    popularity = np.random.default_rng([seed, _APPEAL_STREAM]).standard_normal(len(facts))
    appeal = _WEIGHTS["popularity"] * popularity
    frames = []
    for chunk, start in enumerate(range(0, len(tastes), _CHUNK_USERS)):
        draw = np.random.default_rng([seed, _EVENT_STREAM, chunk])
        frames.append(_simulate_chunk(facts, appeal, tastes[start : start + _CHUNK_USERS], draw))
    return pl.concat(frames)


def _simulate_chunk(
    facts: pl.DataFrame,
    appeal: npt.NDArray[np.float64],
    tastes: pl.DataFrame,
    draw: np.random.Generator,
) -> pl.DataFrame:
    n_items, n_users = len(facts), len(tastes)
    most = max(n_items // 2, 1)
    lengths = np.minimum(3 + draw.poisson(4, n_users), most)
    chosen = np.full((n_users, int(lengths.max())), -1)
    liked = _LikedBy(facts, tastes)
    for step in range(chosen.shape[1]):
        if n_items <= _POOL:
            pool = np.broadcast_to(np.arange(n_items), (n_users, n_items))
        else:
            pool = draw.integers(n_items, size=(n_users, _POOL))
        score = liked.score(pool, late=2 * step >= lengths) + appeal[pool] + draw.gumbel(size=pool.shape)
        if step:
            score += liked.follows(pool, chosen[:, step - 1])
        for earlier in range(step):
            score[pool == chosen[:, earlier, None]] = -np.inf
        chosen[:, step] = np.take_along_axis(pool, score.argmax(axis=1)[:, None], axis=1)[:, 0]
    first_day = draw.integers(0, 365 * _DAY, n_users)
    gaps = draw.exponential(9 * _DAY, chosen.shape).astype(np.int64) + 60
    times = _START + first_day[:, None] + np.cumsum(gaps, axis=1)
    kept = np.arange(chosen.shape[1]) < lengths[:, None]
    rows = np.nonzero(kept)[0]
    return pl.DataFrame(
        {
            "user_id": tastes["user_id"].gather(rows),
            "item_id": facts["item_id"].gather(chosen[kept]),
            "timestamp": times[kept],
        }
    )


class _LikedBy:
    """How much each shopper likes each product of a pool, shape (users, pool)."""

    def __init__(self, facts: pl.DataFrame, tastes: pl.DataFrame) -> None:
        self._items = {name: facts[name].to_numpy() for name in ("colour", "pattern", "department", "season")}
        self._items = {name: _coded(values) for name, values in self._items.items()}
        self._tastes = {name: _coded(tastes[name].to_numpy()) for name in (*self._items, "later_colour")}
        self._kind = _coded(facts["kind"].to_numpy())
        self._next_kind = _coded(np.asarray([KIND_WORDS[kind].follows for kind in facts["kind"].to_list()]))

    def score(self, pool: npt.NDArray[np.int64], late: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Add up the weights of what fits; `late` says who is in the second half of the history."""
        total = np.zeros(pool.shape)
        for name, of_item in self._items.items():
            taste = self._tastes[name]
            if name == "colour":
                taste = np.where(late, self._tastes["later_colour"], taste)
            total += _WEIGHTS[name] * (of_item[pool] == taste[:, None])
        return total

    def follows(
        self, pool: npt.NDArray[np.int64], previous: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Weigh the products of the kind that is often bought after the previous one."""
        return _WEIGHTS["follows"] * (self._kind[pool] == self._next_kind[previous][:, None])


_CODES = {
    name: code
    for code, name in enumerate(
        dict.fromkeys(
            [*COLOURS, *PATTERNS, *SEASONS, *KINDS, *(words.department for words in KIND_WORDS.values()), ""]
        )
    )
}


def _coded(names: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    return np.fromiter((_CODES[name] for name in names), np.int64, len(names))


def _remove(root: Path, owner: int) -> None:
    # A forked worker inherits the finalizer but not the right to delete the folder.
    if os.getpid() == owner:
        shutil.rmtree(root, ignore_errors=True)
