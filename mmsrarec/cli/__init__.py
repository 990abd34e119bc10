"""The command line: each command is one call of the library, with its errors as one line each.

Top of the flow. Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

from mmsrarec.cli.app import main, run

__all__ = ["main", "run"]
