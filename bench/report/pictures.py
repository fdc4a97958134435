"""Figures → PNG and SVG, drawn by several processes where there are many.

A drawing is a call that gives a figure. What it is made of is sent to another process: a function
of `bench.report.figures` or `bench.report.findings_figures`, frames and plain values.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from io import BytesIO, StringIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.core.processes import end_with_parent
from bench.report.figures import show_dollars

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
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_processes, context, initializer=_begin)
    found = {name: pool.submit(pictures, drawing) for name, drawing in drawings.items()}
    return _in_order(pool, found)


def _in_order(
    pool: ProcessPoolExecutor, found: Mapping[str, Future[tuple[bytes, bytes]]]
) -> Iterator[tuple[str, bytes, bytes]]:
    with pool:
        try:
            for name, future in found.items():
                yield name, *future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """A process that draws ends with the one it draws for, and at Ctrl-C without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


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
