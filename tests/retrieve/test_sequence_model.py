from __future__ import annotations

import copy
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from mmsrarec.data import Histories
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.progress import logger
from mmsrarec.retrieve.sequence_model import SequenceModel
from mmsrarec.retrieve.sequence_model.negatives import SharedNegatives
from mmsrarec.retrieve.sequence_model.networks import ItemEmbedding
from mmsrarec.retrieve.sequence_model.training import next_item_loss, validation_ndcg
from mmsrarec.retrieve.sequence_model.unseen import UnseenItems
from mmsrarec.retrieve.sequence_model.validation import given_cases, hold_out_cases
from mmsrarec.retrieve.sequence_model.windows import padded, position_windows, training_windows

N_ITEMS = 30
SMALL = {"dimension": 16, "max_length": 8, "epochs": 6, "batch_events": 128, "learning_rate": 5e-3}
lengths = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def walks(users: int = 60, seed: int = 0, n_items: int = N_ITEMS) -> Histories:
    """Users who mostly go from an item to the one after it; items from `n_items` − 4 on are never touched."""
    rng = np.random.default_rng(seed)
    reachable = n_items - 4
    histories = []
    for _ in range(users):
        items = [int(rng.integers(reachable))]
        for _ in range(int(rng.integers(0, 14))):
            step = 1 if rng.random() < 0.9 else int(rng.integers(reachable))
            items.append((items[-1] + step) % reachable)
        histories.append(items)
    return Histories.from_lists(histories)


@pytest.fixture(scope="module", params=["sasrec", "gru4rec"])
def fitted(request: pytest.FixtureRequest) -> SequenceModel:
    return SequenceModel(kind=request.param, **{**SMALL, "epochs": 40}).fit(walks(200), N_ITEMS)


def weights(model: SequenceModel) -> dict[str, torch.Tensor]:
    return dict(model._network.state_dict())


def assert_same_weights(left: SequenceModel, right: SequenceModel) -> None:
    assert left.validation_ndcg_ == right.validation_ndcg_
    assert weights(left).keys() == weights(right).keys()
    for name, value in weights(left).items():
        assert torch.equal(value, weights(right)[name]), name


class TestWindows:
    @given(lengths, st.integers(1, 12), st.integers(0, 5))
    def test_training_predicts_every_event_but_the_first_once(self, events, max_length, seed):
        histories = Histories.from_lists([list(range(n)) for n in events])
        windows = training_windows(histories.indptr, max_length, np.random.default_rng(seed))
        targets = [
            start + offset + 1
            for start, length in zip(windows.start, windows.length, strict=True)
            for offset in range(length)
        ]
        first_events = set(histories.indptr[:-1][histories.lengths > 0])
        assert sorted(targets) == [row for row in range(len(histories.items)) if row not in first_events]
        assert (windows.length <= max_length).all()

    @given(lengths, st.integers(1, 12))
    def test_every_event_is_a_kept_position_once_with_enough_context(self, events, max_length):
        histories = Histories.from_lists([[0] * n for n in events])
        windows = position_windows(histories.indptr, max_length)
        kept = [
            start + offset
            for start, length, first in zip(windows.start, windows.length, windows.kept_from, strict=True)
            for offset in range(first, length)
        ]
        assert sorted(kept) == list(range(len(histories.items)))
        assert (windows.length <= max_length).all()
        later = windows.kept_from > 0
        assert (windows.kept_from[later] >= max_length // 2).all()

    @given(lengths, st.integers(1, 60))
    def test_batches_hold_each_window_once_and_stay_within_the_budget(self, events, budget):
        histories = Histories.from_lists([[0] * n for n in events])
        windows = position_windows(histories.indptr, 10)
        batches = windows.batches(budget, np.random.default_rng(0))
        starts = [start for batch in batches for start in batch.start]
        assert sorted(starts) == windows.start.tolist()
        for batch in batches:
            assert len(batch) == 1 or len(batch) * batch.length.max() <= budget

    def test_padding_is_on_the_right(self):
        histories = Histories.from_lists([[5, 6, 7], [8]])
        rectangle, filled = padded(histories.items, position_windows(histories.indptr, 5))
        assert rectangle.tolist() == [[5, 6, 7], [8, 0, 0]]
        assert filled.tolist() == [[True, True, True], [True, False, False]]


class TestLoss:
    hidden = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    embedding = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 1, 2, 3, 8, 8, 5])

    def loss(self, rows: slice, negatives: list[int]) -> torch.Tensor:
        targets, drawn = self.targets[rows], torch.tensor(negatives)
        same = targets[:, None] == drawn
        once = torch.zeros(len(drawn))
        return next_item_loss(self.hidden[rows], self.embedding[targets], self.embedding[drawn], same, once)

    def test_with_every_item_as_a_negative_it_is_the_full_softmax(self):
        full = torch.nn.functional.cross_entropy(self.hidden @ self.embedding.T, self.targets)
        torch.testing.assert_close(self.loss(slice(7), list(range(9))), full)

    def test_a_negative_that_is_the_target_does_not_count(self):
        assert self.loss(slice(1), [0, 0]).item() == pytest.approx(0.0, abs=1e-6)

    def test_draws_of_any_probability_estimate_the_full_softmax(self):
        counts = np.array([500, 200, 100, 50, 20, 10, 5, 2, 1])
        drawn, log_expected = SharedNegatives.of(counts).draw(200_000, np.random.default_rng(0))
        negatives, same = torch.from_numpy(drawn), self.targets[:, None] == torch.from_numpy(drawn)
        estimated = next_item_loss(
            self.hidden,
            self.embedding[self.targets],
            self.embedding[negatives],
            same,
            torch.from_numpy(log_expected),
        )
        full = torch.nn.functional.cross_entropy(self.hidden @ self.embedding.T, self.targets)
        assert estimated.item() == pytest.approx(full.item(), rel=0.01)

    def test_items_that_nobody_took_are_no_negatives(self):
        drawn, _ = SharedNegatives.of(np.array([0, 3, 0, 1])).draw(1000, np.random.default_rng(0))
        assert set(drawn) == {1, 3}


class TestFit:
    def test_learns_the_order_of_the_walk(self, fitted: SequenceModel):
        starts = np.arange(3, 20)
        scores = fitted.scores([np.asarray([item - 2, item - 1, item]) for item in starts])
        assert (scores.argmax(axis=1) == starts + 1).mean() > 0.9

    def test_sampled_softmax_learns_it_too(self):
        model = SequenceModel(**{**SMALL, "epochs": 40}, negatives=12).fit(walks(200), N_ITEMS)
        starts = np.arange(3, 20)
        scores = model.scores([np.asarray([item - 2, item - 1, item]) for item in starts])
        assert (scores.argmax(axis=1) == starts + 1).mean() > 0.8

    def test_same_seed_same_weights_other_seed_others(self):
        first, second = (SequenceModel(**SMALL, seed=1).fit(walks(), N_ITEMS) for _ in range(2))
        assert_same_weights(first, second)
        assert first.fingerprint_ == second.fingerprint_
        other = SequenceModel(**SMALL, seed=2).fit(walks(), N_ITEMS)
        assert other.fingerprint_ != first.fingerprint_

    def test_leaves_the_global_random_state_alone(self):
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        SequenceModel(**{**SMALL, "epochs": 1}).fit(walks(20), N_ITEMS)
        assert torch.equal(torch.rand(2), expected)

    def test_stops_early_and_keeps_the_best_epoch(self):
        validation = walks(40, seed=9)
        model = SequenceModel(**{**SMALL, "epochs": 60, "patience": 2}).fit(
            walks(), N_ITEMS, validation=validation
        )
        assert model.epochs_ < 60
        assert model.epochs_ - model.best_epoch_ == 2
        assert model.best_epoch_ == 1 + int(np.argmax(model.validation_ndcg_))
        again = validation_ndcg(model._network, given_cases(validation), model.max_length)
        assert again == pytest.approx(max(model.validation_ndcg_), abs=1e-9)

    def test_validation_ndcg_is_the_definition(self, fitted: SequenceModel):
        cases = given_cases(walks(15, seed=4))
        gains = []
        for history, positive in zip(cases.histories, cases.positives, strict=True):
            row = fitted.scores([history])[0]
            rivals = np.setdiff1d(np.arange(N_ITEMS), [*history, positive])
            rank = (row[rivals] > row[positive]).sum() + 0.5 * (row[rivals] == row[positive]).sum()
            gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
        measured = validation_ndcg(fitted._network, cases, fitted.max_length)
        assert measured == pytest.approx(np.mean(gains), abs=1e-5)

    def test_without_validation_the_last_events_of_some_users_are_held_out(self):
        histories = walks(1500, seed=2)
        rest, cases = hold_out_cases(histories, 0)
        usable = int((histories.lengths >= 3).sum())
        assert len(cases) == min(usable, 1000)
        assert len(rest.items) == len(histories.items) - len(cases)
        for user in np.flatnonzero(rest.lengths < histories.lengths)[:20]:
            assert rest[user].tolist() == histories[user][:-1].tolist()
        assert hold_out_cases(histories, 1)[1].positives.tolist() != cases.positives.tolist()

    def test_histories_too_short_to_hold_out_run_all_epochs(self):
        model = SequenceModel(**SMALL).fit(Histories.from_lists([[0, 1], [1, 2], [3]]), 5)
        assert model.epochs_ == model.best_epoch_ == SMALL["epochs"]
        assert model.validation_ndcg_ == ()


def checkpoint_epochs(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["progress"])["epochs"]


class Interrupt(logging.Handler):
    """Interrupts a fit when it reports an epoch, before that epoch's checkpoint is written."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def emit(self, record: logging.LogRecord) -> None:
        if f"epoch {self.epoch}, loss" in record.getMessage():
            raise KeyboardInterrupt


def fit_interrupted(model: SequenceModel, workdir: Path, epoch: int) -> None:
    handler, level = Interrupt(epoch), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with pytest.raises(KeyboardInterrupt):
            model.fit(walks(), N_ITEMS, workdir=workdir)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.fixture(scope="module")
def undisturbed() -> SequenceModel:
    return SequenceModel(**SMALL).fit(walks(), N_ITEMS)


class TestResume:
    def test_goes_on_after_an_interrupt(self, tmp_path: Path, undisturbed: SequenceModel, caplog):
        fit_interrupted(SequenceModel(**SMALL), tmp_path, 2)
        fit_interrupted(SequenceModel(**SMALL), tmp_path, 5)
        with caplog.at_level(logging.INFO, logger="mmsrarec"):
            resumed = SequenceModel(**SMALL).fit(walks(), N_ITEMS, workdir=tmp_path)
        assert "goes on after epoch 4" in caplog.text
        assert_same_weights(resumed, undisturbed)

    def test_a_finished_fit_is_not_repeated(self, tmp_path: Path, undisturbed: SequenceModel, caplog):
        SequenceModel(**SMALL).fit(walks(), N_ITEMS, workdir=tmp_path)
        with caplog.at_level(logging.INFO, logger="mmsrarec"):
            again = SequenceModel(**SMALL).fit(walks(), N_ITEMS, workdir=tmp_path)
        assert "loss" not in caplog.text
        assert_same_weights(again, undisturbed)

    @pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
    def test_a_damaged_checkpoint_is_passed_over(self, tmp_path: Path, undisturbed, damage: str, caplog):
        fit_interrupted(SequenceModel(**SMALL), tmp_path, 4)
        [path] = tmp_path.iterdir()
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 16
        path.write_bytes(content[: {"truncated": len(content) // 2, "empty": 0}.get(damage)])
        with caplog.at_level(logging.WARNING, logger="mmsrarec"):
            resumed = SequenceModel(**SMALL).fit(walks(), N_ITEMS, workdir=tmp_path)
        assert "begins anew" in caplog.text
        assert_same_weights(resumed, undisturbed)

    def test_a_checkpoint_of_other_data_is_not_used(self, tmp_path: Path, undisturbed: SequenceModel):
        SequenceModel(**SMALL).fit(walks(seed=7), N_ITEMS, workdir=tmp_path)
        assert_same_weights(SequenceModel(**SMALL).fit(walks(), N_ITEMS, workdir=tmp_path), undisturbed)

    def test_goes_on_after_sigkill(self, tmp_path: Path):
        settings = {**SMALL, "epochs": 25, "patience": 25}
        script = (
            "from mmsrarec.data import Histories\n"
            "from mmsrarec.retrieve.sequence_model import SequenceModel\n"
            f"histories = Histories.from_lists({[items.tolist() for items in walks()]})\n"
            f"SequenceModel(**{settings}).fit(histories, {N_ITEMS}, workdir={str(tmp_path)!r})\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("*.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        assert process.wait() != 0
        checkpoint = next(tmp_path.glob("*.safetensors"))
        killed_after = checkpoint_epochs(checkpoint)
        assert 0 < killed_after < 25
        resumed = SequenceModel(**settings).fit(walks(), N_ITEMS, workdir=tmp_path)
        assert_same_weights(resumed, SequenceModel(**settings).fit(walks(), N_ITEMS))

    def test_an_unwritable_workdir_is_one_clear_error(self):
        with pytest.raises(StoredFileError, match="could not be written"):
            SequenceModel(**SMALL).fit(walks(), N_ITEMS, workdir="/proc/none")


class TestEmbeddings:
    def test_a_position_equals_the_user_that_ends_there(self, fitted: SequenceModel):
        histories = Histories.from_lists([[1, 2, 3, 4, 5, 6, 7, 8], [], [9], [3, 1, 4]])
        by_event = fitted.position_embeddings(histories)
        assert by_event.shape == (len(histories.items), fitted.dimension)
        assert by_event.dtype == np.float32
        prefixes = [items[: stop + 1] for items in histories for stop in range(len(items))]
        np.testing.assert_allclose(by_event, fitted.user_embeddings(prefixes), atol=1e-5)

    def test_long_histories_see_at_least_half_the_window(self, fitted: SequenceModel):
        items = walks(1, seed=5)[0].tolist() * 9
        by_event = fitted.position_embeddings(Histories.from_lists([items]))
        assert len(by_event) == len(items)
        stop, half = len(items) - 1, fitted.max_length // 2
        contexts = [items[stop - length : stop + 1] for length in range(half, fitted.max_length)]
        distances = np.abs(fitted.user_embeddings(contexts) - by_event[stop]).max(axis=1)
        assert distances.min() < 1e-5

    def test_only_the_most_recent_events_are_read(self, fitted: SequenceModel):
        recent = [5, 6, 7, 8, 9, 10, 11, 12]
        left, right = fitted.user_embeddings([[1, 1, 1, *recent], recent])
        np.testing.assert_allclose(left, right, atol=1e-6)

    def test_order_of_users_is_kept(self, fitted: SequenceModel):
        histories = list(walks(50, seed=3))
        together = fitted.user_embeddings(histories)
        one_by_one = np.concatenate([fitted.user_embeddings([items]) for items in histories])
        np.testing.assert_allclose(together, one_by_one, atol=1e-5)

    def test_no_histories(self, fitted: SequenceModel):
        assert fitted.user_embeddings([]).shape == (0, fitted.dimension)
        assert fitted.scores([]).shape == (0, N_ITEMS)
        assert fitted.position_embeddings(Histories.from_lists([[]])).shape == (0, fitted.dimension)


class TestScores:
    def test_candidates_are_columns_of_the_whole(self, fitted: SequenceModel):
        histories = [np.asarray([1, 2]), np.asarray([], np.int32), np.asarray([7])]
        candidates = np.asarray([[3, 29, 0], [4, 5, 6], [8, 8, 7]])
        whole = fitted.scores(histories)
        assert whole.shape == (3, N_ITEMS)
        assert whole.dtype == fitted.scores(histories, candidates).dtype == np.float32
        np.testing.assert_allclose(
            fitted.scores(histories, candidates), np.take_along_axis(whole, candidates, axis=1), atol=1e-5
        )

    def test_an_empty_history_scores_by_popularity(self, fitted: SequenceModel):
        assert not fitted.user_embeddings([[]]).any()
        [row] = fitted.scores([[]])
        assert np.array_equal(np.argsort(row, kind="stable"), np.argsort(fitted.counts_, kind="stable"))
        assert np.exp(row).sum() == pytest.approx(1, abs=1e-4)

    def test_items_never_seen_score_alike_and_low(self, fitted: SequenceModel):
        scores = fitted.scores(list(walks(20, seed=8))[:20])
        scores = scores[[len(items) > 0 for items in list(walks(20, seed=8))]]
        unseen = scores[:, N_ITEMS - 4 :]
        np.testing.assert_allclose(unseen, unseen[:, :1].repeat(4, axis=1), atol=1e-5)
        assert np.isfinite(scores).all()
        best = scores[:, : N_ITEMS - 4].max(axis=1)
        assert (unseen[:, 0] < best).all()

    def test_an_unseen_item_has_the_mean_id_of_the_rarest(self):
        embedding = ItemEmbedding(6, 2)
        embedding.weight.data = torch.arange(12, dtype=torch.float32).reshape(6, 2)
        unseen = UnseenItems.of(embedding, np.asarray([5, 1, 9, 1, 0, 0]))
        assert unseen.id.tolist() == embedding.weight[[1, 3]].mean(dim=0).tolist()
        assert unseen.rows(2, None).tolist() == [unseen.id.tolist()] * 2

    def test_grow_takes_in_new_items(self, tmp_path: Path):
        model = SequenceModel(**SMALL).fit(walks(), N_ITEMS)
        before = model.scores([[1, 2, 3]])
        print_before = model.fingerprint_
        model.grow(N_ITEMS + 3)
        after = model.scores([[1, 2, 3]])
        assert after.shape == (1, N_ITEMS + 3)
        np.testing.assert_allclose(after[:, :N_ITEMS], before, atol=1e-6)
        np.testing.assert_allclose(after[0, N_ITEMS:], after[0, N_ITEMS - 1], atol=1e-6)
        assert np.isfinite(model.scores([[N_ITEMS + 1, 2]])).all()
        assert model.fingerprint_ != print_before
        model.save(tmp_path / "model")
        assert SequenceModel.load(tmp_path / "model").n_items_ == N_ITEMS + 3
        with pytest.raises(InputError, match="n_items must be 33 or more, got 5"):
            model.grow(5)


def coloured_walks(users: int, seed: int) -> tuple[Histories, np.ndarray]:
    """Users who stay within a colour; the content of an item is its colour, of three, and some noise."""
    rng = np.random.default_rng(seed)
    colours = np.arange(N_ITEMS) % 3
    content = np.eye(3)[colours] + 0.05 * np.random.default_rng(0).normal(size=(N_ITEMS, 3))
    # The last three items, one of each colour, are never touched.
    chosen = [rng.choice(np.flatnonzero(colours[:-3] == rng.integers(3)), 6) for _ in range(users)]
    return Histories.from_lists(chosen), content


@pytest.fixture(scope="module")
def coloured() -> SequenceModel:
    histories, content = coloured_walks(200, 0)
    return SequenceModel(**{**SMALL, "epochs": 12}).fit(histories, N_ITEMS, content=content)


class TestContent:
    def test_an_item_never_seen_comes_up_where_its_content_fits(self, coloured: SequenceModel):
        histories, _ = coloured_walks(30, 1)
        unseen = coloured.scores(list(histories), np.tile(np.arange(N_ITEMS - 3, N_ITEMS), (30, 1)))
        colour = np.asarray([history[0] % 3 for history in histories])
        assert (unseen.argmax(axis=1) == colour).mean() > 0.9

    def test_without_its_content_it_does_not(self):
        histories, _ = coloured_walks(200, 0)
        asked, _ = coloured_walks(30, 1)
        by_id = SequenceModel(**{**SMALL, "epochs": 12}).fit(histories, N_ITEMS)
        unseen = by_id.scores(list(asked), np.tile(np.arange(N_ITEMS - 3, N_ITEMS), (30, 1)))
        np.testing.assert_allclose(unseen, unseen[:, :1].repeat(3, axis=1), atol=1e-5)

    def test_items_that_come_later_are_embedded_as_if_they_had_been_there(self, tmp_path: Path):
        histories, content = coloured_walks(200, 0)
        model = SequenceModel(**{**SMALL, "epochs": 2}).fit(histories, N_ITEMS, content=content)
        before = model.scores(list(histories)[:5])
        model.save(tmp_path / "model")
        grown = SequenceModel.load(tmp_path / "model").grow(N_ITEMS + 3, content=content[-3:])
        after = grown.scores(list(histories)[:5])
        np.testing.assert_allclose(after[:, :N_ITEMS], before, atol=1e-6)
        np.testing.assert_allclose(after[:, N_ITEMS:], before[:, -3:], atol=1e-5)

    def test_an_embedding_follows_a_change_of_content(self, coloured: SequenceModel):
        histories, content = coloured_walks(20, 1)
        last = N_ITEMS - 1  # never taken: nothing but its content is known of it
        changed = copy.copy(coloured).redescribe([last, 0], content[[last, 0]], content[[last - 2, 0]])
        before, after = coloured.scores(list(histories)), changed.scores(list(histories))
        np.testing.assert_allclose(after[:, last], before[:, last - 2], atol=1e-4)
        np.testing.assert_array_equal(after[:, :last], before[:, :last])
        assert np.abs(after[:, last] - before[:, last]).max() > 0.1
        with pytest.raises(InputError, match="items must hold item ids from 0 to 29"):
            coloured.redescribe([N_ITEMS], content[:1], content[:1])

    def test_other_counts_change_what_people_without_a_history_get(self, coloured: SequenceModel):
        counts = np.arange(N_ITEMS)
        recounted = copy.copy(coloured).recount(counts)
        assert recounted.scores([[]])[0].argsort().tolist() == counts.tolist()
        np.testing.assert_array_equal(recounted.scores([[0, 3]]), coloured.scores([[0, 3]]))
        assert recounted.fingerprint_ != coloured.fingerprint_
        with pytest.raises(InputError, match=r"counts must have the shape \(30,\), got \(2,\)"):
            coloured.recount(counts[:2])

    def test_an_interrupted_fit_goes_on_to_the_same_weights(self, tmp_path: Path):
        histories, content = coloured_walks(100, 0)
        settings = {**SMALL, "epochs": 4}
        handler, level = Interrupt(3), logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            with pytest.raises(KeyboardInterrupt):
                SequenceModel(**settings).fit(histories, N_ITEMS, content=content, workdir=tmp_path)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
        resumed = SequenceModel(**settings).fit(histories, N_ITEMS, content=content, workdir=tmp_path)
        undisturbed = SequenceModel(**settings).fit(histories, N_ITEMS, content=content)
        assert_same_weights(resumed, undisturbed)
        assert resumed.fingerprint_ == undisturbed.fingerprint_

    def test_content_is_checked(self, coloured: SequenceModel):
        histories, content = coloured_walks(20, 0)
        with pytest.raises(InputError, match=r"content must have the shape \(30, any width\), got \(29, 3\)"):
            SequenceModel(**SMALL).fit(histories, N_ITEMS, content=content[1:])
        content[4, 1] = np.nan
        with pytest.raises(InputError, match="got NaN or infinity for item 4"):
            SequenceModel(**SMALL).fit(histories, N_ITEMS, content=content)
        with pytest.raises(InputError, match="content was not given"):
            coloured.grow(N_ITEMS + 1)
        with pytest.raises(InputError, match=r"content must have the shape \(1, 3\), got \(1, 2\)"):
            coloured.grow(N_ITEMS + 1, content=[[0.0, 1.0]])
        by_id = SequenceModel(**{**SMALL, "epochs": 1}).fit(histories, N_ITEMS)
        with pytest.raises(InputError, match="fitted without it"):
            by_id.grow(N_ITEMS + 1, content=[[0.0, 1.0, 0.0]])


class TestStorage:
    def test_scores_are_the_same_to_the_bit(self, fitted: SequenceModel, tmp_path: Path):
        fitted.save(tmp_path / "model")
        loaded = SequenceModel.load(tmp_path / "model")
        histories = [*walks(20, seed=6), np.asarray([], np.int32)]
        assert np.array_equal(loaded.scores(histories), fitted.scores(histories))
        assert loaded.get_params() == fitted.get_params()
        assert loaded.fingerprint_ == fitted.fingerprint_
        assert (loaded.epochs_, loaded.best_epoch_) == (fitted.epochs_, fitted.best_epoch_)

    @pytest.mark.parametrize("name", ["weights.safetensors", "parameters.json", "manifest.json"])
    def test_a_truncated_file_is_named(self, fitted: SequenceModel, tmp_path: Path, name: str):
        fitted.save(tmp_path / "model")
        path = tmp_path / "model" / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(StoredFileError, match=name):
            SequenceModel.load(tmp_path / "model")

    def test_not_fitted(self):
        with pytest.raises(InputError, match="not fitted"):
            SequenceModel().scores([[1]])


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("kind", "bert", "kind must be 'sasrec' or 'gru4rec', got 'bert'"),
        ("layers", 0, "layers must be a whole number of 1 or more, got 0"),
        ("epochs", True, "epochs must be a whole number of 1 or more, got True"),
        ("heads", 3, "dimension must be a multiple of heads, got 64 with heads=3"),
        ("dropout", 1.0, "dropout must be 0 or more and below 1, got 1.0"),
        ("learning_rate", float("nan"), "learning_rate must be above 0"),
        ("negatives", 0, "negatives must be 'auto', None or a whole number"),
        ("negatives", "all", "negatives must be 'auto', None or a whole number"),
    ],
)
def test_parameters_are_checked(parameter: str, value: object, message: str):
    with pytest.raises(InputError, match=message):
        SequenceModel(**{parameter: value})


def test_histories_are_checked():
    model = SequenceModel(**SMALL)
    with pytest.raises(InputError, match="no user with two events"):
        model.fit(Histories.from_lists([[1], []]), 5)
    with pytest.raises(InputError, match="item ids from 0 to 4, got 5"):
        model.fit(Histories.from_lists([[1, 5]]), 5)
    with pytest.raises(InputError, match="validation must hold item ids from 0 to 4, got -1"):
        model.fit(Histories.from_lists([[1, 2]]), 5, validation=Histories.from_lists([[-1, 2]]))
    fitted = SequenceModel(**{**SMALL, "epochs": 1}).fit(Histories.from_lists([[1, 2]]), 5)
    with pytest.raises(InputError, match="got 7"):
        fitted.scores([[7]])
    with pytest.raises(InputError, match="candidates must hold item ids from 0 to 4, got 9"):
        fitted.scores([[1]], [[9]])
