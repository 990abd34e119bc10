"""Collected only by tests/kernels/test_triton.py, which starts a process that interprets, or has a GPU."""

import os

collect_ignore_glob = [] if os.environ.get("MMSRAREC_TRITON_TESTS") == "1" else ["test_*.py"]
