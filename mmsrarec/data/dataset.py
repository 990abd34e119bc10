"""The dataset: validated interactions and items with dense ids, and the maps back to the ids that came in.

First station of the flow: everything later reads from here and never touches a raw table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl

from mmsrarec.data.bad_rows import BadRows
from mmsrarec.data.building import build_catalogue, build_events
from mmsrarec.data.content import ItemContent, join_text
from mmsrarec.data.growing import add_interactions, add_items
from mmsrarec.data.histories import Histories
from mmsrarec.data.id_map import IdLookups
from mmsrarec.data.images import ImageFolder
from mmsrarec.data.splitting import hold_out_last, k_core, split
from mmsrarec.data.storing import read_dataset_folder, write_dataset_folder
from mmsrarec.data.tables import Table, check_mapping, frame_kind
from mmsrarec.errors import InputError
from mmsrarec.storage import fingerprint

__all__ = ["Dataset"]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Dataset(IdLookups):
    """Interactions and items, checked; made by one of the ``from_`` methods or a reader.

    Parameters
    ----------
    interactions
        Columns ``user`` and ``item`` (int32, dense ids), ``timestamp`` (int64 or float64), and ``rating``
        (float32, may be null) if there were ratings. Sorted by user, time, order of the input. A user meets
        an item at most once: of repeated events the first is kept, the others are counted as bad rows.
    items
        Row `i` is item `i`: ``title``, ``description`` (String, ``""`` if absent), ``categories`` (list of
        String), ``image`` (String, path inside the image folder, null if there is none).
    user_ids, item_ids
        The ids that came in, in their own type, at the position of the dense id. Users are in ascending
        order, items in the order of the items table (ascending without one).
    images
        Where pictures lie.
    bad_rows
        What could not be used.
    frame_kind
        ``"polars"``, ``"pandas"`` or ``"pyarrow"``: what the interactions came as, and what recommendations go
        out as. Files count as Polars.

    Examples
    --------
    >>> interactions = pl.DataFrame({"user_id": ["u", "u"], "item_id": [7, 3], "timestamp": [2, 1]})
    >>> data = Dataset.from_frames(interactions, pl.DataFrame({"item_id": [7, 3], "title": ["Mug", "Hat"]}))
    >>> data
    Dataset(users=1, items=2, interactions=2, images=None, bad_rows=0)
    >>> data.item_ids.gather(data.histories()[0]).to_list()
    [3, 7]
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    user_ids: pl.Series
    item_ids: pl.Series
    images: ImageFolder | None = None
    bad_rows: BadRows = field(default_factory=BadRows)
    frame_kind: str = "polars"

    def __repr__(self) -> str:
        images = None if self.images is None else int(self.items["image"].is_not_null().sum())
        return (
            f"Dataset(users={self.n_users}, items={self.n_items}, interactions={self.n_interactions}, "
            f"images={images}, bad_rows={self.bad_rows.total})"
        )

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items, with or without events."""
        return len(self.item_ids)

    @property
    def n_interactions(self) -> int:
        """Number of events."""
        return len(self.interactions)

    @classmethod
    def from_frames(
        cls,
        interactions: Any,
        items: Any = None,
        *,
        images: PathLike | ImageFolder | None = None,
        columns: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> Dataset:
        """Build from frames: pandas, Polars (also lazy), PyArrow, or any that narwhals accepts.

        Parameters
        ----------
        interactions
            Columns user_id, item_id, timestamp and, if there, rating. Ids are integers or strings; a
            timestamp is a number (Unix time in seconds, milli-, micro- or nanoseconds, or a position in the
            history), a date or a datetime.
        items
            Columns item_id and, if there, title, description, categories (list, or text with ``|`` between)
            and image (path inside `images`). ``None``: the items are those of the interactions.
        images
            Folder of the pictures. If the items name none, ``<item_id>.jpg`` (.jpeg, .png, .webp, .gif, .bmp)
            is looked for.
        columns
            Standard name → the name it has here, for example ``{"item_id": "asin"}``; applies to both frames.
        strict
            Raise at bad rows. By default they are dropped and counted in ``bad_rows``, and one
            :class:`~mmsrarec.data.BadRowsWarning` shows the counts.

        Returns
        -------
        Dataset
            All rows that could be used.

        Raises
        ------
        InputError
            If a needed column is missing or has an impossible type, `images` is no folder, or `strict` and
            there are bad rows.
        """
        tables = [Table.from_frame(interactions, "interactions", columns)]
        if items is not None:
            tables.append(Table.from_frame(items, "items", columns))
        dataset = cls.from_tables(tables, images, columns, strict)
        return replace(dataset, frame_kind=frame_kind(interactions))

    @classmethod
    def from_csv(
        cls,
        interactions: PathLike,
        items: PathLike | None = None,
        *,
        images: PathLike | ImageFolder | None = None,
        columns: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> Dataset:
        """Build from CSV or TSV files, compressed with gzip or zstd or not.

        Ids are integers if all of the column are whole numbers without leading zeros, else strings. Bytes
        that are not UTF-8 become U+FFFD. Parameters, result and errors as in :meth:`from_frames`.
        """
        tables = [Table.from_csv(interactions, "interactions", columns)]
        if items is not None:
            tables.append(Table.from_csv(items, "items", columns))
        return cls.from_tables(tables, images, columns, strict)

    @classmethod
    def from_parquet(
        cls,
        interactions: PathLike,
        items: PathLike | None = None,
        *,
        images: PathLike | ImageFolder | None = None,
        columns: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> Dataset:
        """Build from Parquet files. Parameters, result and errors as in :meth:`from_frames`."""
        tables = [Table.from_parquet(interactions, "interactions", columns)]
        if items is not None:
            tables.append(Table.from_parquet(items, "items", columns))
        return cls.from_tables(tables, images, columns, strict)

    @classmethod
    def from_tables(
        cls,
        tables: Sequence[Table],
        images: PathLike | ImageFolder | None,
        columns: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> Dataset:
        """Build from the raw table of interactions and, if there is one, that of items; what readers call."""
        check_mapping(columns, tables)
        folder = _image_folder(images)
        item_ids = items = None
        if len(tables) == 2:
            item_ids, items = build_catalogue(tables[1], folder)
        events, user_ids, item_ids = build_events(tables[0], item_ids)
        if items is None:
            _, items = build_catalogue(Table("items", {"item_id": item_ids}), folder)
        bad_rows = sum((table.bad_rows for table in reversed(tables)), BadRows())
        bad_rows.report(strict=strict)
        return cls(events.drop("row"), items, user_ids, item_ids, folder, bad_rows)

    @cached_property
    def _histories(self) -> Histories:
        counts = np.bincount(self.interactions["user"].to_numpy(), minlength=self.n_users)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        items = self.interactions["item"].to_numpy(writable=True)
        return Histories(indptr, items, self.interactions["timestamp"].to_numpy(writable=True))

    def histories(self) -> Histories:
        """Give the item sequences of all users, oldest event first; computed once.

        Returns
        -------
        Histories
            ``histories()[u]`` is the int32 array of the dense items of user `u`.
        """
        return self._histories

    def item_text(self, item: int) -> str:
        """Give all text of a dense item, ``"title. description. Categories: a, b."``, less absent parts."""
        title, description, categories, _ = self._item_row(item)
        return join_text(title, description, categories)

    def item_content(self, item: int) -> ItemContent:
        """Give text and picture of a dense item; the picture is not opened yet."""
        title, description, categories, image = self._item_row(item)
        picture = self.images.picture(image) if self.images is not None else None
        return ItemContent(title, description, tuple(categories), picture)

    def _item_row(self, item: int) -> tuple[Any, ...]:
        # -1 means unknown here, so it must not give the last item.
        if not 0 <= item < self.n_items:
            raise InputError(f"item must be a dense id from 0 to {self.n_items - 1}, got {item}.")
        return self.items.row(int(item))

    def with_items(
        self,
        items: Any,
        *,
        images: PathLike | ImageFolder | None = None,
        columns: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> Dataset:
        """Add new items behind the old ones; no dense id changes.

        Parameters
        ----------
        items
            New items, as in :meth:`from_frames`, or the path of a CSV, TSV or Parquet file of them. Ids that are
            there already are bad rows.
        images
            Their folder, if this dataset has none yet. It must be the same one otherwise.
        columns, strict
            As in :meth:`from_frames`.

        Returns
        -------
        Dataset
            The larger catalogue with the same interactions.

        Raises
        ------
        InputError
            As :meth:`from_frames`, or if `images` is another folder than before.
        """
        return add_items(self, items, _image_folder(images), columns, strict)

    def with_interactions(
        self, interactions: Any, *, columns: Mapping[str, str] | None = None, strict: bool = False
    ) -> Dataset:
        """Add new events and, behind the old ones, new users; no dense id changes.

        Parameters
        ----------
        interactions
            Events, as in :meth:`from_frames`, or the path of a CSV, TSV or Parquet file of them. Events that are
            there already, with this or another time, are bad rows.
        columns, strict
            As in :meth:`from_frames`.

        Returns
        -------
        Dataset
            All events, sorted again.

        Raises
        ------
        InputError
            As :meth:`from_frames`.
        """
        return add_interactions(self, interactions, columns, strict)

    def k_core(self, k: int, *, items: bool = True) -> Dataset:
        """Keep only users and items with at least `k` events each, dropping until all have them.

        Parameters
        ----------
        k
            Least number of events, 1 or more.
        items
            ``False`` drops users only and keeps the whole catalogue.

        Returns
        -------
        Dataset
            With dense ids of its own.

        Raises
        ------
        InputError
            If `k` is below 1.
        """
        return k_core(self, k, items=items)

    def split(
        self,
        *,
        by: Literal["user", "time"] = "user",
        ratios: Sequence[float] = (8, 1, 1),
        seed: int = 0,
    ) -> tuple[Dataset, Dataset, Dataset]:
        """Split into train, validation and test, which share the catalogue and have their own users.

        Parameters
        ----------
        by
            ``"user"``: each user, drawn at random, is in one part with all events. ``"time"``: all events
            are cut at two moments; a user can be in several parts, events of one moment never are.
        ratios
            Shares of the three parts, of users or of events. A share of 0 gives an empty part.
        seed
            Seed of the draw; without effect on ``by="time"``.

        Returns
        -------
        tuple of Dataset
            Train, validation, test.

        Raises
        ------
        InputError
            If `by` or `ratios` is not allowed.
        """
        return split(self, by, ratios, seed)

    def hold_out_last(self, n: int = 1) -> tuple[Dataset, Histories]:
        """Hold out the last `n` events of each user.

        Parameters
        ----------
        n
            Number of events, 1 or more.

        Returns
        -------
        rest : Dataset
            All other events; the same users and dense ids.
        held_out : Histories
            By the same dense users; empty for users with `n` events or fewer, who keep theirs.

        Raises
        ------
        InputError
            If `n` is below 1.
        """
        return hold_out_last(self, n)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all content: events, ids, texts, and name and size of each picture."""
        names = self.items["image"].to_list()
        sizes = [None if self.images is None else self.images.size(name) for name in names]
        texts = [self.items[column].to_list() for column in ("title", "description", "categories")]
        events = [self.interactions[column].to_numpy() for column in self.interactions.columns]
        ids = [self.user_ids.to_list(), self.item_ids.to_list()]
        return fingerprint(self.interactions.columns, events, ids, texts, names, sizes)

    def save(self, folder: PathLike) -> None:
        """Write the tables as Parquet into a folder that is whole or absent; pictures stay where they are.

        Raises
        ------
        StoredFileError
            If the folder cannot be written or holds something else.
        """
        write_dataset_folder(self, folder)

    @classmethod
    def load(cls, folder: PathLike, *, images: PathLike | ImageFolder | None = None) -> Dataset:
        """Open a saved dataset.

        Parameters
        ----------
        folder
            As given to :meth:`save`.
        images
            Where the pictures lie now. Default: where they lay when it was saved; if that folder is gone, the
            items have no pictures.

        Returns
        -------
        Dataset
            Equal to the saved one, with an empty ``bad_rows``.

        Raises
        ------
        StoredFileError
            If the folder is missing, damaged or foreign.
        """
        fields, root = read_dataset_folder(folder)
        if images is None and root is not None and os.path.isdir(root):
            images = root
        return cls(**fields, images=_image_folder(images))


def _image_folder(images: PathLike | ImageFolder | None) -> ImageFolder | None:
    return images if images is None or isinstance(images, ImageFolder) else ImageFolder(images)
