"""One self-contained page on a run: its cost, its curves, its quality, what it recommends, and why.

Stands above evaluation and explanation and below the command line. It takes plain data and draws it; it
computes nothing and reads no files.
"""

from mmsrarec.report.curves import Curve, draw_curve
from mmsrarec.report.page import StageTime, render_report, write_report

__all__ = ["Curve", "StageTime", "draw_curve", "render_report", "write_report"]
