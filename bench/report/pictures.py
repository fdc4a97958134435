"""Figures → SVG and PNG, drawn by several processes where there are many.

A drawing is a call that returns a figure. It is sent to another process, so it must be a function
of a module with frames and plain values as arguments.
"""

import multiprocessing
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from io import BytesIO, StringIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.core.processes import end_with_parent

DPI = 160
FIGURES_PER_PROCESS = 6
"""With fewer figures, starting another process takes longer than drawing them here."""

Drawing = Callable[[], Figure]
Files = dict[str, bytes]
"""Suffix → content."""


def draw(
    drawings: Mapping[str, Drawing], num_cores: int, as_png: Collection[str] = ()
) -> Iterator[tuple[str, Files]]:
    """The name and the files of each figure, in order; those in `as_png` have a PNG too.

    Other processes start drawing at once. The files are the same, byte for byte, whichever process
    drew them.
    """
    num_processes = min(num_cores, len(drawings) // FIGURES_PER_PROCESS)
    if num_processes < 2:
        return ((name, pictures(drawing, png=name in as_png)) for name, drawing in drawings.items())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_processes, context, initializer=_begin)
    found = {
        name: pool.submit(pictures, drawing, png=name in as_png)
        for name, drawing in drawings.items()
    }
    return _in_order(pool, found)


def _in_order(
    pool: ProcessPoolExecutor, found: Mapping[str, Future[Files]]
) -> Iterator[tuple[str, Files]]:
    with pool:
        try:
            for name, future in found.items():
                yield name, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """End with the parent process, and without a traceback at Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


def pictures(drawing: Drawing, *, png: bool = False) -> Files:
    """The files of a figure. The layout is solved once, so that both show the same."""
    figure = drawing()
    for label in figure.findobj(Text):
        label.set_parse_math(False)  # a dollar sign in a name is shown as it is
    FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.execute(figure)
    figure.set_layout_engine(None)
    svg = StringIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    files = {"svg": svg.getvalue().encode()}
    if png:
        content = BytesIO()
        figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
        files["png"] = content.getvalue()
    return files
