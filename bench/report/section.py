"""Sections of a report: each is one module in `bench/report/sections/` that defines `SECTION`."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from bench.report.data import Data
from bench.report.frame import Table
from bench.report.pictures import Drawing


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure of a section: `figures/NAME.svg`."""

    name: str
    draw: Drawing
    caption: str
    title: str = ""
    """The message of the figure, as a sentence without a period; pages show it above the figure."""
    png: bool = False
    """Whether the README shows it, so that it is written as PNG too."""

    @property
    def alternative(self) -> str:
        """The text for readers who do not see the figure: the caption up to its first full stop,
        colon or semicolon."""
        return re.split(r"[.;:] |\.$", self.caption)[0]


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A table of a section with its rows."""

    table: Table
    frame: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text of a section, as Markdown."""

    markdown: str


Item = Picture | Filled | Text


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    `build` gives the items in the order of the page. A section whose items show nothing is left
    out. Sections of the same title that follow each other share one heading.
    """

    title: str
    order: int
    """The place on the page; sections are sorted by it."""
    unfolded: bool | Callable[[Data], bool] = False
    """Whether the page shows it open and above the explorer, instead of folded and below it.

    A function decides it from the data.
    """
    tables: tuple[Table, ...] = ()
    """Every table that `build` may return; the data dictionary describes them."""
    build: Callable[[Data], Iterable[Item]]


def sections() -> list[Section]:
    """Every section that a module of `bench.report.sections` defines, in the order of the page.

    A module whose name begins with an underscore holds helpers and defines no section.
    """
    from bench.report import sections as package

    modules = [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
        if not module.name.startswith("_")
    ]
    return sorted((module.SECTION for module in modules), key=lambda section: section.order)


def is_unfolded(section: Section, data: Data) -> bool:
    return section.unfolded(data) if callable(section.unfolded) else section.unfolded


def built(data: Data) -> Iterator[tuple[Section, list[Item]]]:
    """Each section with its items."""
    for section in sections():
        yield section, list(section.build(data))
