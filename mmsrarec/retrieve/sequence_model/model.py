"""``SequenceModel``: fit on histories and what items are, then represent users and score items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from mmsrarec.data import Histories
from mmsrarec.errors import InputError
from mmsrarec.retrieve.sequence_model.checkpoint import Checkpoint, Progress
from mmsrarec.retrieve.sequence_model.encoding import encode_last, encode_positions
from mmsrarec.retrieve.sequence_model.growing import Growing, check_items
from mmsrarec.retrieve.sequence_model.networks import ItemEmbedding, Network, build_network
from mmsrarec.retrieve.sequence_model.parameters import NETWORK_PARAMETERS, PARAMETERS, check_parameters
from mmsrarec.retrieve.sequence_model.time_gaps import EDGES, TimeGaps, gap_edges
from mmsrarec.retrieve.sequence_model.training import Plan, settled, train
from mmsrarec.retrieve.sequence_model.unseen import UnseenItems, checked_content
from mmsrarec.retrieve.sequence_model.validation import given_cases, hold_out_cases
from mmsrarec.storage import fingerprint, read_artefact, read_json, write_artefact, write_json

__all__ = ["SequenceModel"]

KIND = "sequence_model"
FULL_SOFTMAX_LIMIT = 5000
SHARED_NEGATIVES = 1024
_LOSS_VERSION = 2  # an unfinished training that used another loss is begun anew

_WEIGHTS = "weights.safetensors"
_PARAMETERS = "parameters.json"


class SequenceModel(Growing):
    """Predicts the next item of a history, from item ids and, where given, from times and what the items are.

    Trained by the recipe that eSASRec found strongest (Tikhonovich et al. 2025, arXiv 2508.06450): SASRec's task,
    LiGR layers, a sampled softmax; with a learning rate that falls to zero and averaged weights.

    Parameters
    ----------
    kind
        ``"sasrec"``: causal self-attention with gated residuals; ``"gru4rec"``: a gated recurrent unit.
    dimension
        Width of item embeddings and user representations.
    layers
        Attention or recurrent layers.
    heads
        Attention heads; divides `dimension`. Without effect on ``"gru4rec"``.
    max_length
        Events of a history that are read, the most recent ones.
    dropout
        Share of values zeroed in training, 0 or more and below 1.
    negatives
        ``"auto"``: the full softmax up to a catalogue of 5,000 items, 1,024 negatives above. ``None``: the full
        softmax; a batch then holds a float for each of its positions and each item. A number: that many negatives,
        shared by the positions of a batch, half of them uniform and half by popularity, and weighed for it.
    id_dropout
        Share of items in training that are represented by their content alone, 0 or more and below 1, so that items
        without events are embedded well; without effect where no content is given.
    epochs
        Passes over the data. The learning rate falls linearly to zero over them.
    patience
        Epochs without a better validation NDCG@10 after which training stops before that.
    batch_events
        Most positions in a batch, padding included; less where an epoch would have fewer than 16 batches.
        Histories of similar length are put together.
    learning_rate
        Of Adam, at the start.
    device
        Where the network lives. On the CPU the same seed, data and number of threads give the same weights
        to the bit.
    seed
        Of weights, batches, negatives, dropout and, without given validation, of the users held out.

    Attributes
    ----------
    n_items_
        Catalogue size.
    counts_
        int64 (n_items,), training events of each item. An item with 0 has, for what is learned by id, the mean of
        the others; without content that of the rarest tenth of them, and scores like one of those.
    reads_times_
        Whether the times of events matter: training had some that tell events apart by more than their order.
    epochs_, best_epoch_
        Epochs run, and the one whose weights are kept.
    validation_ndcg_
        NDCG@10 after each epoch.
    fingerprint_
        Of network and weights.

    Raises
    ------
    InputError
        If a parameter is out of range.

    Examples
    --------
    >>> walks = [[(start + step) % 12 for step in range(6)] for start in range(12)] * 4
    >>> model = SequenceModel(dimension=16, epochs=20, learning_rate=0.01)
    >>> model = model.fit(Histories.from_lists(walks), n_items=12)
    >>> int(model.scores([[1, 2, 3]]).argmax())
    4
    """

    def __init__(
        self,
        *,
        kind: Literal["sasrec", "gru4rec"] = "sasrec",
        dimension: int = 64,
        layers: int = 2,
        heads: int = 2,
        max_length: int = 50,
        dropout: float = 0.2,
        negatives: int | Literal["auto"] | None = "auto",
        id_dropout: float = 0.0,
        epochs: int = 20,
        patience: int = 5,
        batch_events: int = 1024,
        learning_rate: float = 2e-3,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.kind = kind
        self.dimension = dimension
        self.layers = layers
        self.heads = heads
        self.max_length = max_length
        self.dropout = dropout
        self.negatives = negatives
        self.id_dropout = id_dropout
        self.epochs = epochs
        self.patience = patience
        self.batch_events = batch_events
        self.learning_rate = learning_rate
        self.device = device
        self.seed = seed
        check_parameters(self.get_params())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters as given; `deep` is taken for scikit-learn's sake."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def __repr__(self) -> str:
        return f"SequenceModel({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def fit(
        self,
        histories: Histories,
        n_items: int,
        *,
        content: npt.ArrayLike | None = None,
        validation: Histories | None = None,
        workdir: str | Path | None = None,
    ) -> SequenceModel:
        """Train, and keep the weights of the epoch with the best validation NDCG@10 over all items.

        Parameters
        ----------
        histories
            Training users, dense item ids, oldest first. Their times are read if there are any: the gap behind each
            event, and the gap until the next one, which at the end of a history is the time until it is asked about.
        n_items
            Size of the catalogue, above every id.
        content
            float (n_items, width), what each item is, for example the embedding of its text. A linear projection of
            it, learned, is added to the embedding of the id. ``None``: ids alone.
        validation
            Other users; the last event of each is predicted from those before it. Where that makes fewer than
            500 cases, several last events of each are. ``None`` holds out the last event of a seeded tenth of
            the training users, of at least 1,000 where there are so many.
        workdir
            Folder for a checkpoint after each epoch. A fit that was killed and is started again with the
            same parameters and data goes on from it and ends with the same weights.

        Returns
        -------
        SequenceModel
            Itself.

        Raises
        ------
        InputError
            If no history has two events, an id is not in the catalogue, or content has another shape or holds NaN.
        StoredFileError
            If `workdir` cannot be written to.
        """
        check_items("histories", histories.items, n_items)
        if validation is not None:
            check_items("validation", validation.items, n_items)
        if not (histories.lengths >= 2).any():
            raise InputError("histories hold no user with two events; there is no next item to learn from.")
        described = None if content is None else checked_content(content, n_items)
        made_from = self._made_from(histories, n_items, described, validation)
        if validation is None:
            histories, cases = hold_out_cases(histories, self.seed)
        else:
            cases = given_cases(validation)
        counts = np.bincount(histories.items, minlength=n_items)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network = self._build(n_items, described, edges=gap_edges(histories))
        plan = Plan(
            epochs=self.epochs,
            patience=self.patience,
            batch_events=self.batch_events,
            learning_rate=self.learning_rate,
            negatives=self._decide_negatives(n_items),
            seed=self.seed,
        )
        progress = train(
            network,
            histories,
            counts,
            cases,
            plan,
            max_length=self.max_length,
            checkpoint=Checkpoint(workdir, made_from),
            description=f"training {self.kind}",
        )
        unseen = UnseenItems.of(network.item_embedding, counts)
        self._take(settled(network, counts), counts, progress, unseen)
        return self

    def user_embeddings(self, histories: Sequence[npt.ArrayLike]) -> npt.NDArray[np.float32]:
        """Represent each history by the hidden state of its last event.

        Parameters
        ----------
        histories
            Dense item ids of each user, oldest first; a :class:`~mmsrarec.data.Histories` also tells when.

        Returns
        -------
        numpy.ndarray
            float32 (n, dimension), not normalized; zeros for an empty history.

        Raises
        ------
        InputError
            If an id is not in the catalogue.
        """
        return encode_last(self._network, self._checked(histories), self.max_length)

    def position_embeddings(self, histories: Histories) -> npt.NDArray[np.float32]:
        """Represent every event by the history that ends with it, in one pass.

        Parameters
        ----------
        histories
            Users; histories of up to `max_length` events are read whole, of longer ones each position sees
            at least half of `max_length` events.

        Returns
        -------
        numpy.ndarray
            float32 (events, dimension), aligned with ``histories.items``. Within `max_length`, row `t` of a user
            equals the user embedding of the first `t + 1` events up to rounding.
        """
        network = self._network
        check_items("histories", histories.items, self.n_items_)
        return encode_positions(network, histories, self.max_length)

    def scores(
        self, histories: Sequence[npt.ArrayLike], candidates: npt.ArrayLike | None = None
    ) -> npt.NDArray[np.float32]:
        """Score items as the next of each history; a softmax over a row gives probabilities.

        Parameters
        ----------
        histories
            Dense item ids of each user, oldest first; a :class:`~mmsrarec.data.Histories` also tells when. An empty
            one scores items by their training events: log((events + 1) / (all events + n_items)).
        candidates
            int (n, c) dense ids, the columns to return for each user; ``None`` returns all items.

        Returns
        -------
        numpy.ndarray
            float32 (n, n_items) or (n, c).

        Raises
        ------
        InputError
            If an id is not in the catalogue.
        """
        checked = self._checked(histories)
        hidden = encode_last(self._network, checked, self.max_length)
        empty = checked.lengths == 0
        weight = self._network.item_embedding.weight.detach().cpu().numpy()
        popularity = np.log((self.counts_ + 1) / (self.counts_.sum() + self.n_items_)).astype(np.float32)
        if candidates is None:
            scores = hidden @ weight.T
            scores[empty] = popularity
            return scores
        items = np.asarray(candidates, np.int64)
        check_items("candidates", items.ravel(), self.n_items_)
        scores = np.einsum("ud,ucd->uc", hidden, weight[items], dtype=np.float32)
        scores[empty] = popularity[items[empty]]
        return scores

    def save(self, folder: str | Path) -> None:
        """Write weights and parameters as one artefact.

        Raises
        ------
        StoredFileError
            If the folder holds something else or cannot be written to.
        """
        tensors = {name: value.cpu().contiguous() for name, value in self._network.state_dict().items()}
        about = {
            "parameters": self.get_params(),
            "epochs": self.epochs_,
            "best_epoch": self.best_epoch_,
            "validation_ndcg": list(self.validation_ndcg_),
        }

        def write(path: Path) -> None:
            counts = torch.from_numpy(self.counts_)
            save_file({**tensors, **self._unseen.tensors(), "counts": counts}, path / _WEIGHTS)
            write_json(path / _PARAMETERS, about)

        write_artefact(folder, KIND, self.fingerprint_, write, {"n_items": self.n_items_})

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> SequenceModel:
        """Read what :meth:`save` wrote; scores are the same to the bit.

        Raises
        ------
        StoredFileError
            If the folder is damaged, foreign or of a newer format.
        """
        folder = Path(folder)
        manifest = read_artefact(folder, KIND)
        about = read_json(folder / _PARAMETERS)
        model = cls(**{**about["parameters"], "device": device})
        tensors = load_file(folder / _WEIGHTS)
        counts = tensors.pop("counts").numpy()
        unseen = UnseenItems.from_tensors(tensors)
        network = model._build(manifest["details"]["n_items"], edges=tensors.get(EDGES))
        network.load_state_dict(tensors)
        progress = Progress(about["epochs"], about["best_epoch"], tuple(about["validation_ndcg"]))
        model._take(network, counts, progress, unseen)
        return model

    @property
    def _network(self) -> Network:
        if not hasattr(self, "_fitted"):
            raise InputError("the sequence model is not fitted; call fit or SequenceModel.load first.")
        return self._fitted

    def _take(
        self, network: Network, counts: npt.NDArray[np.int64], progress: Progress, unseen: UnseenItems
    ) -> None:
        self._fitted = network.eval()
        self._unseen = unseen
        self.epochs_, self.best_epoch_ = progress.epochs, progress.best_epoch
        self.validation_ndcg_ = progress.curve
        self.n_items_ = len(counts)
        self.counts_ = counts
        self.reads_times_ = network.time_gaps is not None
        weights = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
        weights |= {name: value.numpy() for name, value in unseen.tensors().items()}
        self.fingerprint_ = fingerprint(self._shape(), weights, counts)

    def _shape(self) -> dict[str, Any]:
        """Give what the network is built from."""
        return {name: getattr(self, name) for name in NETWORK_PARAMETERS}

    def _build(
        self,
        n_items: int,
        content: npt.NDArray[np.float32] | None = None,
        *,
        edges: torch.Tensor | None = None,
    ) -> Network:
        described = None if content is None else torch.from_numpy(content).to(self.device)
        embedding = ItemEmbedding(n_items, self.dimension, described, self.id_dropout)
        time_gaps = None if edges is None else TimeGaps(self.dimension, edges)
        shape = {name: value for name, value in self._shape().items() if name != "dimension"}
        return build_network(item_embedding=embedding, time_gaps=time_gaps, **shape).to(self.device)

    def _decide_negatives(self, n_items: int) -> int | None:
        if self.negatives != "auto":
            return self.negatives
        return None if n_items <= FULL_SOFTMAX_LIMIT else SHARED_NEGATIVES

    def _made_from(
        self,
        histories: Histories,
        n_items: int,
        content: npt.NDArray[np.float32] | None,
        validation: Histories | None,
    ) -> str:
        given = None if validation is None else [validation.indptr, validation.items, validation.timestamps]
        parameters = {name: value for name, value in self.get_params().items() if name != "device"}
        events = [histories.indptr, histories.items, histories.timestamps]
        return fingerprint(_LOSS_VERSION, parameters, n_items, events, content, given)

    def _checked(self, histories: Sequence[npt.ArrayLike]) -> Histories:
        flat = Histories.of(histories)
        check_items("histories", flat.items, len(self._network.item_embedding.weight))
        return flat
