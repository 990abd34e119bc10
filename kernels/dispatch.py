"""Which implementation of a kernel runs: one rule for every operation.

The folder of an operation holds one module for each name of ``IMPLEMENTATIONS``. The device of the tensors chooses
(CUDA: ``triton``, CPU: ``cpu``, what neither can do: ``reference``), unless the environment variable
``MMSRAREC_KERNELS`` forces one. Triton, which exists on Linux only, is imported when it is first needed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from types import ModuleType

import torch

from mmsrarec.errors import InputError

__all__ = ["IMPLEMENTATIONS", "VARIABLE", "choose", "implementation"]

IMPLEMENTATIONS = ("reference", "cpu", "triton")
VARIABLE = "MMSRAREC_KERNELS"


@torch.compiler.assume_constant_result
def choose(device_type: str) -> str:
    """Name the implementation that runs for tensors of a device.

    Parameters
    ----------
    device_type
        As of ``tensor.device.type``: ``"cpu"``, ``"cuda"``, …

    Returns
    -------
    str
        One of ``IMPLEMENTATIONS``.

    Raises
    ------
    InputError
        If the variable asks for something unknown, or for what cannot run here.

    Examples
    --------
    >>> choose("meta")
    'reference'
    """
    forced = os.environ.get(VARIABLE, "")
    if forced:
        if forced not in IMPLEMENTATIONS:
            raise InputError(
                f"{VARIABLE} must be one of {', '.join(IMPLEMENTATIONS)} or unset, got {forced!r}."
            )
        obstacle = _obstacle(forced, device_type)
        if obstacle:
            raise InputError(f"{VARIABLE} is {forced!r}, but {obstacle}; unset it, or take 'reference'.")
        return forced
    natural = {"cpu": "cpu", "cuda": "triton"}.get(device_type, "reference")
    return "reference" if _obstacle(natural, device_type) else natural


def implementation(operation: str, name: str) -> ModuleType:
    """Import one module of an operation's folder.

    Parameters
    ----------
    operation
        Name of the folder.
    name
        One of ``IMPLEMENTATIONS``.
    """
    return importlib.import_module(f"mmsrarec.kernels.{operation}.{name}")


def _obstacle(name: str, device_type: str) -> str | None:
    """Say why an implementation cannot run on a device, or None."""
    if name == "cpu":
        if device_type != "cpu":
            return f"the tensors are on {device_type}"
        return None if _found("mmsrarec._native") else "the compiled module mmsrarec._native is missing"
    if name == "triton":
        if not _found("triton"):
            return "the package triton is not installed (it exists for Linux)"
        if device_type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            return f"the tensors are on {device_type}, where Triton needs TRITON_INTERPRET=1"
    return None


@functools.cache
def _found(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
