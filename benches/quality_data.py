"""The sets that quality is measured on, split once: M (microlens-50k), P (movielens-posters) and K (ml-100k).

M and P lie in the data folder. K has ids, titles and genres; it comes with RecBole, which ``make peers`` installs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsrarec import Dataset
from mmsrarec.backbone import SentenceEncoder
from mmsrarec.data import Histories, read_recbole
from mmsrarec.errors import InputError
from mmsrarec.evaluate import EvaluationCases, bootstrap_interval
from mmsrarec.storage import fingerprint

__all__ = ["SETS", "Split", "interval", "item_vectors", "load_split"]

SETS = {"M": "microlens-50k", "P": "movielens-posters", "K": "ml-100k"}
SPLIT_SEED = 0
_FEWEST_EVENTS = 5


@dataclass(frozen=True)
class Split:
    """Who is learned from and who is asked.

    Attributes
    ----------
    name
        ``"M"``, ``"P"`` or ``"K"``.
    train
        Events that models learn from.
    validation
        Histories whose last event models are chosen and blends fitted by. On M other users; else the training
        users with one event more.
    test
        One case a test user. On M other users; else each user's last event, two after those of `train`.
    dataset
        All of it, for its items.
    """

    name: str
    train: Histories
    validation: Histories
    test: EvaluationCases
    dataset: Dataset

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self.dataset.n_items

    @property
    def same_users(self) -> bool:
        """Whether those asked are those learned from, some events later."""
        return self.name != "M"

    def knowledge_base_ids(self, users: np.ndarray) -> np.ndarray:
        """Ids of the people asked among those learned from; −1 where these are other people."""
        return users if self.same_users else np.full(len(users), -1)

    @property
    def sequences(self) -> tuple[Histories, Histories | None]:
        """What a sequence model is trained and validated on; without the latter it holds out last events itself."""
        return (self.validation, None) if self.same_users else (self.train, self.validation)

    def export(self, path: Path) -> None:
        """Write what a peer in another environment needs, as arrays without pickle."""
        histories = self.test.histories
        with path.open("wb") as file:
            np.savez(
                file,
                n_items=self.n_items,
                train_indptr=self.train.indptr,
                train_items=self.train.items,
                validation_indptr=self.validation.indptr,
                validation_items=self.validation.items,
                test_indptr=histories.indptr,
                test_items=histories.items,
                positives=self.test.positives,
                uniform=self.test.negatives["uniform"],
                popularity=self.test.negatives["popularity"],
            )


def load_split(name: str, data: Path) -> Split:
    """Read one of the sets below the folder `data` and split it, always alike."""
    if name == "M":
        folder = data / SETS[name]
        dataset = Dataset.from_csv(folder / "interactions.csv.gz", folder / "items.csv.gz")
        train, validation, test = (
            part.histories() for part in dataset.split(by="user", ratios=(8, 1, 1), seed=SPLIT_SEED)
        )
    else:
        dataset = (posters if name == "P" else ml_100k)(data).k_core(_FEWEST_EVENTS, items=False)
        test = dataset.histories()
        validation = dataset.hold_out_last()[0].histories()
        train = dataset.hold_out_last(2)[0].histories()
    popularity = np.bincount(train.items, minlength=dataset.n_items)
    cases = EvaluationCases.from_dataset(test, popularity=popularity, seed=SPLIT_SEED)
    return Split(name, train, validation, cases, dataset)


def posters(data: Path) -> Dataset:
    """Read movielens-posters."""
    folder = data / SETS["P"]
    return Dataset.from_csv(folder / "interactions.csv", folder / "items.csv", images=folder / "images")


def ml_100k(data: Path) -> Dataset:
    """Read the copy of ml-100k in the data folder, or else RecBole's own."""
    folders = [
        data / SETS["K"],
        *Path("build/peers/venv/lib").glob(f"*/site-packages/recbole/dataset_example/{SETS['K']}"),
    ]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise InputError(f"{SETS['K']} is not in {data}; `make peers` installs RecBole, which has it.")
    return read_recbole(found, columns={"title": "movie_title", "categories": "class"})


def item_vectors(split: Split) -> np.ndarray:
    """Embed the text of each item by the sentence encoder, once; kept in ``build/``."""
    texts = [split.dataset.item_content(item).text for item in range(split.n_items)]
    encoder = SentenceEncoder.load("embedded")
    path = Path("build") / f"vectors-{split.name}-{fingerprint(encoder.fingerprint, texts)[:16]}.npy"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        np.save(path, encoder.encode(texts, progress=f"embedding the items of {split.name}"))
    return np.load(path, allow_pickle=False)


def interval(values: np.ndarray, digits: int = 2) -> str:
    """Write a mean in per cent with its 95 % bootstrap interval."""
    low, high = bootstrap_interval(values)
    return f"{100 * values.mean():.{digits}f} [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"


def main() -> None:
    """Export the sets: ``python -m benches.quality_data DATA FOLDER``."""
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    for name in SETS:
        load_split(name, data).export(folder / f"{name}.npz")


if __name__ == "__main__":
    main()
