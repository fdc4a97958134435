"""Figures → SVG and PNG, drawn by several processes where there are many.

A drawing is a call that returns a figure. It is sent to another process, so it must be a function
of a module with frames and plain values as arguments.
"""

import contextlib
import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from io import BytesIO, StringIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.core.processes import end_with_parent

DPI = 160
FIGURES_HERE = 4
"""Figures that this process draws in any case. Starting another process for them would take longer
than drawing them."""

Drawing = Callable[[], Figure]
Files = dict[str, bytes]
"""Suffix → content."""


def draw(
    drawings: Iterable[tuple[str, Drawing, bool]], num_cores: int
) -> Iterator[tuple[str, Files]]:
    """The name and the files of each figure, in order.

    `drawings` gives the name, the drawing and whether a PNG is wanted too. Other processes start
    with a figure as soon as it is given. This process draws the first figures, then the last ones
    that no other process has begun. The files are the same, byte for byte, whichever process drew
    them.
    """
    here: dict[str, Callable[[], Files]] = {}
    elsewhere: dict[str, Future[Files]] = {}
    with contextlib.ExitStack() as stack:
        pool = None
        for name, drawing, png in drawings:
            call = partial(pictures, drawing, png=png)
            if num_cores < 2 or len(here) < FIGURES_HERE:
                here[name] = call
                continue
            pool = pool or stack.enter_context(_pool(num_cores - 1))
            elsewhere[name] = pool.submit(call)
            here[name] = call
        return _in_order(here, elsewhere, stack.pop_all())


@contextlib.contextmanager
def _pool(num_processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that draw. At the end, figures that none of them has begun are dropped."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, context, initializer=_begin) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_order(
    here: dict[str, Callable[[], Files]],
    elsewhere: dict[str, Future[Files]],
    until_drawn: contextlib.ExitStack,
) -> Iterator[tuple[str, Files]]:
    with until_drawn:
        done = {name: call() for name, call in here.items() if name not in elsewhere}
        for name in reversed(elsewhere):
            if elsewhere[name].cancel():  # no other process has begun it
                done[name] = here[name]()
        for name in here:
            yield name, done[name] if name in done else elsewhere[name].result()


def _begin() -> None:
    """End with the parent process, and without a traceback at Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
    gc.freeze()  # what was imported stays, so the collector need not look at it


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
