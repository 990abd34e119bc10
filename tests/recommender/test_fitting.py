"""A fit is done once, goes on after a kill, and ends with the same bytes as one never killed."""

import hashlib
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmsrarec import Recommender
from mmsrarec.backbone import Backbone, SentenceEncoder
from mmsrarec.backbone.projection import projector_of
from mmsrarec.recommender.fitting import Fit
from mmsrarec.recommender.settings import FitSettings
from mmsrarec.workspace import Workspace

STAGES = ["summarizer", "keywords", "item_vectors", "sequence_model", "similar_users", "ranker", "blend"]


def test_every_stage_was_made(fitted: Recommender, workdir: Path) -> None:
    assert list(fitted.stages_made_) == STAGES
    assert set(fitted.timings_) == set(STAGES)
    assert "stage blend: done" in (workdir / "mmsrarec.log").read_text()
    assert not list(workdir.glob("*.partial"))


def test_second_identical_fit_does_nothing_and_says_so(
    fitted: Recommender, parameters: dict, parts, workdir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    again = Recommender(**parameters).fit(parts[0], parts[1], workdir=workdir)
    assert again.stages_made_ == ()
    assert "nothing was fitted again" in caplog.text
    user, item = parts[0].user_ids[0], parts[0].item_ids[0]
    assert again.predict(users=[user], items=[item]) == fitted.predict(users=[user], items=[item])


def test_a_changed_parameter_makes_what_depends_on_it(
    fitted: Recommender, parameters: dict, parts, workdir
) -> None:
    changed = Recommender(**{**parameters, "similar_users": 1}).fit(parts[0], parts[1], workdir=workdir)
    assert list(changed.stages_made_) == ["ranker", "blend"]
    back = Recommender(**parameters).fit(parts[0], parts[1], workdir=workdir)
    assert list(back.stages_made_) == ["ranker", "blend"]


def test_a_catalogue_without_pictures_has_none_to_align_on_or_to_leave_out(
    parameters: dict, parts, tmp_path: Path
) -> None:
    small = replace(parameters["preset"], align_items=4, align_epochs=1, grpo_steps=0, tune_examples=0)
    settings = FitSettings.of(Recommender(**parameters | {"preset": small}).get_params())
    train, validation, _ = (replace(part, images=None) for part in parts)
    backbone = Backbone.load(parameters["backbone"], device="cpu")
    came = {name: value.clone() for name, value in projector_of(backbone).state_dict().items()}
    with Workspace(tmp_path) as workspace:
        fitted = Fit(
            replace(settings, align=True), backbone, SentenceEncoder.load("embedded"), train, validation
        ).run(workspace)
        assert list(workspace.made) == STAGES
    assert not fitted.language_model.aligned
    blind = replace(settings, without=frozenset({"image"}))
    with Workspace(tmp_path) as workspace:
        Fit(blind, backbone, SentenceEncoder.load("embedded"), train, validation).run(workspace)
        assert not workspace.made
    assert all(torch.equal(came[name], value) for name, value in projector_of(backbone).state_dict().items())


def test_order_of_test_users_items_leaks_nowhere(parts) -> None:
    """Test users are in no artefact: neither train nor validation holds any of them."""
    train, validation, test = parts
    assert not set(test.user_ids) & (set(train.user_ids) | set(validation.user_ids))


_FIT = """
import sys
from mmsrarec import Recommender, make_catalogue
sys.path.insert(0, sys.argv[4])
from conftest import TINY
train, validation, _ = make_catalogue(40, 60, 0, folder=sys.argv[3]).split(by="user", seed=0)
Recommender(backbone=sys.argv[1], encoder="embedded", preset=TINY, device="cpu", seed=3).fit(
    train, validation, workdir=sys.argv[2])
"""


@pytest.mark.slow
def test_killed_at_many_moments_ends_with_the_same_artefacts(
    fitted: Recommender, tiny_folder: Path, workdir: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-c", _FIT, str(tiny_folder), str(tmp_path / "run"), str(tmp_path / "shop"),
        str(Path(__file__).parent),
    ]  # fmt: skip
    for seconds in (9, 11, 13, 15, 17, 20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    for stage in STAGES:
        assert _bytes(tmp_path / "run" / stage) == _bytes(workdir / stage), stage


def _bytes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_workdir_in_use_is_a_clear_error(parameters: dict, parts, tmp_path: Path) -> None:
    from mmsrarec.errors import InputError

    with Workspace(tmp_path), pytest.raises(InputError, match="in use by another process"):
        Recommender(**parameters).fit(parts[0], parts[1], workdir=tmp_path)
