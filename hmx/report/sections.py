"""Sections: tables, pictures and facts of a report as HTML that scripts do not need."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

_PROLOG = re.compile(r"(?s)^.*?(?=<svg)")
_ID = re.compile(r'(id="|href="#|url\(#)')


class Drawing(Protocol):
    """A figure that can be saved as SVG, such as one of matplotlib."""

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
