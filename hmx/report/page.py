"""Page: a report as one HTML file, with its maps, scripts and styles inside.

The file asks for nothing from a network. Maps come after the text, so a browser draws the page
before it has read them; scripts unpack a map when it is looked at.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Protocol

from hmx.errors import OutputExists
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.files.paths import absolute
from hmx.provenance import code_version
from hmx.report.layers import Packed

_PROLOG = re.compile(r"(?s)^.*?(?=<svg)")
_ID = re.compile(r'(id="|href="#|url\(#)')

MARK = '<meta name="generator" content="hmx">'
_STATE = re.compile(r'<meta name="hmx-state" content="([^"]+)">')
_HEAD = 4096  # bytes in which the mark is
_SCRIPTS = ("data.js", "chart.js", "map.js", "app.js")
# viridis, magma and cividis ascend in brightness, purple to orange crosses white: colour-blind
# readers and prints in grey distinguish them
COLOURS = {"value": "viridis", "change": "PuOr_r", "width": "magma", "probability": "cividis"}


class Drawing(Protocol):
    """A figure that can be saved, such as one of matplotlib."""

    def savefig(self, fname: Any, *, format: str, dpi: int) -> Any:
        """Write the figure to a file or buffer."""


@dataclass(frozen=True)
class TextTable:
    """Rows of text; the first `left` columns are words, the others numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""

    def html(self) -> str:
        """Write the table; a row shorter than the head is a remark."""
        if not self.rows:
            return ""

        def cells(row: Sequence[str], tag: str) -> str:
            parts = []
            for number, text in enumerate(row):
                short = number == len(row) - 1 and len(row) < len(self.head)
                span = f' colspan="{len(self.head) - number}"' if short else ""
                kind = "" if number < self.left or short else ' class="number"'
                parts.append(f"<{tag}{kind}{span}>{html.escape(text)}</{tag}>")
            return f"<tr>{''.join(parts)}</tr>"

        body = "".join(cells(row, "td") for row in self.rows)
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        return (
            f'<div class="table"><table><caption>{html.escape(self.title)}</caption><thead>'
            f"{cells(self.head, 'th')}</thead><tbody>{body}</tbody></table></div>{note}"
        )


@dataclass(frozen=True)
class Section:
    """A part of a report: a sentence, tables, pictures and facts, in this order."""

    id: str
    title: str
    lead: Sequence[str] = ()  # sentences, the most important first
    tables: Sequence[TextTable] = ()
    pictures: Mapping[str, Callable[[], Drawing]] = field(default_factory=dict)  # by description
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()  # below the tables

    def html(self) -> str:
        """Write the section."""
        head = [f'<p class="verdict">{html.escape(text)}</p>' for text in self.lead[:1]]
        head += [f"<p>{html.escape(text)}</p>" for text in self.lead[1:]]
        drawn = [
            f'<figure role="img" aria-label="{html.escape(name)}">{svg(draw(), f"{self.id}{n}")}'
            "</figure>"
            for n, (name, draw) in enumerate(self.pictures.items())
        ]
        facts = "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>"
            for name, value in self.facts.items()
        )
        drawn = [f'<div class="pictures">{"".join(drawn)}</div>'] if drawn else []
        parts = [*head, *drawn, *(table.html() for table in self.tables)]
        parts += [f'<p class="note">{html.escape(text)}</p>' for text in self.notes]
        parts += [f"<dl>{facts}</dl>"] if facts else []
        return (
            f'<section id="{self.id}"><h2>{html.escape(self.title)}</h2>\n'
            + "\n".join(parts)
            + "</section>"
        )


def svg(drawing: Drawing, prefix: str) -> str:
    """Draw a figure as SVG whose text stays text; ids get a prefix, as a page has several."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        drawing.savefig(buffer, format="svg", dpi=72)
    return _ID.sub(rf"\g<1>{prefix}-", _PROLOG.sub("", buffer.getvalue()))


def join(sections: Iterable[Section]) -> str:
    """Write sections one after the other."""
    return "\n".join(section.html() for section in sections)


@dataclass(frozen=True)
class Page:
    """What a report consists of."""

    title: str  # of the page
    lead: Sequence[str] = ()  # sentences below the title: the answer first
    maps: Packed | None = None  # compressed maps; a scorecard has none
    facts: Mapping[str, Any] = field(default_factory=dict)  # what ``app.js`` reads about the maps
    sections: Sequence[Section] = ()  # below the maps
    state: str | None = None  # hash of what the page was made from, by which a job recognises it

    def html(self) -> str:
        """Write the page."""
        return Template(_part("page.html")).substitute(
            mark=f'{MARK}\n<meta name="hmx-state" content="{self.state or ""}">',
            title=html.escape(self.title),
            lead="\n".join(f"<p>{html.escape(text)}</p>" for text in self.lead),
            css=_part("page.css"),
            maps="" if self.maps is None else _part("maps.html"),
            sections=join(self.sections),
            scripts="" if self.maps is None else self._scripts(self.maps),
            version=html.escape(code_version()),
        )

    def _scripts(self, maps: Packed) -> str:
        """Return the facts, the scripts and the compressed maps."""
        facts = {**self.facts, "colours": colour_tables()}
        # a title of the user must not end the script
        parts = [f'<script type="application/json" id="facts">{_safe(as_json(facts))}</script>']
        parts += [f"<script>\n{_part(name)}\n</script>" for name in ("d3.min.js", *_SCRIPTS)]
        parts += [
            f'<script type="text/plain" id="block-{name}">{text}</script>\n'
            f"<script>report.arrived({_safe(as_json(name))})</script>"
            for name, text in maps.blocks.items()
        ]
        return "\n".join(parts)

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the file, whole or not at all."""
        target = require_ours(path, overwrite=overwrite)
        Folder(str(target.parent)).write(target.name, self.html().encode())
        return target


def require_ours(path: str | Path, *, overwrite: bool = False) -> Path:
    """Return the absolute path of a report; raise :class:`OutputExists` if it is not one."""
    target = _named(path)
    taken = target.is_dir()
    if target.is_file() and not overwrite:
        with target.open("rb") as file:
            taken = MARK.encode() not in file.read(_HEAD)
    if taken:
        raise OutputExists(
            f"{target} is not a report that hmx wrote, so it is left alone. Choose another path."
        )
    return target


def _named(path: str | Path) -> Path:
    """Return the absolute path, with the suffix that browsers need."""
    target = Path(absolute(path))
    is_page = target.suffix.lower() in (".html", ".htm")
    return target if is_page else target.with_name(f"{target.name}.html")


def state_of(path: str | Path) -> str | None:
    """Return the hash of what a report was made from; ``None`` if there is no report."""
    target = _named(path)
    if not target.is_file():
        return None
    with target.open(encoding="utf-8") as file:
        found = _STATE.search(file.read(_HEAD))
    return found[1] if found else None


def colour_tables() -> dict[str, str]:
    """Return 256 colours of each kind of map, as base64 of red, green and blue."""
    import numpy as np
    from matplotlib import colormaps

    tables = {}
    for kind, name in COLOURS.items():
        colours = np.asarray(colormaps[name](np.arange(256), bytes=True))[:, :3]
        tables[kind] = base64.b64encode(colours.tobytes()).decode("ascii")
    return tables


def _part(name: str) -> str:
    return (files("hmx.report") / name).read_text(encoding="utf-8")


def _safe(text: str) -> str:
    return text.replace("<", "\\u003c")
