"""The contract of a backbone, as tests."""

__all__ = ["BackboneTests"]


class BackboneTests:
    """x."""
