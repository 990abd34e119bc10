"""Readers of published data sets as they are downloaded: MovieLens, MicroLens, Amazon Reviews 2023.

Each finds its files, gives their columns the standard names, and lets :class:`~mmsrarec.data.Dataset` judge the
rows.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from mmsrarec.data.dataset import Dataset
from mmsrarec.data.images import ImageFolder
from mmsrarec.data.tables import Table, existing_file, fields_of_any_size, read_delimited
from mmsrarec.errors import InputError

__all__ = ["read_microlens", "read_movielens"]

PathLike = str | os.PathLike[str]
_NO_GENRES = "(no genres listed)"
_CSV_COLUMNS = {"user_id": "userId", "item_id": "movieId", "categories": "genres"}


def read_movielens(
    folder: PathLike, *, images: PathLike | ImageFolder | None = None, strict: bool = False
) -> Dataset:
    r"""Read a MovieLens folder.

    Known forms: ``ratings.csv`` with ``movies.csv`` (ml-latest, ml-25m, ml-32m), ``ratings.dat`` with
    ``movies.dat`` (ml-1m, ml-10m), ``u.data`` with ``u.item`` (ml-100k), and ``interactions.csv`` with
    ``items.csv``, already in standard columns. Every rating is an event; genres become categories.

    Parameters
    ----------
    folder
        The unpacked folder, or one of its rating files.
    images
        Folder of posters, named by the items or ``<movie id>.jpg``. Default: ``images/`` in `folder`, if there.
    strict
        As in :meth:`~mmsrarec.data.Dataset.from_frames`.

    Returns
    -------
    Dataset
        With ratings.

    Raises
    ------
    InputError
        If no known file is there, one is damaged, or `strict` and there are bad rows.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> _ = (root / "ratings.dat").write_text("1::661::3::978302109\n")
    >>> _ = (root / "movies.dat").write_text("661::James and the Giant Peach (1996)::Animation|Children's\n")
    >>> read_movielens(root).item_text(0)
    "James and the Giant Peach (1996). Categories: Animation, Children's."
    """
    root = Path(folder)
    root = root.parent if root.is_file() else root
    if images is None and (root / "images").is_dir():
        images = root / "images"
    tables = _movielens_tables(root)
    if len(tables) == 2 and "categories" in tables[1].columns:
        genres = tables[1].columns["categories"]
        tables[1].columns["categories"] = genres.str.replace(_NO_GENRES, "", literal=True)
    return Dataset.from_tables(tables, images, strict=strict)


def _movielens_tables(root: Path) -> list[Table]:
    """Read whichever form is there."""
    for ratings_name, movies_name in (("interactions.csv", "items.csv"), ("ratings.csv", "movies.csv")):
        if (root / ratings_name).is_file():
            tables = [Table.from_csv(root / ratings_name, "interactions", _CSV_COLUMNS)]
            if (root / movies_name).is_file():
                tables.append(Table.from_csv(root / movies_name, "items", _CSV_COLUMNS))
            return tables
    names = ("user_id", "item_id", "rating", "timestamp")
    if (root / "ratings.dat").is_file():
        # The separator is "::": read with ":", every second column is empty.
        header = [part for name in names for part in (name, f"after {name}")][:-1]
        ratings, malformed = read_delimited(
            root / "ratings.dat", "interactions", separator=":", header=header
        )
        movies = _latin_table(root / "movies.dat", "::", {"item_id": 0, "title": 1, "categories": 2})
    elif (root / "u.data").is_file():
        ratings, malformed = read_delimited(root / "u.data", "interactions", separator="\t", header=names)
        movies = _movies_of_100k(root)
    else:
        raise InputError(
            f"folder must hold ratings.csv, ratings.dat, u.data or interactions.csv, got {str(root)!r}."
        )
    tables = [Table.from_text_frame(ratings, "interactions", malformed=malformed)]
    return tables if movies is None else [*tables, Table.from_text_frame(movies, "items")]


def _latin_table(path: Path, separator: str, fields: dict[str, int]) -> pl.DataFrame | None:
    if not path.is_file():
        return None
    # Published in Latin-1, without quoting.
    lines = [line.split(separator) for line in path.read_text("latin-1").split("\n") if line.strip()]
    short = next((line for line in lines if len(line) <= max(fields.values())), None)
    if short is not None:
        raise InputError(f"{path} has a line of {len(short)} fields, {short[0]!r:.60}; download it again.")
    columns = {name: [line[place].strip("\r") for line in lines] for name, place in fields.items()}
    return pl.DataFrame(columns, schema=dict.fromkeys(fields, pl.String))


_GENRES_OF_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)


def _movies_of_100k(root: Path) -> pl.DataFrame | None:
    places = {"item_id": 0, "title": 1, **{name: 5 + place for place, name in enumerate(_GENRES_OF_100K)}}
    movies = _latin_table(root / "u.item", "|", places)
    if movies is None:
        return None
    flags = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in _GENRES_OF_100K[1:]]
    return movies.select(
        "item_id", "title", categories=pl.concat_str(flags, separator="|", ignore_nulls=True)
    )


def read_microlens(
    pairs: PathLike,
    titles: PathLike | None = None,
    *,
    images: PathLike | ImageFolder | None = None,
    strict: bool = False,
) -> Dataset:
    r"""Read MicroLens.

    Parameters
    ----------
    pairs
        ``MicroLens-50k_pairs.csv`` and the like: user, item, timestamp, with or without a header, separated by
        commas, tabs or spaces; or ``_pairs.tsv``: user, tab, items in time order (the timestamp becomes the
        position). Compressed with gzip or not.
    titles
        ``MicroLens-50k_titles.csv`` and the like: item, title.
    images
        Folder of covers, ``<item>.jpg``.
    strict
        As in :meth:`~mmsrarec.data.Dataset.from_frames`.

    Returns
    -------
    Dataset
        Without ratings.

    Raises
    ------
    InputError
        If a file is missing or of another form, or `strict` and there are bad rows.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.tsv"
    >>> _ = path.write_text("7\t30 10 20\n")
    >>> data = read_microlens(path)
    >>> data.item_ids.gather(data.histories()[0]).to_list()
    [30, 10, 20]
    """
    path = existing_file(pairs, "pairs")
    cells, separator = _first_cells(path)
    if len(cells) == 2:
        table = Table.from_text_frame(_sequences(path), "interactions")
    elif len(cells) == 3:
        table = _pairs(path, separator, cells)
    else:
        raise InputError(f"pairs must have the columns user, item, timestamp, got {len(cells)} in {path}.")
    tables = [table]
    if titles is not None:
        tables.append(Table.from_text_frame(_titles(existing_file(titles, "titles")), "items"))
    return Dataset.from_tables(tables, images, strict=strict)


def open_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, gzipped or not; bytes that are not UTF-8 become U+FFFD."""
    with open(path, "rb") as start:
        zipped = start.read(2) == b"\x1f\x8b"
    opener = gzip.open if zipped else open
    try:
        with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as lines:
            yield from lines
    except (OSError, EOFError) as error:
        raise InputError(f"{path} could not be read ({error}); it is damaged or cut off.") from error


def _first_cells(path: Path) -> tuple[list[str], str]:
    line = next(open_lines(path), "").lstrip("\ufeff").rstrip("\r\n")
    separator = next((mark for mark in ("\t", ",", " ") if mark in line), ",")
    return line.split(separator), separator


def _pairs(path: Path, separator: str, cells: list[str]) -> Table:
    """Read user, item, timestamp, whether the first line names them or not."""
    names = ("user_id", "item_id", "timestamp")
    header = names if cells[0].strip().isdigit() else None
    frame, malformed = read_delimited(path, "pairs", separator=separator, header=header)
    frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    return Table.from_text_frame(frame, "interactions", malformed=malformed)


def _sequences(path: Path) -> pl.DataFrame:
    """Read one user a line: user, tab, items in time order."""
    users: list[str] = []
    items: list[str] = []
    positions: list[str] = []
    for line in open_lines(path):
        user, _, sequence = line.strip("\ufeff\r\n").partition("\t")
        if not sequence.strip() or not user.strip().isdigit():
            continue
        for position, item in enumerate(sequence.split()):
            users.append(user.strip())
            items.append(item)
            positions.append(str(position))
    if not users:
        raise InputError(f"pairs: {path} holds no line of the form user, tab, items.")
    return pl.DataFrame({"user_id": users, "item_id": items, "timestamp": positions})


def _titles(path: Path) -> pl.DataFrame:
    """Read item, title; a title may hold the separator, quoted or not."""
    _, separator = _first_cells(path)
    with fields_of_any_size():
        lines = [values for values in csv.reader(open_lines(path), delimiter=separator) if values]
    if not lines or max(map(len, lines)) < 2:
        raise InputError(f"titles must have the columns item, title, got another form in {path}.")
    lines[0][0] = lines[0][0].lstrip("\ufeff")
    rows = [(values[0], separator.join(values[1:])) for values in lines]
    named = not rows[0][0].strip().isdigit()
    return pl.DataFrame(rows[named:], schema={"item_id": pl.String, "title": pl.String}, orient="row")
