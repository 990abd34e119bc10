"""Which implementation runs, and what is said where the one asked for cannot."""

import subprocess
import sys

import pytest
import torch
from mmsrarec.kernels import backend, dispatch, sequence_nll

from mmsrarec.errors import InputError


@pytest.fixture(autouse=True)
def unforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def test_the_device_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend("cpu") == {"sequence_nll": "cpu", "group_reward": "cpu"}
    assert set(backend("meta").values()) == {"reference"}
    monkeypatch.setattr(dispatch, "_found", lambda module: module != "triton")
    assert set(backend("cuda").values()) == {"reference"}
    monkeypatch.setattr(dispatch, "_found", lambda module: module == "triton")
    assert set(backend("cuda").values()) == {"triton"}
    assert set(backend("cpu").values()) == {"reference"}


@pytest.mark.parametrize("forced", ["reference", "cpu"])
def test_the_variable_forces(forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSRAREC_KERNELS", forced)
    assert set(backend("cpu").values()) == {forced}


def test_triton_is_forced_onto_the_cpu_under_its_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("MMSRAREC_KERNELS", "triton")
    with pytest.raises(InputError, match="MMSRAREC_KERNELS is 'triton', but the tensors are on cpu, where"):
        backend("cpu")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert set(backend("cpu").values()) == {"triton"}


def test_what_cannot_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSRAREC_KERNELS", "fast")
    with pytest.raises(
        InputError, match="MMSRAREC_KERNELS must be one of reference, cpu, triton or unset, got 'fast'"
    ):
        backend()
    monkeypatch.setenv("MMSRAREC_KERNELS", "cpu")
    with pytest.raises(InputError, match="MMSRAREC_KERNELS is 'cpu', but the tensors are on cuda"):
        backend("cuda")
    monkeypatch.setattr(dispatch, "_found", lambda module: False)
    with pytest.raises(InputError, match=r"compiled module mmsrarec\._native is missing"):
        backend("cpu")
    monkeypatch.setenv("MMSRAREC_KERNELS", "triton")
    with pytest.raises(InputError, match="package triton is not installed"):
        backend("cuda")


def test_a_call_obeys_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = torch.zeros(2, 3), torch.zeros(4, 3), torch.tensor([0, 3]), torch.tensor([0, 2])
    assert sequence_nll(*arguments).exp().item() == pytest.approx(4)
    monkeypatch.setenv("MMSRAREC_KERNELS", "fast")
    with pytest.raises(InputError, match="MMSRAREC_KERNELS"):
        sequence_nll(*arguments)


def test_triton_is_imported_only_when_needed() -> None:
    code = (
        "import sys, mmsrarec.kernels.sequence_nll.cpu, mmsrarec.kernels;"
        "print('mmsrarec.kernels.sequence_nll.triton' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
