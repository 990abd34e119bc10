"""What was answered is there again, to the bit, whatever moment it was cut off at."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsrarec.errors import StoredFileError
from mmsrarec.rank import KeptProbabilities

PROBABILITIES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6)


@given(first=PROBABILITIES, second=PROBABILITIES, cut=st.integers(0, 400))
def test_cut_off_anywhere_it_holds_what_was_whole(
    tmp_path_factory: pytest.TempPathFactory, first: list[float], second: list[float], cut: int
) -> None:
    path = tmp_path_factory.mktemp("kept") / "probabilities.jsonl"
    keys = [f"a{place}" for place in range(len(first))]
    KeptProbabilities(path).add(keys, np.array(first, np.float32))
    path.write_bytes(path.read_bytes()[:cut])
    kept = KeptProbabilities(path)
    whole = [place for place in range(len(first)) if place not in kept.missing(keys)]
    assert whole == list(range(len(whole)))
    assert kept.of(keys[: len(whole)]).tolist() == np.array(first, np.float32)[: len(whole)].tolist()
    others = [f"b{place}" for place in range(len(second))]
    kept.add(others, np.array(second, np.float32))
    again = KeptProbabilities(path)
    assert len(again) == len(kept) == len(whole) + len(second)
    assert again.of(others).tolist() == np.array(second, np.float32).tolist()


def test_missing_names_each_key_once(tmp_path: Path) -> None:
    kept = KeptProbabilities(tmp_path / "probabilities.jsonl")
    assert kept.missing([]) == []
    kept.add(["b"], np.float32([0.5]))
    assert kept.missing(["a", "b", "c", "a", "b"]) == [0, 2]


def test_what_is_no_pair_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "probabilities.jsonl"
    path.write_bytes(b'7\nnull\n["a"]\n["a", "x"]\n["a", 0.5, 1]\n\xff\n["b", 0.25]\n')
    kept = KeptProbabilities(path)
    assert len(kept) == 1
    assert kept.of(["b"]).tolist() == [0.25]


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoredFileError, match=r"file/probabilities.jsonl cannot be used"):
        KeptProbabilities(tmp_path / "file" / "probabilities.jsonl").add(["a"], np.float32([0.5]))
    with pytest.raises(StoredFileError, match="cannot be used: Is a directory"):
        KeptProbabilities(tmp_path)
