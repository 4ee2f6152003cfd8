"""Fold report: how far folds test from their samples, and what that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hmx.splits import UNUSED
from hmx.splits.distances import Array
from hmx.splits.methods import MappingDistances, mapping_distances
from hmx.splits.registry import method_of
from hmx.splits.site_folds import SiteFolds


@dataclass(frozen=True)
class FoldRow:
    """How far one way of folding tests."""

    name: str  # of the folds
    method: str  # how they were dealt
    folds: int  # rounds
    tested: tuple[int, int]  # fewest and most samples tested in a round
    unused: float  # share of the samples that buffers take, mean of the rounds
    distance_m: float  # median distance from a tested site to the nearest trained on, m
    w_m: float  # wasserstein distance between those distances and the map's, m


@dataclass(frozen=True)
class FoldReport:
    """The distances that several ways of folding test, and those of the map from its samples."""

    rows: tuple[FoldRow, ...]  # in the order given
    map_m: float  # median distance from a pixel of the map to the nearest sample, m
    sample_m: float  # median distance from a site to the nearest other, m

    @property
    def sentence(self) -> str:
        """State in one sentence which question each way of folding answers."""
        first, *others = self.rows
        question = {row.method: method_of(row.method).question for row in self.rows}
        answers = [
            f"{first.name} (tested {_km(first.distance_m)} from training sites) tell "
            f"{question[first.method]}",
            *(f"{row.name} ({_km(row.distance_m)}) {question[row.method]}" for row in others),
        ]
        best = min(self.rows, key=lambda row: row.w_m)
        nearest = f"; of these, {best.name} come nearest to the map" if others else ""
        return (
            f"Half of the map is within {_km(self.map_m)} of a sample: {_listed(answers)}{nearest}."
        )

    def as_dict(self) -> dict[str, Any]:
        """Describe the report in JSON's types."""
        return {**asdict(self), "sentence": self.sentence}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> FoldReport:
        """Build one of what :meth:`as_dict` gave, also after a round trip through JSON."""
        rows = (FoldRow(**{**row, "tested": tuple(row["tested"])}) for row in saved["rows"])
        return cls(tuple(rows), saved["map_m"], saved["sample_m"])

    def __str__(self) -> str:
        heads = ("folds", "rounds", "tested", "unused", "distance", "W")
        cells = [
            (
                row.name,
                str(row.folds),
                "-".join(f"{n:,}" for n in dict.fromkeys(row.tested)),
                f"{row.unused:.0%}",
                _km(row.distance_m),
                _km(row.w_m),
            )
            for row in self.rows
        ]
        cells.append(("map to samples", "", "", "", _km(self.map_m), ""))
        first = max(len(line[0]) for line in cells)
        lines = [
            f"{name:<{first}}" + "".join(f"{cell:>12}" for cell in rest)
            for name, *rest in (heads, *cells)
        ]
        return "\n".join(line.rstrip() for line in (*lines, self.sentence))


def describe_folds(several: Sequence[SiteFolds], domain: Array) -> FoldReport:
    """Measure how far several ways of folding test from their samples.

    Shapes: ``domain`` (p, 2).
    """
    found = [(folds, mapping_distances(folds, domain)) for folds in several]
    median = {name: float(np.median(getattr(found[0][1], name))) for name in ("map", "sample")}
    return FoldReport(tuple(_row(*one) for one in found), median["map"], median["sample"])


def name_folds(folds: SiteFolds) -> str:
    """Name folds by how they were dealt, with lengths."""
    return method_of(folds.method).label(folds)


def _row(folds: SiteFolds, distances: MappingDistances) -> FoldRow:
    sizes = np.bincount(folds.fold)
    unused = [float(np.mean(folds.split(fold).role == UNUSED)) for fold in range(len(folds))]
    return FoldRow(
        name_folds(folds),
        folds.method,
        len(folds),
        (int(sizes.min()), int(sizes.max())),
        float(np.mean(unused)),
        float(np.median(distances.test)),
        distances.w,
    )


def _km(m: float) -> str:
    return f"{m / 1000:.1f} km" if m >= 100 else f"{m:.0f} m"


def _listed(parts: Sequence[str]) -> str:
    head = ", ".join(parts[:-1])
    return f"{head}, and {parts[-1]}" if head else parts[-1]
