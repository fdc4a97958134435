"""Markdown and file names; text from records is escaped, so that it never becomes markup."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

MOST_NAME_BYTES = 100
"""Longest part of a file name."""
MOST_ROWS = 1000
"""Rows of a table on the page."""
FEW_ROWS = 100
"""Rows of a table in `report.md`. GitHub shows no more than 500 KiB of a Markdown file."""
"""Most rows of a table as Markdown."""


def text(words: object) -> str:
    """Escape the words, so that Markdown shows them literally on one line, also in a table."""
    line = " ".join(str(words).split())
    return re.sub(r"(^[#>+~-]|[\\`*\[\]<|]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)


def code(words: object) -> str:
    """A code span; a grave accent, which would end it, becomes an apostrophe."""
    line = " ".join(str(words).split()).replace("`", "'")
    return f"`{line}`"


def embedded(content: object) -> str:
    """JSON for a script element that is never executed; no text in it can end the element."""
    form: dict[str, Any] = {"allow_nan": False, "ensure_ascii": False, "separators": (",", ":")}
    said = json.dumps(content, **form)
    return said.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def file_name(words: str) -> str:
    """The words as part of a file name or an address; a long name ends in a digest of it."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in words).strip("_")
    if len(plain.encode()) <= MOST_NAME_BYTES:
        return plain
    digest = hashlib.sha256(words.encode()).hexdigest()[:8]
    return f"{plain.encode()[: MOST_NAME_BYTES - 9].decode(errors='ignore')}_{digest}"


def template(folder: Path, name: str) -> jinja2.Template:
    """The template of a page in Markdown; its filters `text` and `code` escape."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # this is Markdown; HTML is escaped where it is made
    )
    environment.filters |= {"text": text, "code": code}
    return environment.get_template(name)


def for_people(table: pd.DataFrame) -> pd.DataFrame:
    """Put labels first, in place of the columns they are made of; drop columns without values."""
    labels = [str(name) for name in table if str(name).endswith("_label")]
    kinds = [name.removesuffix("_label") for name in labels]
    hidden = {*kinds, *(f"{kind}_variant" for kind in kinds)}
    hidden |= {"variant", "family"} if "model" in kinds else set()
    hidden |= {str(name) for name in table if len(table) and table[name].isna().all()}
    first = [name for name in ("task_label", "T", *labels) if name in table and name not in hidden]
    rest = [str(name) for name in table if str(name) not in {*hidden, *first}]
    shown = table[list(dict.fromkeys([*first, *rest]))]
    return shown.rename(columns=dict(zip(labels, kinds, strict=True)))


def markdown_table(table: pd.DataFrame) -> str:
    """As Markdown: numbers to four digits, a dash for what is not known."""
    if table.empty:
        return "*nothing*"
    shown = table.map(_cell)
    shown.columns = [text(str(column).replace("_", " ")) for column in table.columns]
    numeric = [
        pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
        for dtype in table.dtypes
    ]
    return shown.to_markdown(
        index=False,
        disable_numparse=True,
        colalign=["right" if number else "left" for number in numeric],
    )


def shortened(table: pd.DataFrame, name: str, most_rows: int) -> str:
    """The first rows of a table; `name` is that of the file with all of them."""
    shown = markdown_table(for_people(table.head(most_rows)))
    if len(table) <= most_rows:
        return shown
    return (
        f"{shown}\n\n*The first {most_rows:,} of {len(table):,} rows; tables/{name}.csv has all.*"
    )


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    return text(value)
