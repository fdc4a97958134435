"""Two results folders side by side: records → frames → one page.

A is what there was, B what there is now: two commits, two machines, or two models. Differences are
B minus A and ratios B over A. Nothing is averaged over backends or machines.
"""

from bench.compare.frames import TOLERANCE, Comparison, compare
from bench.compare.match import Side, read
from bench.compare.page import write_comparison

__all__ = ["TOLERANCE", "Comparison", "Side", "compare", "read", "write_comparison"]
