"""Files are whole or absent, and what is damaged is named."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec import storage
from mmsrarec.errors import StoredFileError
from mmsrarec.storage import (
    MANIFEST,
    atomic_path,
    exclusive_folder,
    fingerprint,
    read_artefact,
    read_json,
    write_artefact,
    write_json,
)

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    def write(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.bin").write_bytes(bytes(range(256)))
        write_json(folder / "b.json", {"k": 1})

    write_artefact(tmp_path / "model", "thing", "f0", write)
    return tmp_path / "model"


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_disk_full_is_one_clear_error(tmp_path: Path) -> None:
    with (
        pytest.raises(StoredFileError, match="could not be written: No space left"),
        atomic_path(tmp_path / "a"),
    ):
        Path("/dev/full").write_text("x" * 100_000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_read_only_folder_is_one_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoredFileError, match="writable folder"):
        write_json(tmp_path / "a.json", 1)


def test_folder_that_cannot_exist_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoredFileError, match="could not be written"):
        write_artefact(tmp_path / "file" / "model", "thing", "f0", lambda folder: None)
    with pytest.raises(StoredFileError, match="could not be written"):
        write_json(tmp_path / "file" / "a.json", 1)


@given(plain)
def test_fingerprint_survives_json(value: object) -> None:
    assert fingerprint(value) == fingerprint(json.loads(json.dumps(value)))


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_fingerprint_tells_lists_apart(one: list[str], other: list[str]) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


def test_fingerprint_tells_types_and_shapes_apart() -> None:
    zeros = [
        np.zeros(4, np.int32),
        np.zeros(4, np.float32),
        np.zeros((2, 2), np.int32),
        b"",
        "",
        None,
        0,
        0.0,
        False,
    ]
    assert len({fingerprint(value) for value in zeros}) == len(zeros)


def test_fingerprint_is_the_same_in_another_process() -> None:
    code = "from mmsrarec.storage import fingerprint; print(fingerprint({'b': [1, 'é'], 'a': None}))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == fingerprint({"a": None, "b": [1, "é"]})


def test_a_folder_is_left_as_it_was_found(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive_folder(tmp_path / "run"):
            assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
        assert not any((tmp_path / "run").iterdir())


def test_a_lock_that_its_owner_took_away_meanwhile_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening of the file and its locking, whoever was in there ends."""
    lock, waiting = storage.fcntl.flock, [True]

    def flock(descriptor: int, how: int) -> None:
        if waiting:
            waiting.clear()
            (tmp_path / ".lock").unlink()
        lock(descriptor, how)

    monkeypatch.setattr(storage.fcntl, "flock", flock)
    with exclusive_folder(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_artefact_round_trip(artefact: Path) -> None:
    manifest = read_artefact(artefact, "thing")
    assert manifest["made_from"] == "f0"
    assert set(manifest["files"]) == {"inner/a.bin", "b.json"}


def test_what_is_not_read_may_be_damaged_or_missing(artefact: Path) -> None:
    (artefact / "inner" / "a.bin").write_bytes(bytes(256))
    with pytest.raises(StoredFileError, match=r"a\.bin does not match its checksum"):
        read_artefact(artefact, "thing", unread=["b.json"])
    (artefact / "b.json").unlink()
    read_artefact(artefact, "thing", unread=["inner", "b.json"])
    with pytest.raises(StoredFileError, match=r"b\.json is missing"):
        read_artefact(artefact, "thing", unread=["inner", "json"])


@pytest.mark.parametrize("bit", range(0, 2048, 97))
def test_every_flipped_bit_is_found(artefact: Path, bit: int) -> None:
    path = artefact / "inner" / "a.bin"
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))
    with pytest.raises(StoredFileError, match=r"a\.bin does not match its checksum"):
        read_artefact(artefact, "thing")


def test_damage_is_named(artefact: Path) -> None:
    path = artefact / "inner" / "a.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoredFileError, match=r"a\.bin has 255 bytes, expected 256"):
        read_artefact(artefact, "thing")
    path.unlink()
    with pytest.raises(StoredFileError, match=r"a\.bin is missing"):
        read_artefact(artefact, "thing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "was not written by mmsrarec"),
        ({"format_version": 99}, "has format version 99, this mmsrarec reads up to 1; install a newer"),
        ({"kind": "other"}, "holds a 'other', expected a 'thing'"),
    ],
)
def test_foreign_and_newer_are_refused(artefact: Path, change: dict[str, object], message: str) -> None:
    write_json(artefact / MANIFEST, read_json(artefact / MANIFEST) | change)
    with pytest.raises(StoredFileError, match=message):
        read_artefact(artefact, "thing")


def test_what_is_no_artefact_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoredFileError, match="is not a folder; expected a saved thing"):
        read_artefact(tmp_path / "none", "thing")
    with pytest.raises(StoredFileError, match=r"holds no manifest\.json"):
        read_artefact(tmp_path, "thing")
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(StoredFileError, match="not readable JSON"):
        read_artefact(tmp_path, "thing")


def test_a_folder_of_someone_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(StoredFileError, match="it is not overwritten"):
        write_artefact(tmp_path, "thing", "f0", lambda folder: None)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_failed_artefact_leaves_the_old_one(artefact: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_artefact(artefact, "thing", "f1", fail)
    assert read_artefact(artefact, "thing")["made_from"] == "f0"
    assert [path.name for path in artefact.parent.iterdir()] == ["model"]


def test_sigkill_while_writing_leaves_old_or_new(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os
        from mmsrarec.storage import write_artefact
        def write(folder):
            (folder / "a.bin").write_bytes(os.urandom(200_000))
        print("ready", flush=True)
        round = 0
        while True:
            round += 1
            write_artefact({str(tmp_path / "model")!r}, "thing", str(round), write)
            print(round, flush=True)
        """
    )
    for lines in (2, 3, 5, 8):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "model").exists():
            read_artefact(tmp_path / "model", "thing")
