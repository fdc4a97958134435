"""Compares two results folders: records give frames, frames give one page.

A is the folder before a change, B the one after it: two commits, two machines or two models.
Differences are B minus A and ratios B over A. No mean mixes backends or machines.
"""

from bench.compare.frames import TOLERANCE, Comparison, compare
from bench.compare.match import Side, read
from bench.compare.page import write_comparison

__all__ = ["TOLERANCE", "Comparison", "Side", "compare", "read", "write_comparison"]
