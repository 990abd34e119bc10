"""``python -m mmsrarec``: the same as the command ``mmsrarec``."""

from mmsrarec.cli import main

main()
