"""Card: what any scorecard is, whatever the job that is scored.

A scorecard is a table of figures with a verdict. :class:`Card` writes the table as rows, CSV
and JSON and saves it with its plots; a job's scorecard adds its columns and facts. Verdicts,
texts and plots take :class:`hmx.scores.leads.LeadCard` and the protocol :class:`SampleCard`, so
they import no scorecard.
"""

from __future__ import annotations

import csv
import io
import math
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from hmx.files.durable import Folder
from hmx.files.jsontext import as_json, finite
from hmx.files.paths import absolute
from hmx.files.shown import facts_html, grid_html
from hmx.report.page import Drawing, Page, Section, TextTable
from hmx.scores.regression import Difference

Array = NDArray[np.float64]
Figures = dict[str, float]
Row = dict[str, Any]

CARD = "scorecard.json"
TEXT_WIDTH = 96  # columns of a line of prose: fits a terminal of 100 with a margin


_SHOWN = ("rmse", "rmse_skill", "crps", "crps_skill", "mae", "r2", "ccc", "bias")  # in a notebook
_POOLED_COLUMNS = ("stratum", "split")  # where "all" stands for a sum


class SampleCard(Protocol):
    """Scorecard of predictions at samples, as verdict, text and plots read it."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What was scored, in JSON values."""

    @property
    def model(self) -> str:
        """Name of the forecaster that is judged."""

    @property
    def reference(self) -> str:
        """Name of the forecaster that the model is compared with first."""

    @property
    def forecasters(self) -> tuple[str, ...]:
        """All names that have figures."""

    @property
    def verdict(self) -> str:
        """One sentence: what to use."""

    @property
    def splits(self) -> Mapping[str, object]:
        """Ways of folding by name; the main one first."""

    @property
    def main(self) -> str:
        """Name of the folds that decide the verdict."""

    @property
    def truth(self) -> Array:
        """Truths of the main folds, transformed units, (n,)."""

    @property
    def lonlat(self) -> Array:
        """Longitude and latitude of the samples, degrees, (n, 2)."""

    @property
    def calibration(self) -> str:
        """What the intervals were learnt from, in words."""

    @property
    def rivals(self) -> tuple[str, ...]:
        """The other forecasters, without members of ensembles."""

    @property
    def scale(self) -> str:
        """Name of the transformed units."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the prediction intervals, percent."""

    @property
    def table(self) -> Mapping[tuple[str, str, str, str], Figures]:
        """Figures by (split, forecaster, scale, stratum)."""

    @property
    def differences(self) -> Mapping[tuple[str, str], Difference]:
        """The model's R2 less that of each rival, by (split, rival)."""

    def center(self, forecaster: str) -> Array:
        """Return held-out predictions of the main folds, transformed units, (n,)."""

    def bounds(self, forecaster: str) -> Mapping[float, tuple[Array, Array]]:
        """Return prediction intervals of the main folds by level."""

    def native(self, values: Array) -> Array:
        """Turn estimates or ends of intervals into native units."""

    def difference(self, other: str) -> Difference:
        """Compare the model's R2 with that of another forecaster."""

    def value(
        self,
        metric: str,
        forecaster: str | None = None,
        *,
        split: str | None = None,
        scale: str | None = None,
        stratum: str = "all",
    ) -> float:
        """Look up a figure; NaN if there is none."""


def _plot_html(draw: Callable[[], Drawing]) -> str:
    target = io.BytesIO()
    draw().savefig(target, format="png", dpi=72)
    return f"<img src='data:image/png;base64,{b64encode(target.getvalue()).decode()}'/>"


class Card(ABC):
    """Base of all scorecards; a subclass names its columns and adds its own JSON values."""

    _MOST_ROWS: ClassVar[int] = 40  # of the table in a notebook

    # The four parts of a key of the table, then ``metric`` and ``value``
    COLUMNS: ClassVar[tuple[str, ...]]
    FORMAT: ClassVar[str]  # JSON key of the format's version, which also names the kind of card
    VERSION: ClassVar[int] = 1  # of that format

    model: str
    reference: str
    facts: Mapping[str, Any]

    @property
    @abstractmethod
    def table(self) -> Mapping[Any, Figures]:
        """Every figure, by key and name."""

    @property
    @abstractmethod
    def verdict(self) -> str:
        """One sentence: what to use."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict first, then other sentences."""
        return (self.verdict,)

    @abstractmethod
    def contents(self) -> dict[str, Any]:
        """Return the JSON values of this kind of card, in the order of the file."""

    @abstractmethod
    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a saved card other than plots and JSON: name, content."""

    @abstractmethod
    def plots(self) -> Mapping[str, Callable[[], Drawing]]:
        """Return what draws each plot, by file name."""

    @abstractmethod
    def tables(self) -> Sequence[TextTable]:
        """Return the tables of a report."""

    def section(self) -> Section:
        """Return the verdict, plots and tables as a part of a report."""
        plots = {name.partition(".")[0]: draw for name, draw in self.plots().items()}
        return Section(
            "scorecard", "Scorecard", self.sentences, self.tables(), plots, dict(self.facts)
        )

    def report(self, path: str | Path = "scorecard.html", *, overwrite: bool = False) -> Path:
        """Write the scorecard as one HTML file that a browser opens without a network.

        Parameters
        ----------
        path : str or Path
            The file to write.
        overwrite : bool
            Replace a file that is not a report. Reports are always replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        OutputExists
            If another file has the name.

        Examples
        --------
        >>> card.report("scorecard.html")  # doctest: +SKIP
        """
        title = f"Scorecard of {self.facts.get('target', self.model)}"
        section = replace(self.section(), title="Verdict")
        return Page(title, sections=[section]).write(path, overwrite=overwrite)

    def __repr__(self) -> str:
        size = sum(map(len, self.table.values()))
        return f"{type(self).__name__}({self.model}, {size:,} figures): {self.verdict}"

    def _repr_html_(self) -> str:
        """Write verdict, the figures over all pixels or samples, and the first plot."""
        pooled = {key: f for key, f in self.table.items() if set(self._pooled(key)) <= {"all"}}
        names = [name for name in _SHOWN if any(name in figures for figures in pooled.values())]
        own = [at for at, column in enumerate(self.COLUMNS[:4]) if column not in _POOLED_COLUMNS]
        rows = [
            [*(str(key[at]) for at in own), *(f"{f.get(name, math.nan):.4g}" for name in names)]
            for key, f in list(pooled.items())[: self._MOST_ROWS]
        ]
        table = grid_html([*(self.COLUMNS[at] for at in own), *names], rows)
        more = "".join(_plot_html(draw) for draw in list(self.plots().values())[:1])
        facts = {"verdict": self.verdict, "model": self.model, "compared with": self.reference}
        return facts_html(type(self).__name__, facts, more=table + more)

    def _pooled(self, key: tuple[Any, ...]) -> list[str]:
        return [str(part) for part, name in zip(key, self.COLUMNS, strict=False) if name in (
            _POOLED_COLUMNS if self.COLUMNS[0] == "forecaster" else ("stratum",)
        )]  # fmt: skip

    def look_up(self, key: tuple[Any, ...], metric: str) -> float:
        """Return a figure of the table; NaN if there is none."""
        return self.table.get(key, {}).get(metric, math.nan)

    def rows(self) -> list[Row]:
        """List every figure, with the columns of the CSV file."""
        return [
            dict(zip(self.COLUMNS, (*key, metric, value), strict=True))
            for key, figures in self.table.items()
            for metric, value in figures.items()
        ]

    def scores(self) -> list[dict[str, Any]]:
        """List the figures of each key as JSON values."""
        return [
            dict(zip(self.COLUMNS[:4], key, strict=True)) | finite(figures)
            for key, figures in self.table.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values: the verdict, all figures, and what they are made of."""
        return {
            self.FORMAT: self.VERSION,
            "verdict": self.verdict,
            "model": self.model,
            "reference": self.reference,
            **self.contents(),
        }

    def save(self, folder: str) -> str:
        """Write ``scorecard.json``, ``scores.csv``, the plots and the other parts of the card."""
        target = Folder(absolute(folder))
        for name, data in self.parts():
            target.write(name, data)
        for name, draw in self.plots().items():
            buffer = io.BytesIO()
            draw().savefig(buffer, format="png", dpi=150)
            target.write(name, buffer.getvalue())
        # The JSON file comes last: a folder that has a finished one has all parts.
        target.write(CARD, as_json(self.as_dict(), indent=1, default=str).encode())
        return f"{folder.rstrip('/')}/{CARD}"

    def scores_csv(self) -> bytes:
        """Write every figure as CSV."""
        # Counts are integers in some cells; one column has one type.
        rows = ({**row, "value": float(row["value"])}.values() for row in self.rows())
        return csv_of(self.COLUMNS, rows)


def csv_of(header: Sequence[str], lines: Iterable[Iterable[Any]]) -> bytes:
    """Write CSV whose floats read back exactly; NaN becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for line in lines:
        # repr is the shortest text that reads back as the same float64
        writer.writerow(
            ("" if math.isnan(v) else repr(v)) if isinstance(v, float) else v for v in line
        )
    return text.getvalue().encode()


def text_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1
) -> list[str]:
    """Lay out columns, the first `left` ones to the left and numbers to the right.

    A row shorter than the header is a remark: it widens no column. Without rows there is no
    table.
    """
    full = [row for row in (header, *rows) if len(row) == len(header)]
    widths = [max(len(row[i]) for row in full) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = (
            text.ljust(width) if i < left or len(row) < len(header) else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=False))
        )
        return "  ".join(cells).rstrip()

    return [title, *(line(row) for row in (header, *rows))] if rows else []


def number(value: float, form: str = ".3f") -> str:
    """Write a number; a dash if it is not finite."""
    return format(value, form) if math.isfinite(value) else "-"
