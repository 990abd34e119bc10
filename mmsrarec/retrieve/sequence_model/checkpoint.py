"""State of an unfinished training, in one file that is replaced atomically after each epoch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmsrarec.progress import logger
from mmsrarec.storage import atomic_path, fingerprint

__all__ = ["Checkpoint", "Progress"]

_FILE = "sequence_model.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes
    ----------
    epochs
        Finished ones.
    best_epoch
        Number of the best epoch, from 1; 0 before the first.
    curve
        Validation NDCG@10 after each epoch; empty without validation.
    """

    epochs: int = 0
    best_epoch: int = 0
    curve: tuple[float, ...] = ()

    def after_epoch(self, ndcg: float | None) -> Progress:
        """Count one more epoch; the first of equally good ones stays the best."""
        epochs = self.epochs + 1
        if ndcg is None:
            return replace(self, epochs=epochs, best_epoch=epochs)
        better = not self.curve or ndcg > self.curve[self.best_epoch - 1]
        return Progress(epochs, epochs if better else self.best_epoch, (*self.curve, ndcg))

    def is_stopped(self, patience: int) -> bool:
        """Tell whether the last `patience` epochs brought nothing better."""
        return self.epochs - self.best_epoch >= patience


class Checkpoint:
    """Weights, their average, optimizer, best average and progress.

    Random states and learning rates are derived from the epoch, not stored.

    Parameters
    ----------
    workdir
        Folder of the file; ``None`` keeps nothing.
    made_from
        Fingerprint of parameters and data. A file made from others, or damaged, is passed over: the training
        begins anew.
    """

    def __init__(self, workdir: str | Path | None, made_from: str) -> None:
        self.path = None if workdir is None else Path(workdir) / _FILE
        self.made_from = made_from

    def write(
        self,
        network: torch.nn.Module,
        average: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        best: dict[str, Tensor],
    ) -> None:
        """Replace the file.

        Raises
        ------
        StoredFileError
            If the folder cannot be written to.
        """
        if self.path is None:
            return
        tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in average.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in best.items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        metadata = {"made_from": self.made_from, "progress": json.dumps(asdict(progress))}
        with atomic_path(self.path) as temporary:
            save_file(tensors, temporary, {**metadata, "checksum": _checksum(metadata, tensors)})

    def read(
        self, network: torch.nn.Module, average: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[Progress, dict[str, Tensor]]:
        """Put the stored state into `network`, `average` and `optimizer`.

        Returns
        -------
        progress : Progress
            A fresh one if there is no usable file.
        best : dict
            Average after the best epoch so far.
        """
        fresh = Progress(), {name: value.detach().clone() for name, value in average.state_dict().items()}
        if self.path is None or not self.path.exists():
            return fresh
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            logger.warning("%s is damaged (%s); the training begins anew", self.path, error)
            return fresh
        if metadata.get("made_from") != self.made_from:
            logger.info("%s belongs to another training; this one begins anew", self.path)
            return fresh
        if metadata.pop("checksum", None) != _checksum(metadata, tensors):
            logger.warning("%s does not match its checksum; the training begins anew", self.path)
            return fresh
        parts: dict[str, dict[str, Tensor]] = {
            "network": {},
            "average": {},
            "best": {},
            "optimizer": {},
        }
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        network.load_state_dict(parts["network"])
        average.load_state_dict(parts["average"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        stored = json.loads(metadata["progress"])
        progress = Progress(stored["epochs"], stored["best_epoch"], tuple(stored["curve"]))
        logger.info("training goes on after epoch %d of %s", progress.epochs, self.path)
        return progress, parts["best"]


def _checksum(metadata: dict[str, str], tensors: dict[str, Tensor]) -> str:
    return fingerprint(metadata, {name: value.numpy() for name, value in tensors.items()})
