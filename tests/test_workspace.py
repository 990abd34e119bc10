"""A stage is made once, goes on after a kill, and is made again when its inputs or its files change."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mmsrarec.errors import InputError, StoredFileError
from mmsrarec.workspace import CHECKPOINT, Workspace


class Counter:
    """Builds and loads a stage, and counts how often it built."""

    def __init__(self) -> None:
        self.built = 0

    def build(self, folder: Path) -> None:
        self.built += 1
        (folder / CHECKPOINT).mkdir(exist_ok=True)
        (folder / "value.txt").write_text(str(self.built))

    def load(self, folder: Path) -> str:
        return (folder / "value.txt").read_text()


def test_unchanged_stage_is_kept(tmp_path: Path) -> None:
    counter = Counter()
    for _ in range(2):
        with Workspace(tmp_path) as workspace:
            assert workspace.stage("a", "f0", counter.build, counter.load) == "1"
    assert workspace.kept == ["a"]
    assert workspace.made == []
    assert not (tmp_path / "a" / CHECKPOINT).exists()
    assert workspace.timings()["a"]["peak_memory_mebibytes"] > 1


def test_changed_inputs_make_it_again(tmp_path: Path) -> None:
    counter = Counter()
    with Workspace(tmp_path) as workspace:
        workspace.stage("a", "f0", counter.build, counter.load)
        assert workspace.stage("a", "f1", counter.build, counter.load) == "2"


def test_a_finished_stage_of_another_workspace_is_used_and_not_changed(tmp_path: Path) -> None:
    counter = Counter()
    with Workspace(tmp_path / "first") as workspace:
        workspace.stage("a", "f0", counter.build, counter.load)
    with Workspace(tmp_path / "second", shared=[tmp_path / "missing", tmp_path / "first"]) as workspace:
        assert workspace.stage("a", "f0", counter.build, counter.load) == "1"
        assert workspace.kept == ["a"]
        assert not (tmp_path / "second" / "a").exists()
        assert workspace.stage("a", "f1", counter.build, counter.load) == "2"
    assert (tmp_path / "first" / "a" / "value.txt").read_text() == "1"
    # A damaged one is not taken over, and not repaired where it lies.
    (tmp_path / "first" / "a" / "value.txt").write_text("7")
    with Workspace(tmp_path / "third", shared=[tmp_path / "first"]) as workspace:
        assert workspace.stage("a", "f0", counter.build, counter.load) == "3"
    assert (tmp_path / "first" / "a" / "value.txt").read_text() == "7"


def test_damaged_artefact_is_made_again(tmp_path: Path) -> None:
    counter = Counter()
    with Workspace(tmp_path) as workspace:
        workspace.stage("a", "f0", counter.build, counter.load)
        (tmp_path / "a" / "value.txt").write_text("7")
        assert workspace.stage("a", "f0", counter.build, counter.load) == "2"


def test_interrupted_stage_finds_what_it_left(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Workspace(tmp_path) as workspace:
        workspace.stage("a", "f0", interrupted, lambda folder: None)
    assert not (tmp_path / "a").exists()
    with Workspace(tmp_path) as workspace:
        names = workspace.stage(
            "a", "f0", lambda folder: None, lambda folder: sorted(path.name for path in folder.iterdir())
        )
    assert names == ["half.txt", "manifest.json"]


def test_leftovers_of_other_inputs_are_dropped(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Workspace(tmp_path) as workspace:
        workspace.stage("a", "f0", interrupted, lambda folder: None)
    with Workspace(tmp_path) as workspace:
        names = workspace.stage(
            "a", "f1", lambda folder: None, lambda folder: sorted(path.name for path in folder.iterdir())
        )
    assert names == ["manifest.json"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    code = f"""
from mmsrarec.workspace import Workspace
with Workspace({str(tmp_path)!r}):
    print("in", flush=True); input()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    other.stdout.readline()
    try:
        with pytest.raises(InputError, match="in use by another process"), Workspace(tmp_path):
            pass
    finally:
        other.communicate("\n")
    with Workspace(tmp_path):
        pass


def test_a_script_that_fits_as_workers_read_it_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing, sys
            from mmsrarec.workspace import Workspace

            with Workspace(sys.argv[1]):
                worker = multiprocessing.get_context("spawn").Process(target=print, args=("worked",))
                worker.start()
                worker.join()
            sys.exit(worker.exitcode)
            """
        )
    )
    found = subprocess.run([sys.executable, script, tmp_path / "run"], capture_output=True, text=True)
    assert found.returncode == 1
    assert "worked" not in found.stdout
    assert 'put what it does under if __name__ == "__main__":.' in found.stderr
    assert "in use by another process" not in found.stderr


def test_workdir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoredFileError, match="cannot be written to"), Workspace(tmp_path / "file"):
        pass


def test_sigkill_at_any_moment_ends_with_the_same_artefact(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import time
        from mmsrarec.workspace import Workspace
        def build(folder):
            done = folder / "numbers.txt"
            numbers = done.read_text().split() if done.exists() else []
            for number in range(len(numbers), 40):
                numbers.append(str(number))
                temporary = folder / "numbers.tmp"
                temporary.write_text(" ".join(numbers))
                temporary.replace(done)
                print(number, flush=True)
                time.sleep(0.002)
        with Workspace({str(tmp_path)!r}) as workspace:
            for stage in "ab":
                workspace.stage(stage, "f0", build, lambda folder: None)
        print("end", flush=True)
        """
    )
    for lines in (1, 15, 30, 12, 25):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    expected = " ".join(str(number) for number in range(40))
    for stage in "ab":
        assert (tmp_path / stage / "numbers.txt").read_text() == expected
    assert not list(tmp_path.glob("*.partial"))
