"""P7: co-interaction evidence for 21 candidates of a user, one thread, against SciPy sparse products.

25,000 users, 400,000 interactions, popularity by a Zipf law (exponent 0.9, 10,000 items). As in the paper's protocol,
a user's last item and 20 drawn uniformly from what it did not take are the candidates, the rest of its items are the
history; it is never its own bridge. Each round asks for 200 users. All count bridge users; ``ours_with_five_paths``
also finds the strongest paths to each candidate.
"""

import numpy as np
import pytest
from scipy import sparse

from mmsrarec.retrieve import CoInteraction

USERS, INTERACTIONS, ITEMS, CANDIDATES, ASKED = 25_000, 400_000, 10_000, 21, 200


@pytest.fixture(scope="module")
def taken() -> sparse.csr_matrix:
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, ITEMS + 1) ** 0.9
    cumulative = np.cumsum(share / share.sum())
    drawn = 2 * INTERACTIONS
    items = np.searchsorted(cumulative, rng.random(drawn)).clip(0, ITEMS - 1)
    pairs = rng.permutation(np.unique(rng.integers(0, USERS, drawn) * ITEMS + items))[:INTERACTIONS]
    ones = np.ones(INTERACTIONS, np.float32)
    matrix = sparse.csr_matrix((ones, np.divmod(pairs, ITEMS)), shape=(USERS, ITEMS))
    assert matrix.nnz == INTERACTIONS
    return matrix


@pytest.fixture(scope="module")
def questions(taken: sparse.csr_matrix) -> list[tuple[int, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    asked = []
    for user in rng.choice(USERS, ASKED, replace=False):
        row = rng.permutation(taken[user].indices)
        others = rng.permutation(np.setdiff1d(np.arange(ITEMS), row))[: CANDIDATES - 1]
        asked.append((int(user), row[:-1].astype(np.int32), np.append(row[-1:], others).astype(np.int32)))
    return asked


@pytest.fixture(scope="module")
def paths(taken: sparse.csr_matrix) -> CoInteraction:
    """Without a cap, so that all sides count the same."""
    return CoInteraction.from_arrays(taken.indptr, taken.indices, ITEMS, cap=USERS)


@pytest.fixture(scope="module")
def counts(paths: CoInteraction, questions) -> np.ndarray:
    """What everyone must count, (asked, candidates)."""
    return np.array([paths.evidence(h, c, 0, exclude_user=user)[0] for user, h, c in questions])


@pytest.mark.benchmark(group="P7")
def test_ours(benchmark, paths: CoInteraction, questions) -> None:
    benchmark.pedantic(
        lambda: [paths.evidence(h, c, 0, exclude_user=user) for user, h, c in questions],
        rounds=20,
        warmup_rounds=2,
    )
    seconds = benchmark.stats.stats.median / ASKED
    benchmark.extra_info["figures"] = {"milliseconds a user": (1000 * seconds, 1.0)}


@pytest.mark.benchmark(group="P7")
def test_ours_with_five_paths(benchmark, paths: CoInteraction, questions, counts) -> None:
    found = benchmark.pedantic(
        lambda: [paths.evidence(h, c, 5, exclude_user=user)[0] for user, h, c in questions],
        rounds=20,
        warmup_rounds=2,
    )
    np.testing.assert_array_equal(found, counts)


@pytest.mark.benchmark(group="P7")
def test_scipy_product(benchmark, taken: sparse.csr_matrix, questions, counts) -> None:
    """User by user: columns of the history, then of the candidates, out of a matrix that has them together."""
    benchmark.extra_info["target"] = 20
    columns = taken.tocsc()

    def count(user: int, history: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        bridge = columns[:, history] @ np.ones(len(history), np.float32) > 0
        bridge[user] = False
        return columns[:, candidates].T @ bridge.astype(np.float32)

    found = benchmark.pedantic(
        lambda: [count(*question) for question in questions], rounds=10, warmup_rounds=1
    )
    np.testing.assert_array_equal(found, counts)


@pytest.mark.benchmark(group="P7")
def test_scipy_batch(benchmark, taken: sparse.csr_matrix, questions, counts) -> None:
    """All users in two products: histories times users, the result times the candidates' columns."""
    users = np.array([user for user, _, _ in questions])
    candidates = np.array([c for _, _, c in questions])  # (asked, candidates)
    starts = np.cumsum([0, *(len(h) for _, h, _ in questions)])
    of_histories = np.concatenate([h for _, h, _ in questions])
    ones = np.ones(len(of_histories), np.float32)
    histories = sparse.csr_matrix((ones, of_histories, starts), shape=(ASKED, ITEMS))
    by_item = taken.T.tocsr()

    def count() -> np.ndarray:
        bridges = histories @ by_item  # (asked, users)
        bridges.data[:] = 1
        bridges.data[np.repeat(users, np.diff(bridges.indptr)) == bridges.indices] = 0
        distinct, place = np.unique(candidates, return_inverse=True)
        by_candidate = (bridges @ by_item[distinct].T).toarray()  # (asked, distinct candidates)
        return by_candidate[np.arange(ASKED)[:, None], place.reshape(candidates.shape)]

    found = benchmark.pedantic(count, rounds=10, warmup_rounds=1)
    np.testing.assert_array_equal(found, counts)
