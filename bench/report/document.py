"""Pages as HTML in one file that loads nothing: text stays text, under a strict security policy.

Every style and script of a page is named in its policy by its hash, so a browser runs nothing else,
whatever a record holds. Pages work from a disk, without a server.
"""

import base64
import gzip
import hashlib
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bench.report.front import Screen
from bench.report.markup import file_name
from bench.report.section import Picture

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("state.js", "tables.js", "sections.js", "chooser.js", "plots.js", "explorer.js")
"""The scripts of the report, in the order in which they run."""
LIBRARY = TEMPLATES / "vendor" / "plotly-basic-4.1.1.min.js.gz"
"""The library that draws the explorer, compressed; docs/architecture.md says why it is this one."""
WIDE_PT = 500
"""A figure that is wider has a row of the page for itself; two others share one."""
LONG, LONGER = 24, 80
"""A cell with more characters wraps, in a column that is narrow or wider."""


def html(markdown: str, title: str, folder: Path) -> str:
    """A page without scripts, from Markdown; its figures are embedded from the folder."""
    headings: list[tuple[str, str]] = []
    body = rendered(markdown, folder, headings=headings)
    style = (TEMPLATES / "report.css").read_text("utf-8")
    return _template("page.html.jinja").render(
        title=title, sections=headings, body=body, style=style, policy=policy([style], [])
    )


def report_html(
    *,
    title: str,
    folder: Path,
    front: Screen,
    figure: Picture | None,
    chooser: str,
    explorer: str,
    intro: str,
    sections: Mapping[str, Sequence[str]],
    unfolded: Collection[str],
) -> str:
    """The page of a report: the first screen, open sections, the explorer, and folded sections.

    `figure` is drawn in the folder. `chooser` and `explorer` are JSON; `intro` and `sections` are
    Markdown; `unfolded` are the titles of the sections that are open.
    """
    style = (TEMPLATES / "report.css").read_text("utf-8")
    scripts = ["\n".join((TEMPLATES / name).read_text("utf-8") for name in SCRIPTS)]
    library = LIBRARY.read_bytes()
    # Plotly adds an empty style element and fills it with rules; the empty text has a hash as well.
    allowed = policy([style, ""], [*scripts, gzip.decompress(library).decode()])
    parts = {name: "\n\n".join(blocks) for name, blocks in sections.items()}
    shown = {name: part for name, part in parts.items() if name in unfolded}
    folded = {
        "Summary in words": intro,
        **{name: parts[name] for name in parts if name not in shown},
    }
    return _template("report.html.jinja").render(
        title=title,
        front=front,
        figure=figure,
        image=figure and _data("svg+xml", (folder / "figures" / f"{figure.name}.svg").read_bytes()),
        chooser=chooser,
        explorer=explorer,
        shown=[(file_name(name), name, rendered(part, folder)) for name, part in shown.items()],
        sections=[
            (file_name(name), name, rendered(part, folder, folded=True))
            for name, part in folded.items()
        ],
        style=style,
        scripts=scripts,
        library=base64.b64encode(library).decode(),
        policy=allowed,
    )


def policy(styles: Iterable[str], scripts: Iterable[str]) -> str:
    """The content security policy of a page with these styles and scripts and embedded images."""
    sources = {
        "style-src": " ".join(map(_hash, styles)),
        "script-src": " ".join(map(_hash, scripts)) or "'none'",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(["default-src 'none'", *(f"{name} {each}" for name, each in sources.items())])


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def rendered(
    markdown: str,
    folder: Path,
    *,
    headings: list[tuple[str, str]] | None = None,
    folded: bool = False,
) -> str:
    """Markdown as HTML. Second-level headings get anchors and are added to `headings`.

    Of a `folded` part, vector figures are compressed and shown once the part is opened.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for heading, content in itertools.pairwise(tokens):
        if heading.type == "heading_open" and heading.tag == "h2" and headings is not None:
            heading.attrs["id"] = file_name(content.content)
            headings.append((file_name(content.content), content.content))
    for token, content in itertools.zip_longest(tokens, tokens[1:]):
        _without_style(token)
        if token.type == "td_open" and content:
            _wrap_long(token, content.content)
        for child in token.children or ():
            _embed(child, folder, folded)
            _point_to_html(child)
    return parser.renderer.render(list(_grouped(tokens)), parser.options, {})


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _without_style(token: Token) -> None:
    """Align a cell by a class, since the policy allows no style attributes."""
    style = token.attrs.pop("style", "")
    if str(style).endswith("right"):
        token.attrs["class"] = "number"


def _wrap_long(cell: Token, content: str) -> None:
    """Let a cell with a long text wrap; cells with numbers and short names do not."""
    if len(content) > LONG:
        cell.attrJoin("class", "longer" if len(content) > LONGER else "long")


def _grouped(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens, with each table in a box that scrolls, and each picture as one figure."""
    place = 0
    while place < len(tokens):
        size = _size_of_figure(tokens[place : place + 9])
        group = tokens[place : place + max(size, 1)]
        if size:
            yield from (_markup("<figure>"), *group, _markup("</figure>"))
        elif group[0].type == "table_open":
            yield from (_markup('<div class="scroll" tabindex="0">'), *group)
        elif group[0].type == "table_close":
            yield from (*group, _markup("</div>"))
        else:
            yield from group
        place += len(group)


def _size_of_figure(tokens: Sequence[Token]) -> int:
    """Number of tokens of the title, image and caption that these begin with; 0 without an image.

    The title is a third-level heading, which may be missing; the caption is emphasised.
    """
    types = [token.type for token in tokens]
    title = 3 if types[:1] == ["heading_open"] and tokens[0].tag == "h3" else 0
    paragraph = ["paragraph_open", "inline", "paragraph_close"]
    if types[title : title + 6] != 2 * paragraph:
        return 0
    image, caption = (tokens[title + at].children or [] for at in (1, 4))
    is_figure = [child.type for child in image] == ["image"] and caption[0].type == "em_open"
    return title + 6 if is_figure else 0


def _markup(content: str) -> Token:
    return Token("html_block", "", 0, content=content)


def _embed(token: Token, folder: Path, folded: bool) -> None:
    """Put a figure's own data where its address was."""
    if token.type != "image":
        return
    path = Path(unquote(str(token.attrs["src"])))
    if path.parts[0] != "samples" or ".." in path.parts:
        path = Path("figures", path.name)
    content = (folder / path).read_bytes()
    width = re.search(rb'<svg[^>]*? width="([\d.]+)pt"', content)
    if width and float(width[1]) > WIDE_PT:
        token.attrs["class"] = "wide"
    if path.suffix == ".svg" and folded:
        compressed = gzip.compress(content, mtime=0)
        token.attrs["data-svg"] = base64.b64encode(compressed).decode()
        del token.attrs["src"]
        return
    token.attrs["src"] = _data("svg+xml" if path.suffix == ".svg" else "png", content)
    token.attrs["loading"] = "lazy"


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _point_to_html(token: Token) -> None:
    """Let links between the Markdown pages lead to the HTML pages."""
    if token.type == "link_open" and str(token.attrs["href"]).endswith(".md"):
        token.attrs["href"] = str(token.attrs["href"]).removesuffix(".md") + ".html"
