"""Shown: how an object stands in a notebook and on a console: short, whatever its size.

A class that inherits :class:`Shown` gives its facts as texts; from these come a line for ``repr``
and a table for notebooks. A dataclass has to leave its own ``repr`` out: ``repr=False``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_LONGEST = 300  # characters of a line
_LONGEST_CELL = 400


class Shown:
    """Base of what a user looks at."""

    def shown(self) -> Mapping[str, str]:
        """Return facts by name, the most important first."""
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.shown().items())
        return _cut(f"{type(self).__name__}({facts})", _LONGEST)

    def _repr_html_(self) -> str:
        return facts_html(type(self).__name__, self.shown())


def listed(facts: Mapping[str, str]) -> str:
    """Write facts one below the other."""
    return "\n".join(f"  {name:<8} {value}" for name, value in facts.items())


def facts_html(title: str, facts: Mapping[str, str], *, more: str = "") -> str:
    """Write a table of two columns; ``more`` is HTML that follows it."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(_cut(value, _LONGEST_CELL))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<div><b>{escape(title)}</b><table><tbody>{rows}</tbody></table>{more}</div>"


def grid_html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table with a line of names."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."
