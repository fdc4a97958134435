"""Figures → PNG and SVG, drawn by several processes where there are many.

A drawing is a call that gives a figure. What it is made of is sent to another process: a function
of `bench.figures` or `bench.findings_figures`, frames and plain values.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO, StringIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.figures import show_dollars

DPI = 160
FIGURES_A_PROCESS = 6
"""Fewer are drawn sooner than a process has loaded what it draws with."""

Drawing = Callable[[], Figure]


def draw(drawings: Mapping[str, Drawing], num_cores: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Name, PNG and SVG of each, in order. Other processes begin at once, before any is asked for.

    The pictures are the same, byte for byte, whichever process drew them.
    """
    num_processes = min(num_cores, len(drawings) // FIGURES_A_PROCESS)
    if num_processes < 2:
        return ((name, *pictures(drawing)) for name, drawing in drawings.items())
    pool = ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn"))
    found = {name: pool.submit(pictures, drawing) for name, drawing in drawings.items()}
    pool.shutdown(wait=False)  # of new work: what was handed in is done
    return ((name, *future.result()) for name, future in found.items())


def pictures(drawing: Drawing) -> tuple[bytes, bytes]:
    """PNG and SVG of a figure. Where things lie is solved once, as the PNG measures them."""
    figure = drawing()
    show_dollars(figure)
    FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)
    figure.set_layout_engine(None)
    png, svg = BytesIO(), StringIO()
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return png.getvalue(), svg.getvalue().encode()
