"""P2 and P2b: ``sequence_nll`` on the CPU, without and with the gradient to the hidden states, in float32.

Peers: the bare product of hidden states and output matrix into an array that is already there (the limit; it makes no
gradient), full logits with torch's cross-entropy, and torch's chunked ``F.linear_cross_entropy`` with two chunkings.
Before each round the bare product is timed, and "products" is the median of the rounds' ratios to it: other work on
the machine then slows both sides. Peak memory is the growth of the high-water mark of a fresh process over one call.

Shapes T × d × V, separated by commas, are read from ``MMSRAREC_BENCH_SHAPES`` (default 2048x576x49152). With
``MMSRAREC_BENCH_TRAINED=1`` P2b also runs on hidden states of the embedded backbone, reading its own generated shop,
where ``skip_below`` has something to skip; T is then as many tokens, the other two are the backbone's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import pytest
import torch
from mmsrarec.kernels import sequence_nll
from torch.nn import functional as F

SHAPES = [
    tuple(int(size) for size in shape.split("x"))
    for shape in os.environ.get("MMSRAREC_BENCH_SHAPES", "2048x576x49152").split(",")
]
TRAINED = os.environ.get("MMSRAREC_BENCH_TRAINED") == "1"
SKIP_BELOW = 5e-8
ROUNDS = 3
# Of ours: at most so many products, and so many mebibytes.
MOST = {
    ("P2", "ours"): (1.08, 64.0),
    ("P2b", "ours"): (2.15, 80.0),
    ("P2b trained", "ours_skipping"): (1.6, 80.0),
}
Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def problem(tokens: int, width: int, words: int) -> Problem:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator)
    weight = torch.randn(words, width, generator=generator) / width**0.5
    targets = torch.randint(words, (tokens,), generator=generator)
    return hidden, weight, targets, torch.linspace(0, tokens, 17).long()  # sixteen sequences


def trained_problem(tokens: int) -> Problem:
    """Hidden states of the embedded backbone over texts of a generated shop; each predicts the token after it."""
    import tempfile
    from pathlib import Path

    from mmsrarec.backbone import Backbone, Prompt
    from mmsrarec.backbone.forward import hidden_of_whole
    from mmsrarec.data import make_catalogue

    backbone = Backbone.load("embedded")
    with tempfile.TemporaryDirectory() as folder:
        data = make_catalogue(400, 20, 0, folder=Path(folder))
        texts = [data.item_content(item).text for item in range(data.n_items)]
    hidden, targets = [], []
    with torch.no_grad():
        for first in range(0, len(texts), 16):
            rows = backbone.encode([Prompt((text,)) for text in texts[first : first + 16]])
            states = hidden_of_whole(backbone, rows)
            for row, one in zip(states, rows, strict=True):
                hidden.append(row[: len(one) - 1])
                targets.append(one.input_ids[1:])
            if sum(map(len, targets)) >= tokens:
                break
    head = backbone.output_head()
    states = head.scaled(torch.cat(hidden)[:tokens]).detach().clone()
    weight = head.weight.detach().clone()
    return states, weight, torch.cat(targets)[:tokens].clone(), torch.tensor([0, len(states)])


def with_gradient(score: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
    hidden = hidden.detach().requires_grad_()
    score(hidden).sum().backward()
    return hidden.grad


def full_logits(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(hidden @ weight.T, targets)


def chunked(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, rows: int | None
) -> torch.Tensor:
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=rows)
    return F.linear_cross_entropy(hidden, weight, targets, options=options)


def contenders(given: Problem) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """What is compared, each a function of the hidden states."""
    _, weight, targets, offsets = given
    made: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "ours": lambda hidden: sequence_nll(hidden, weight, targets, offsets),
        "ours_skipping": lambda hidden: sequence_nll(hidden, weight, targets, offsets, skip_below=SKIP_BELOW),
        "full_logits": lambda hidden: full_logits(hidden, weight, targets),
    }
    if hasattr(F, "linear_cross_entropy"):
        # By torch's own choice, and in blocks of logits as large as the memory that P2 allows.
        for name, rows in (("chunked", None), ("chunked_256", 256)):
            made[name] = partial(chunked, weight=weight, targets=targets, rows=rows)
    return made


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def given(request: pytest.FixtureRequest) -> Problem:
    return problem(*request.param)


@pytest.fixture(scope="module")
def trained() -> Problem:
    if not TRAINED:
        pytest.skip("MMSRAREC_BENCH_TRAINED=1 measures on the embedded backbone")
    return trained_problem(SHAPES[0][0])


def shape_of(given: Problem) -> str:
    return f"{len(given[0])}x{given[0].shape[1]}x{len(given[1])}"


def measure(benchmark, group: str, given: Problem, name: str, gradient: bool) -> None:
    score = contenders(given).get(name)
    if score is None:
        pytest.skip("this torch has no linear_cross_entropy")
    hidden, weight, _, _ = given
    benchmark.group = f"{group} {shape_of(given)}"
    logits = torch.empty(len(hidden), len(weight))
    products, calls = [], []

    def time_product() -> None:
        start = perf_counter()
        torch.mm(hidden, weight.T, out=logits)
        products.append(perf_counter() - start)

    def call() -> None:
        start = perf_counter()
        _ = with_gradient(score, hidden) if gradient else score(hidden)
        calls.append(perf_counter() - start)

    with torch.set_grad_enabled(gradient):
        benchmark.pedantic(call, setup=time_product, rounds=ROUNDS, warmup_rounds=1)
    ratios = [spent / product for spent, product in zip(calls, products, strict=True)][1:]
    record(benchmark, group, name, "products", round(median(ratios), 2))


def record(benchmark, group: str, name: str, what: str, value: float) -> None:
    """Put a figure into the table, beside what it should be where there is a target."""
    targets = dict(zip(("products", "peak MiB"), MOST.get((group, name), ()), strict=False))
    if what in targets:
        benchmark.extra_info.setdefault("figures", {})[what] = (value, targets[what])
    else:
        benchmark.extra_info[what] = value


def measure_product(benchmark, group: str, given: Problem) -> None:
    hidden, weight, _, _ = given
    benchmark.group = f"{group} {shape_of(given)}"
    logits = torch.empty(len(hidden), len(weight))
    benchmark.pedantic(lambda: torch.mm(hidden, weight.T, out=logits), rounds=ROUNDS, warmup_rounds=1)


def test_bare_product(benchmark, given: Problem) -> None:
    benchmark.extra_info["contender"] = "bare_product"
    measure_product(benchmark, "P2", given)


@pytest.mark.parametrize("name", ["ours", "full_logits", "chunked", "chunked_256"])
def test_forward(benchmark, given: Problem, name: str) -> None:
    benchmark.extra_info["contender"] = name
    if (len(given[0]), given[0].shape[1], len(given[1])) == SHAPES[0]:
        record(benchmark, "P2", name, "peak MiB", peak_megabytes(name, SHAPES[0], gradient=False))
    measure(benchmark, "P2", given, name, gradient=False)


def test_bare_product_beside_gradient(benchmark, given: Problem) -> None:
    benchmark.extra_info["contender"] = "bare_product"
    measure_product(benchmark, "P2b", given)


@pytest.mark.parametrize("name", ["ours", "full_logits", "chunked", "chunked_256"])
def test_gradient(benchmark, given: Problem, name: str) -> None:
    benchmark.extra_info["contender"] = name
    if (len(given[0]), given[0].shape[1], len(given[1])) == SHAPES[0]:
        record(benchmark, "P2b", name, "peak MiB", peak_megabytes(name, SHAPES[0], gradient=True))
    measure(benchmark, "P2b", given, name, gradient=True)


def test_bare_product_trained(benchmark, trained: Problem) -> None:
    benchmark.extra_info["contender"] = "bare_product"
    measure_product(benchmark, "P2b trained", trained)


@pytest.mark.parametrize("name", ["ours", "ours_skipping", "full_logits"])
def test_gradient_trained(benchmark, trained: Problem, name: str) -> None:
    benchmark.extra_info["contender"] = name
    if name == "ours_skipping":
        hidden = trained[0]
        exact, skipped = (
            with_gradient(contenders(trained)[which], hidden) for which in ("ours", "ours_skipping")
        )
        error = float((exact - skipped).norm() / exact.norm())
        benchmark.extra_info["relative error"] = f"{error:.1e}"
        assert error <= 1e-4
    measure(benchmark, "P2b trained", trained, name, gradient=True)


def peak_megabytes(name: str, shape: tuple[int, int, int], *, gradient: bool) -> int:
    """Growth of the resident high-water mark over one call, in a process that has called it on a few tokens before."""
    command = [sys.executable, __file__, name, *map(str, shape), str(int(gradient))]
    return round(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024)


def _print_peak(name: str, shape: tuple[int, int, int], gradient: bool) -> None:
    """Linux: writing 5 to clear_refs sets the high-water mark back to what is resident now."""
    given = problem(*shape)
    score = contenders(given)[name]
    few = (given[0][:8], given[1], given[2][:8], torch.tensor([0, 8]))
    warm = contenders(few)[name]
    with torch.set_grad_enabled(gradient):
        _ = with_gradient(warm, few[0]) if gradient else warm(few[0])
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        before = _status("VmHWM")
        _ = with_gradient(score, given[0]) if gradient else score(given[0])
    print(_status("VmHWM") - before)


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


if __name__ == "__main__":
    _print_peak(sys.argv[1], tuple(map(int, sys.argv[2:5])), sys.argv[5] == "1")
