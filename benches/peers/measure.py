"""Measures one peer on an exported split: ``python measure.py SPLIT.npz esasrec --seed 0``.

Runs in the peers' own environment (``make peers``), because RecTools wants NumPy 1.26. Reads and writes arrays only:
the ranks of the positives of the very cases that ours are asked, after each epoch, with the seconds of training
until then and the validation NDCG@10 over the whole catalogue. Training ends when that has not risen for `--patience`
epochs. Scores of ties share their ranks.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sp

Score = Callable[[list[np.ndarray]], np.ndarray]
CUTOFF = 10
AT_ONCE = 256


def main() -> None:
    """Train, rank after each epoch, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("model", choices=list(LEARN))
    parser.add_argument("--output", type=Path, help="by default SPLIT-MODEL-SEED.npz beside the split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40, help="at most")
    parser.add_argument("--patience", type=int, default=3)
    parser.add_argument(
        "--max-length", type=int, default=200, help="events a user; RecTools learns from no earlier ones"
    )
    parser.add_argument("--batch-size", type=int, default=128, help="users; fewer for a set of few users")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    name = f"{arguments.split.stem}-{arguments.model}-{arguments.seed}.npz"
    output = arguments.output or arguments.split.parent / name
    if output.exists():
        print(f"{output} is there already")
        return
    partial = output.with_suffix(".partial")
    split = dict(np.load(arguments.split))
    train = rows(split, "train")
    validation = [history for history in rows(split, "validation") if len(history) > 1]
    learn = LEARN[arguments.model]
    kept: dict[str, list] = {
        "seconds": [],
        "validation_ndcg": [],
        "uniform": [],
        "popularity": [],
        "full": [],
    }
    best = 0
    for seconds, score in learn(train, int(split["n_items"]), arguments):
        ndcg = validation_ndcg(score, validation)
        kept["seconds"].append(seconds)
        kept["validation_ndcg"].append(ndcg)
        for name, ranks in test_ranks(score, split).items():
            kept[name].append(ranks)
        best = int(np.argmax(kept["validation_ndcg"]))
        print(
            f"{arguments.model} epoch {len(kept['seconds'])}: {seconds:.0f} s, NDCG@10 {100 * ndcg:.2f}",
            flush=True,
        )
        with partial.open("wb") as file:
            np.savez(file, best_epoch=best, **{name: np.asarray(values) for name, values in kept.items()})
        if len(kept["seconds"]) - 1 - best >= arguments.patience:
            break
    partial.rename(output)


def rows(split: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    """Cut the flat items of `name` into one array a user."""
    return np.split(split[f"{name}_items"], split[f"{name}_indptr"][1:-1])


def validation_ndcg(score: Score, validation: list[np.ndarray]) -> float:
    """Mean NDCG@10 of the last event over all items but those before it."""
    histories = [history[:-1] for history in validation]
    positives = np.asarray([history[-1] for history in validation])
    ranks = [
        rank for _, chunk, wanted in scored(score, histories, positives) for rank in full_ranks(chunk, wanted)
    ]
    return float(np.where(np.asarray(ranks) < CUTOFF, 1 / np.log2(np.asarray(ranks) + 2), 0).mean())


def test_ranks(score: Score, split: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rank each positive, from 0, among its two sets of negatives and in the whole catalogue."""
    ranks: dict[str, list[np.ndarray]] = {"uniform": [], "popularity": [], "full": []}
    for cases, chunk, wanted in scored(score, rows(split, "test"), split["positives"]):
        for name in ("uniform", "popularity"):
            negatives = np.take_along_axis(chunk, split[name][cases], axis=1)
            ranks[name].append(mid_ranks(wanted, negatives))
        ranks["full"].append(full_ranks(chunk, wanted))
    return {name: np.concatenate(parts) for name, parts in ranks.items()}


def scored(
    score: Score, histories: list[np.ndarray], positives: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give the scores of some cases at a time, those of seen items at minus infinity, and the positives'."""
    for first in range(0, len(histories), AT_ONCE):
        cases = np.arange(first, min(first + AT_ONCE, len(histories)))
        chunk = np.array(score([histories[case] for case in cases]), np.float32)
        wanted = chunk[np.arange(len(cases)), positives[cases]]
        for row, case in enumerate(cases):
            chunk[row, histories[case]] = -np.inf
        yield cases, chunk, wanted


def full_ranks(chunk: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rank over all items; the positive ties with itself."""
    return (chunk > wanted[:, None]).sum(1) + 0.5 * np.maximum((chunk == wanted[:, None]).sum(1) - 1, 0)


def mid_ranks(wanted: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Rank among negatives."""
    return (negatives > wanted[:, None]).sum(1) + 0.5 * (negatives == wanted[:, None]).sum(1)


def sequence_epochs(
    train: list[np.ndarray], n_items: int, arguments: argparse.Namespace
) -> Iterator[tuple[float, Score]]:
    """Train a RecTools transformer with the settings its benchmarks use, one epoch at a time."""
    import pandas as pd
    import pytorch_lightning
    import torch
    from rectools.dataset import Dataset
    from rectools.models import BERT4RecModel, SASRecModel
    from rectools.models.nn.transformers.ligr import LiGRLayers

    torch.set_num_threads(arguments.threads)
    pytorch_lightning.seed_everything(arguments.seed, workers=True)
    lengths = [len(history) for history in train]
    events = pd.DataFrame(
        {"user_id": np.repeat(np.arange(len(train)), lengths), "item_id": np.concatenate(train)}
    )
    events["weight"] = 1.0
    events["datetime"] = pd.to_datetime(events.groupby("user_id").cumcount(), unit="s")
    settings = {
        "n_factors": 64, "n_blocks": 2, "session_max_len": arguments.max_length, "epochs": arguments.epochs,
        "batch_size": arguments.batch_size, "verbose": 0, "deterministic": True, "lightning_module_type": asked_only(),
    }  # fmt: skip
    if arguments.model == "esasrec":
        model = SASRecModel(
            **settings, n_heads=2, loss="sampled_softmax", n_negatives=256, transformer_layers_type=LiGRLayers
        )
    elif arguments.model == "sasrec":
        model = SASRecModel(**settings, n_heads=1, loss="softmax")
    else:
        model = BERT4RecModel(**settings, n_heads=1, loss="softmax")
    dataset = Dataset.construct(events)
    seconds = 0.0
    for _ in range(arguments.epochs):
        started = time.perf_counter()
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        seconds += time.perf_counter() - started
        yield seconds, transformer_score(model, n_items, arguments.model == "bert4rec")


def asked_only() -> type:
    """RecTools' training with its own softmax, full or sampled, whose logits are made only where it has a target.

    RecTools makes those of padding and of items that BERT4Rec does not mask too, and gives them no weight: the same
    loss, at several times the cost where a catalogue is large and histories are short.
    """
    import torch
    from rectools.models.nn.transformers.lightning import TransformerLightningModule
    from torch.nn.functional import cross_entropy

    class AskedOnly(TransformerLightningModule):
        def training_step(self, batch, batch_idx):
            items = self.torch_model.item_model.get_all_embeddings()
            states = self.torch_model.encode_sessions(batch, items)
            asked = batch["y"] != 0
            answers, candidates = batch["y"][asked], None
            if "negatives" in batch:
                candidates = torch.cat([answers[:, None], batch["negatives"][asked]], dim=1)
                answers = torch.zeros_like(answers)
            logits = self.torch_model.similarity_module(states[asked], items, candidates) / self.logits_t
            return cross_entropy(logits, answers)

    return AskedOnly


def transformer_score(model: object, n_items: int, ends_with_mask: bool) -> Score:
    """Score histories of people outside of the training, which RecTools' own `recommend` would refuse."""
    import torch

    preparator, network = model.data_preparator, model.torch_model.eval()
    special = preparator.n_item_extra_tokens
    known = np.asarray(preparator.item_id_map.external_ids[special:], np.int64)
    token = np.full(n_items, -1, np.int64)
    token[known] = np.arange(special, special + len(known))
    longest = preparator.session_max_len

    def score(histories: list[np.ndarray]) -> np.ndarray:
        sessions = np.zeros((len(histories), longest), np.int64)
        for row, history in enumerate(histories):
            tokens = token[history][token[history] >= 0]
            if ends_with_mask:
                tokens = np.append(tokens, preparator.extra_token_ids["MASK"])
            tokens = tokens[-longest:]
            sessions[row, longest - len(tokens) :] = tokens
        with torch.inference_mode():
            items = network.item_model.get_all_embeddings()
            hidden = network.encode_sessions({"x": torch.from_numpy(sessions)}, items)[:, -1]
            scores = np.full((len(histories), n_items), np.finfo(np.float32).min, np.float32)
            scores[:, known] = (hidden @ items[special:].T).numpy()
        return scores

    return score


def recbole_epochs(
    train: list[np.ndarray], n_items: int, arguments: argparse.Namespace
) -> Iterator[tuple[float, Score]]:
    """Train RecBole's SASRec with its own defaults, one epoch at a time; it learns from each prefix of a history."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.sequential_recommender import SASRec
    from recbole.trainer import Trainer
    from recbole.utils import init_seed

    torch.set_num_threads(arguments.threads)
    sys.argv = sys.argv[:1]  # which RecBole would read as its own
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train").mkdir()
        with (Path(folder) / "train/train.inter").open("w") as file:
            file.write("user_id:token\titem_id:token\ttimestamp:float\n")
            for user, history in enumerate(train):
                file.writelines(f"{user}\t{item}\t{place}\n" for place, item in enumerate(history))
        settings = {
            "data_path": folder, "checkpoint_dir": folder, "use_gpu": False, "state": "ERROR", "seed": arguments.seed,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "train_neg_sample_args": None,
            "MAX_ITEM_LIST_LENGTH": arguments.max_length, "train_batch_size": arguments.batch_size,
            # All of these events are to be learned from; what is validated on is kept outside.
            "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "group_by": "user", "mode": "full"},
        }  # fmt: skip
        config = Config(model="SASRec", dataset="train", config_dict=settings)
        init_seed(arguments.seed, reproducibility=True)
        dataset = create_dataset(config)
        learned, *_ = data_preparation(config, dataset)
        model = SASRec(config, learned.dataset)
        with contextlib.chdir(folder):  # it logs to where it stands
            trainer = Trainer(config, model)
        token = np.full(n_items, 0, np.int64)
        known = np.asarray(dataset.field2id_token["item_id"][1:], np.int64)
        token[known] = np.arange(1, len(known) + 1)
        seconds = 0.0
        for epoch in range(arguments.epochs):
            started = time.perf_counter()
            trainer._train_epoch(learned, epoch)
            seconds += time.perf_counter() - started
            yield seconds, recbole_score(model.eval(), token, known, arguments.max_length)


def recbole_score(model: object, token: np.ndarray, known: np.ndarray, longest: int) -> Score:
    """Score histories of anyone; sequences are padded on the right."""
    import torch

    def score(histories: list[np.ndarray]) -> np.ndarray:
        sessions, lengths = np.zeros((len(histories), longest), np.int64), np.ones(len(histories), np.int64)
        for row, history in enumerate(histories):
            tokens = token[history][token[history] > 0][-longest:]
            sessions[row, : len(tokens)], lengths[row] = tokens, max(len(tokens), 1)
        scores = np.full((len(histories), len(token)), np.finfo(np.float32).min, np.float32)
        with torch.inference_mode():
            hidden = model.forward(torch.from_numpy(sessions), torch.from_numpy(lengths))
            scores[:, known] = (hidden @ model.item_embedding.weight[1:].T).numpy()
        return scores

    return score


def als_epochs(
    train: list[np.ndarray], n_items: int, arguments: argparse.Namespace
) -> Iterator[tuple[float, Score]]:
    """Fit implicit's ALS, 64 factors, 15 iterations; new people are folded in."""
    from implicit.als import AlternatingLeastSquares

    started = time.perf_counter()
    model = AlternatingLeastSquares(
        factors=64, iterations=15, random_state=arguments.seed, num_threads=arguments.threads
    )
    model.fit(touched(train, n_items), show_progress=False)
    seconds = time.perf_counter() - started

    def score(histories: list[np.ndarray]) -> np.ndarray:
        users = model.recalculate_user(np.arange(len(histories)), touched(histories, n_items))
        return users @ model.item_factors.T

    yield seconds, score


def touched(histories: list[np.ndarray], n_items: int) -> sp.csr_matrix:
    """Users by items, 1 where touched."""
    indptr = np.cumsum([0, *(len(history) for history in histories)])
    items = np.concatenate(histories)
    return sp.csr_matrix((np.ones(len(items), np.float32), items, indptr), shape=(len(histories), n_items))


LEARN = {
    "sasrec": sequence_epochs,
    "esasrec": sequence_epochs,
    "bert4rec": sequence_epochs,
    "recbole": recbole_epochs,
    "als": als_epochs,
}

if __name__ == "__main__":
    main()
