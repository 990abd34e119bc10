"""Numeric hot spots, one folder an operation; installed as ``mmsrarec.kernels``."""
