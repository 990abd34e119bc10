"""Types of the compiled module, whose code is in csrc/; held against it by tests/test_native_stub.py."""

from os import PathLike

import numpy as np
from numpy.typing import NDArray

class CoInteraction:
    """See mmsrarec.retrieve.CoInteraction, which checks and converts what it hands on to this."""

    @staticmethod
    def from_arrays(
        indptr: NDArray[np.int64], items: NDArray[np.int32], n_items: int, cap: int
    ) -> CoInteraction: ...
    def evidence(
        self,
        history: NDArray[np.int32],
        candidates: NDArray[np.int32],
        max_paths: int,
        exclude_user: int,
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]: ...
    @property
    def n_users(self) -> int: ...
    @property
    def n_items(self) -> int: ...
    @property
    def cap(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

class KeywordIndex:
    """See mmsrarec.retrieve.KeywordIndex, which checks and converts what it hands on to this."""

    @staticmethod
    def from_arrays(
        indptr: NDArray[np.int64],
        keywords: NDArray[np.int32],
        weights: NDArray[np.float32],
        n_keywords: int | None = None,
    ) -> KeywordIndex: ...
    @staticmethod
    def open(path: str | PathLike[str], mmap: bool = True) -> KeywordIndex: ...
    def search(
        self,
        keywords: NDArray[np.int32],
        weights: NDArray[np.float32],
        k: int,
        allow: NDArray[np.int64] | NDArray[np.bool_] | None = None,
        exclude: NDArray[np.int64] | NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...
    def search_batch(
        self,
        indptr: NDArray[np.int64],
        keywords: NDArray[np.int32],
        weights: NDArray[np.float32],
        k: int,
        threads: int,
        allow: NDArray[np.int64] | NDArray[np.bool_] | None,
        exclude: NDArray[np.int64] | NDArray[np.bool_] | None,
        ids: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> None: ...
    def add(
        self,
        indptr: NDArray[np.int64],
        keywords: NDArray[np.int32],
        weights: NDArray[np.float32],
        n_keywords: int | None = None,
    ) -> int: ...
    def remove(self, ids: NDArray[np.int64]) -> int: ...
    def save(self, path: str | PathLike[str]) -> None: ...
    def stats(self) -> dict[str, int]: ...
    def __len__(self) -> int: ...
    @property
    def n_items(self) -> int: ...
    @property
    def n_keywords(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

def vector_instructions() -> str:
    """Instructions that the keyword index uses on this machine: ``avx512f``, ``avx2`` or ``plain``."""

def token_nll(
    hidden: NDArray[np.float32] | NDArray[np.int16],
    weight: NDArray[np.float32] | NDArray[np.int16],
    dtype: str,
    targets: NDArray[np.int64],
    softcap: float,
    skip_below: float,
    threads: int,
    nll: NDArray[np.float32],
    log_sum: NDArray[np.float32],
    gradient: NDArray[np.float32] | None = None,
) -> None:
    """See mmsrarec.kernels.sequence_nll.cpu, which allocates what this fills."""

def group_reward(
    keyword_embedding: NDArray[np.float32],
    text_embedding: NDArray[np.float32],
    nll: NDArray[np.float32],
    length: NDArray[np.float32],
    group_size: int,
    weights: tuple[float, float, float],
    reconstruction: str,
    clip: float,
    epsilon: float,
    threads: int,
    rewards: NDArray[np.float32],
) -> None:
    """See mmsrarec.kernels.group_reward.cpu, which allocates what this fills."""

def token_nll_instructions() -> str:
    """Instructions that token_nll uses on this machine: ``avx512f``, ``avx2`` or ``plain``."""
