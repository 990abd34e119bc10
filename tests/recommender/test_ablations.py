"""Parts left out by name: each changes what it says it changes, and rows share what they have in common."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmsrarec import Recommender
from mmsrarec.cli.ablating import gains_rows
from mmsrarec.errors import InputError
from mmsrarec.evaluate import ablation_gains, evaluate_ablations, evaluate_recommender
from mmsrarec.evaluate.ablations import row_name
from mmsrarec.recommender.ablation import PARTS
from mmsrarec.tune import yes_no_prompt

MADE = {
    "keywords": {"ranker", "blend"},
    "grpo": {"summarizer", "keywords", "ranker", "blend"},
    "similar_users": {"ranker", "blend"},
    "paths": {"ranker", "blend"},
    "multi_task": {"ranker", "blend"},
    "sft": {"blend"},
    "image": {"ranker", "blend"},
    "mllm": {"blend"},
}


@pytest.fixture(scope="module")
def row(
    parameters: dict, parts, fitted: Recommender, workdir: Path, tmp_path_factory: pytest.TempPathFactory
):
    """Fit without one part, sharing what the whole fit made."""

    def fit(part: str) -> Recommender:
        folder = tmp_path_factory.mktemp("row")
        return Recommender(**parameters, without=[part]).fit(
            parts[0], parts[1], workdir=folder, shared=[workdir]
        )

    return fit


def prompt_of(recommender: Recommender, user: int = 0):
    engine = recommender.engine_
    history = recommender.parts_.users.histories[user]
    items = np.arange(engine.n_items)
    contexts = engine.builder.build([history[:-1]])
    [evidence] = engine.builder.evidence([history[:-1]], [items])
    item = max(items, key=lambda item: evidence[item].bridge_users if item not in history else -1)
    return yes_no_prompt(contexts[0], engine.builder.view, int(item), evidence[item])


@pytest.mark.parametrize("part", [part for part in PARTS if part != "grpo"])
def test_each_part_is_left_out_and_the_rest_is_shared(
    part: str, row, fitted: Recommender, parts, tmp_path: Path
) -> None:
    without = row(part)
    assert set(without.stages_made_) == MADE[part]
    whole, less = prompt_of(fitted), prompt_of(without)
    told = "Chosen by", "Keywords:"
    if part == "image":
        assert (len(whole.pictures), len(less.pictures)) == (1, 0)
        assert less.text == whole.text
    elif part == "similar_users":
        assert "next:\n- nothing known" in less.text
        assert [one.engine_.builder.neighbours for one in (fitted, without)] == [3, 0]
    elif part == "paths":
        assert [word in whole.text for word in told] == [True, True]
        assert [word in less.text for word in told] == [False, True]
    elif part == "keywords":
        assert [word in less.text for word in told] == [True, False]
    else:
        assert less == whole
    assert without.parts_.language_model.tuned == (part not in ("sft", "mllm"))
    without.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.without == [part]
    user = parts[0].user_ids[0]
    assert loaded.recommend([user], k=3).equals(without.recommend([user], k=3))
    if part == "mllm":
        assert loaded.explain(user).probability is None
        with pytest.raises(InputError, match="the language model was left out"):
            loaded.predict(users=[user], items=[parts[0].item_ids[0]])


def test_unknown_part_is_a_clear_error(parameters: dict, parts, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without must be a list of names from"):
        Recommender(**parameters | {"without": ["other"]}).fit(parts[0], parts[1])
    with pytest.raises(InputError, match="without must be a list of names from"):
        evaluate_ablations(Recommender(**parameters), *parts[::2], ablate=["other"], workdir=tmp_path)
    loaded = Recommender(**parameters | {"backbone": ("model", "processor")})
    with pytest.raises(InputError, match="backbone must be a name or a folder"):
        evaluate_ablations(loaded, *parts[::2], ablate=["sft"], workdir=tmp_path)


def test_one_table_resumable(
    parameters: dict, parts, fitted: Recommender, workdir: Path, monkeypatch
) -> None:
    train, validation, test = parts
    asked = []
    measure = evaluate_recommender

    def recording(recommender: Recommender, *given, **named):
        asked.append(list(recommender.without))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return measure(recommender, *given, **named)

    monkeypatch.setitem(evaluate_ablations.__globals__, "evaluate_recommender", recording)

    def make():
        return evaluate_ablations(
            Recommender(**parameters),
            train,
            test,
            validation=validation,
            ablate=["sft", "mllm"],
            workdir=workdir,
            negatives=6,
        )

    with pytest.raises(KeyboardInterrupt):
        make()
    assert asked == [[], ["sft"], ["mllm"]]
    table = make()
    assert asked == [[], ["sft"], ["mllm"], ["mllm"]]
    again = make()
    assert len(asked) == 4
    assert again.per_user.equals(table.per_user)
    assert table.models == [
        "mmsrarec", "p(yes) alone", "in real time", "sequence model", "popularity", "item-kNN", "without sft",
        "without sft: p(yes) alone", "without mllm",
    ]  # fmt: skip
    direct = measure(fitted, test, negatives=6, full_catalogue=False)
    assert table.value("mmsrarec", "uniform", "AUC") == direct.value("mmsrarec", "uniform", "AUC")
    difference = table.compare("mmsrarec", row_name("sft"), "uniform", "AUC")
    assert np.isfinite(difference.difference)
    assert table.reliability is not None
    assert table.reliability.equals(direct.reliability)
    assert list(table.reliability_by_model()) == ["p(yes) alone", "mmsrarec"]
    gains = ablation_gains(table, ["sft", "mllm"])
    assert gains.group_by("part", maintain_order=True).len().rows() == [("sft", 6), ("mllm", 3)]
    shown = gains_rows(gains)
    difference = table.compare("mmsrarec", "without mllm", "uniform", "NDCG@5")
    assert ("mllm", "mmsrarec", "NDCG@5, uniform negatives", f"{100 * difference.difference:+.2f}") in [
        row[:4] for row in shown
    ]


def test_where_nothing_was_tuned_leaving_tuning_out_is_not_made_or_measured_again(
    parameters: dict, parts, tmp_path: Path, monkeypatch
) -> None:
    asked = []
    measure = evaluate_recommender

    def recording(recommender: Recommender, *given, **named):
        asked.append(recommender.stages_made_)
        return measure(recommender, *given, **named)

    monkeypatch.setitem(evaluate_ablations.__globals__, "evaluate_recommender", recording)
    bare = replace(parameters["preset"], tune_examples=0, readout_users=0)
    table = evaluate_ablations(
        Recommender(**parameters | {"preset": bare}),
        parts[0],
        parts[2],
        validation=parts[1],
        ablate=["sft", "multi_task"],
        workdir=tmp_path / "run",
        negatives=6,
    )
    assert len(asked) == 1
    assert "blend" in asked[0]
    assert not list((tmp_path / "run" / "ablations").glob("*/blend"))
    gains = ablation_gains(table, ["sft", "multi_task"])
    assert gains.height == 12
    assert gains.select("gain", "low", "high").to_numpy().any() == 0
