"""Words in Markdown: nothing that a name, a label or an error holds becomes markup."""

import re
from pathlib import Path

import jinja2


def text(words: object) -> str:
    """So that Markdown shows the words as they are, on one line and in a table too."""
    line = " ".join(str(words).split())
    return re.sub(r"(^[#>+~-]|[\\`*\[\]<|]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)


def code(words: object) -> str:
    """As a code span; a grave accent, which would end it, becomes an apostrophe."""
    line = " ".join(str(words).split()).replace("`", "'")
    return f"`{line}`"


def template(folder: Path, name: str) -> jinja2.Template:
    """Of a page in Markdown; the filters `text` and `code` escape."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown: the HTML is escaped where it is made
    )
    environment.filters |= {"text": text, "code": code}
    return environment.get_template(name)
