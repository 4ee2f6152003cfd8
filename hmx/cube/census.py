"""Census: how many pixels of a file were read, and how many each rule made missing.

A rule that takes a large part of the pixels is often one in other units than the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hmx.progress import counted

if TYPE_CHECKING:
    from hmx.cube.declarations import Declared

_MUCH = 0.2  # of the pixels: more than a rule takes of most maps
# how much larger than the valid range a file's numbers are, and what they then often are
_UNITS = (
    (20, 110, "percent against a share", "scale: 0.01"),
    (190, 256, "bytes against a share", "scale: 0.004 (of 0 to 250) or 0.005 (of 0 to 200)"),
    (300, 1100, "thousandths", "scale: 0.001"),
    (2000, 11000, "unscaled integers", "scale: 0.0001"),
)


@dataclass
class Census:
    """Counts of one file; the windows of the file add up."""

    name: str = ""  # file, URL or glob
    notes: tuple[str, ...] = ()  # for the user, on how it is read
    pixels: int = 0  # all that were read, of all steps
    # by rule, in the order in which they apply; a pixel counts for the first
    taken: dict[str, int] = field(default_factory=dict)
    cells: int = 0  # pixels of the cube that were made of them, and those that hold data
    valid: int = 0
    # smallest and largest value before the valid range applies, and in the cube
    span: tuple[float, float] = (np.inf, -np.inf)
    left: tuple[float, float] = (np.inf, -np.inf)

    def take(self, rule: str, pixels: int) -> None:
        """Count the pixels that a rule makes missing."""
        self.taken[rule] = self.taken.get(rule, 0) + pixels

    def read(self, values: np.ndarray, missing: np.ndarray) -> None:
        """Record the range of the values before the valid range applies."""
        self.pixels += values.size
        self.span = _wider(self.span, values[~missing])

    def gap(self, rule: str, pixels: int) -> None:
        """Count pixels that no file has."""
        if pixels:
            self.pixels += pixels
            self.take(rule, pixels)

    def keep(self, values: np.ndarray) -> None:
        """Count the values that reach the cube; NaN is missing."""
        left = values[np.isfinite(values)]
        self.cells += values.size
        self.valid += left.size
        self.left = _wider(self.left, left)

    def constant(self) -> float | None:
        """Return the only value that rules left of several, if it is so."""
        # NaN is in the file, and no rule in wrong units made it
        took = any(n for rule, n in self.taken.items() if not rule.startswith("NaN"))
        return self.left[0] if took and self.left[0] == self.left[1] else None

    def share(self, rule: str) -> float:
        """Return how much of the pixels a rule took."""
        return self.taken.get(rule, 0) / max(1, self.pixels)

    def __add__(self, other: Census) -> Census:
        """Return the census of both."""
        # not a set, whose order of texts changes from run to run
        rules = dict.fromkeys((*self.taken, *other.taken))
        taken = {rule: self.taken.get(rule, 0) + other.taken.get(rule, 0) for rule in rules}
        return Census(
            self.name,
            self.notes,
            self.pixels + other.pixels,
            taken,
            self.cells + other.cells,
            self.valid + other.valid,
            _joined(self.span, other.span),
            _joined(self.left, other.left),
        )


def report(name: str, source: Declared, censuses: Sequence[Census]) -> list[str]:
    """Describe how a source was read, then warn of rules that probably have wrong units."""
    whole = sum(censuses[1:], censuses[0])
    if not whole.pixels:
        return []
    took = [f"{rule} took {_percent(whole.share(rule))}" for rule, n in whole.taken.items() if n]
    first = (
        f"{name}: read {_span(whole.span)} in {counted(whole.pixels, 'pixel')}, "
        f"{_percent(1 - whole.valid / max(1, whole.cells))} missing in the cube"
    )
    line = ": ".join(filter(None, (first, ", ".join(took))))
    return [*_notes(name, censuses), line, *_warnings(name, source, censuses)]


def _notes(name: str, censuses: Sequence[Census]) -> Iterator[str]:
    """Write each note once for all files that share it."""
    for note in dict.fromkeys(note for census in censuses for note in census.notes):
        files = [census for census in censuses if note in census.notes]
        yield f"{name}: {note} ({_files(files)})"


def _warnings(name: str, source: Declared, censuses: Sequence[Census]) -> Iterator[str]:
    """Warn of rules that remove a large share of a file, and of files that become constant."""
    for rule in dict.fromkeys(rule for census in censuses for rule in census.taken):
        much = [c for c in censuses if c.share(rule) > _MUCH and not rule.startswith("NaN")]
        if much:
            worst = max(much, key=lambda census: census.share(rule))
            yield (
                f"warning: {name}: {rule} took {_percent(worst.share(rule))} of {_files(much)}, "
                f"which reads {_span(worst.span)}. {_cause(name, source, rule, worst)}"
            )
    constant = [census for census in censuses if census.constant() is not None]
    if constant:
        census = constant[0]
        rule = max(census.taken, key=census.share)
        yield (
            f"warning: {name}: every pixel that is left of {_files(constant)} is "
            f"{census.constant():g}: {rule} took the rest. {_cause(name, source, rule, census)}"
        )


def _cause(name: str, source: Declared, rule: str, census: Census) -> str:
    """Name the likely mistake behind a rule that removes much, and what to type."""
    where = f"under sources.{name} in the catalog"
    if rule.startswith("valid_range"):
        if source.valid_range is None:
            return f"The range is the file's own; another: valid_range: [..., ...] {where}."
        # the largest values, because a smallest value of 0 is 0 in all units
        ratio = census.span[1] / source.valid_range[1] if source.valid_range[1] else 0.0
        for low, high, what, remedy in _UNITS:
            if low <= ratio <= high:
                return f"Is this {what}? Type {remedy} {where}."
        return f"The range is in units of the cube, after scale and offset: check them {where}."
    if rule == "mask":
        return "The mask or alpha band of the file takes them: look at it if they hold data."
    if rule == "no tile":
        return "Look for tiles that the pattern of the path does not find."
    if rule.startswith("outside"):
        return "Look for a file that covers the target."
    if rule.endswith("catalog"):
        return f"If they are data, leave out nodata {where}."
    return "If they are data, take it out of the file: gdal_edit.py -unsetnodata FILE."


def _files(censuses: Sequence[Census]) -> str:
    more = f" and {len(censuses) - 1} more" if len(censuses) > 1 else ""
    return censuses[0].name + more


def _joined(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), max(one[1], other[1])


def _wider(span: tuple[float, float], values: np.ndarray) -> tuple[float, float]:
    if not values.size:
        return span
    return min(span[0], float(values.min())), max(span[1], float(values.max()))


def _span(span: tuple[float, float]) -> str:
    return f"{span[0]:g} to {span[1]:g}" if span[0] <= span[1] else "no value"


def _percent(share: float) -> str:
    """Write a share so that little is never none, nor most all."""
    percent = 100 * share
    if 0 < percent < 0.1:
        return "less than 0.1 %"
    return "more than 99.9 %" if 99.9 < percent < 100 else f"{percent:.1f} %"
