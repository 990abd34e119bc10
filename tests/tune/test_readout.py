"""The readout: fitted to what is left over, never kept without a gain, the same after an interruption."""

import numpy as np
import pytest
import torch

from mmsrarec.backbone import Backbone, Readout
from mmsrarec.backbone.losses import comparison_loss
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.retrieve import ContextBuilder
from mmsrarec.tune import compared_states, fit_readout, last_choices, sample_examples
from mmsrarec.tune.readout import _loss


def made(rng: np.random.Generator, users: int, told: float) -> tuple[np.ndarray, np.ndarray]:
    """States whose first number says which candidate is right, as loudly as told."""
    states = rng.normal(2.0, 3.0, size=(users, 6, 20))
    states[:, 0, 0] += 3.0 * told
    return states, rng.normal(size=(users, 6))


def auc(scores: np.ndarray) -> float:
    return float((scores[:, :1] > scores[:, 1:]).mean())


def test_what_states_tell_is_found_and_holds_for_others() -> None:
    rng = np.random.default_rng(0)
    states, log_odds = made(rng, 120, 2.0)
    fitted = fit_readout({None: states}, log_odds)
    states, log_odds = made(rng, 400, 2.0)
    scores = log_odds + fitted.readout(torch.tensor(states)).numpy()
    assert abs(fitted.auc_without - 0.5) < 0.05
    assert auc(scores) > 0.85
    assert abs(auc(scores) - fitted.auc_with) < 0.05
    # Both answers weigh the same, so p is around a half between right and wrong.
    p = 1 / (1 + np.exp(-scores))
    assert p[:, 0].mean() > 0.6 > 0.4 > p[:, 1:].mean()


def test_nothing_is_kept_where_states_tell_nothing() -> None:
    def kept(seed: int, users: int, told: float) -> bool:
        states, log_odds = made(np.random.default_rng(seed), users, told)
        return fit_readout({None: states}, log_odds).readout is not None

    assert sum(kept(seed, 40, 0.0) for seed in range(20)) <= 6  # one standard error: one in six by chance
    assert not kept(0, 9, 3.0)


@pytest.mark.parametrize(("top", "below", "chosen"), [(2.0, 0.5, None), (0.5, 2.0, 18)])
def test_the_layer_that_tells_more_of_others_is_read(top: float, below: float, chosen: int | None) -> None:
    def both(users: int) -> tuple[dict[int | None, np.ndarray], np.ndarray]:
        states, log_odds = made(rng, users, top)
        return {None: states, 18: made(rng, users, below)[0]}, log_odds

    rng = np.random.default_rng(1)
    fitted = fit_readout(*both(120))
    assert fitted.readout.layer == chosen
    states, log_odds = both(400)
    scores = fitted.readout(torch.tensor(states[chosen])).numpy() + (log_odds if chosen is None else 0.0)
    assert auc(scores) > 0.85
    assert abs(auc(scores) - fitted.auc_with) < 0.05


def test_its_loss_is_that_of_tuning() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 4))
    loss, slope = _loss(scores)
    tensor = torch.tensor(scores, requires_grad=True)
    expected = torch.stack([comparison_loss(row, 0) for row in tensor]).mean()
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()))
    np.testing.assert_allclose(slope, tensor.grad.numpy(), atol=1e-12)


def test_states_are_those_that_ranking_reads_and_an_interrupted_run_goes_on(
    catalogue, builder: ContextBuilder, tiny_llava: Backbone, tmp_path, monkeypatch
) -> None:
    examples = last_choices(catalogue.histories(), builder, count=20)
    states, log_odds = compared_states(tiny_llava, examples, workdir=tmp_path / "whole")
    assert list(states) == [None, 1]  # of two layers
    prompts = [prompt for example in examples for prompt in example.prompt]
    direction = np.random.default_rng(0).normal(size=states[None].shape[-1]).astype(np.float32)
    for layer, read in states.items():
        readout = Readout(direction, 0.3, layer)
        scores = readout(torch.tensor(read)).numpy() + (log_odds if layer is None else 0.0)
        found = tiny_llava.first_token_probability(prompts, readout=readout)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-scores.ravel())), atol=1e-5)

    calls, run = [], Backbone.hidden_states

    def failing(self, asked, **more):
        calls.append(len(asked))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(self, asked, **more)

    monkeypatch.setattr(Backbone, "hidden_states", failing)
    with pytest.raises(KeyboardInterrupt):
        compared_states(tiny_llava, examples, workdir=tmp_path / "cut")
    resumed = compared_states(tiny_llava, examples, workdir=tmp_path / "cut")
    assert calls == [48, 48, 48, 24]
    assert all(np.array_equal(resumed[0][layer], read) for layer, read in states.items())
    assert np.array_equal(resumed[1], log_odds)


@pytest.mark.parametrize("layer", [None, 18])
def test_saved_is_loaded(tmp_path, layer: int | None) -> None:
    readout = Readout(np.arange(4, dtype=np.float32), -0.5, layer)
    readout.save(tmp_path / "readout.safetensors")
    again = Readout.load(tmp_path / "readout.safetensors")
    assert np.array_equal(again.direction, readout.direction)
    assert (again.shift, again.layer) == (readout.shift, readout.layer)
    (tmp_path / "readout.safetensors").write_bytes(b"no tensors")
    with pytest.raises(StoredFileError, match="no saved readout"):
        Readout.load(tmp_path / "readout.safetensors")


def test_other_kinds_are_refused(catalogue, builder: ContextBuilder, tiny_llava: Backbone, tmp_path) -> None:
    examples = sample_examples(catalogue.histories(), builder, count=2, mixture={"yes_no": 1.0})
    with pytest.raises(InputError, match='must be of kind "compare"'):
        compared_states(tiny_llava, examples, workdir=tmp_path)
