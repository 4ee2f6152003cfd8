"""Checks: what rules for soil carbon ask of a map's held-out errors, passed or not.

Rules such as Verra's VT0014 (Estimating organic carbon stocks using digital soil mapping, v1.0,
2025) ask that 90 % intervals contain 90 % of the measured values, that the map explains something,
that it is unbiased, and that there are enough pairs of near samples to know how errors depend on
each other over short distances. These checks compare numbers. They do not replace an audit, and a
rule may ask for more: sampling designs, laboratories, documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from hmx.mapping.correlogram import FEWEST, Correlogram, pairs_within
from hmx.scores import regression_scores
from hmx.uncertainty.joint.dependence import PRIOR_WEIGHTS

Array = NDArray[np.float64]
Result = Literal["passed", "failed", "not computable"]

LEVEL = 90.0  # percent, of the intervals that are checked
LAGS = (0.0, 100.0, 200.0, 300.0, 400.0, 500.0)  # m, edges of the classes of distance
TITLE = "Checks that rules for soil carbon ask for; hmx certifies nothing"
_CHANCE = 0.05  # share of good maps that fail a test by chance
_FEWEST_SAMPLES = 20  # fewer cannot show a share of 90 %


@dataclass(frozen=True)
class Check:
    """One check."""

    name: str
    result: Result
    finding: str  # figures and rule, one sentence


@dataclass(frozen=True)
class CheckSheet:
    """All checks of a map.

    Parameters
    ----------
    checks : tuple of Check
        Name, result (``passed``, ``failed`` or ``not computable``) and finding of each.
    source : str
        The held-out samples that were used, in words.
    """

    checks: tuple[Check, ...]
    source: str

    def __getitem__(self, name: str) -> Check:
        """Return the check of a name."""
        return next(check for check in self.checks if check.name == name)

    def lines(self, width: int = 96) -> list[str]:
        """Write the sheet as lines of a text."""
        wide = max(len(check.result) for check in self.checks)
        lines = [fill(f"{TITLE} ({self.source})", width)]
        for check in self.checks:
            text = f"{check.result:<{wide}}  {check.name}: {check.finding}"
            lines.append(fill(text, width, subsequent_indent=" " * (wide + 2)))
        return lines

    def markdown(self) -> str:
        """Write the sheet as a section in Markdown."""
        rows = [f"| {check.name} | {check.result} | {check.finding} |" for check in self.checks]
        head = ["| check | result | finding |", "|---|---|---|"]
        return "\n".join([f"## {TITLE}", "", f"Source: {self.source}.", "", *head, *rows, ""])

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"source": self.source, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        return "\n".join(self.lines())


def check_errors(
    truth: Array,
    center: Array,
    bounds: Mapping[float, tuple[Array, Array]],
    lonlat: Array,
    *,
    source: str,
    units: str = "",
) -> CheckSheet:
    """Check held-out predictions (n,), in native units, at `lonlat` (n, 2), degrees.

    `bounds` has intervals by level, percent.
    """
    return CheckSheet(
        (
            _coverage(truth, bounds.get(LEVEL)),
            _skill(truth, center),
            _bias(truth, center, lonlat, units),
            _pairs(lonlat),
        ),
        source,
    )


def _coverage(truth: Array, ends: tuple[Array, Array] | None) -> Check:
    """Compare the share inside 90 % intervals with the range that chance explains.

    The range is that of independent samples. Errors that depend on each other make it wider, so
    this check is strict.
    """
    name = f"coverage of {LEVEL:g} % intervals"
    if ends is None:
        return Check(
            name,
            "not computable",
            f"intervals of {LEVEL:g} % were not scored: evaluate with level={LEVEL:g}",
        )
    if len(truth) < _FEWEST_SAMPLES:
        finding = f"{len(truth)} samples are too few: the check takes {_FEWEST_SAMPLES}"
        return Check(name, "not computable", finding)
    inside = int(((truth >= ends[0]) & (truth <= ends[1])).sum())
    low, high = scipy.stats.binom.interval(1 - _CHANCE, len(truth), LEVEL / 100)
    of, share = len(truth), inside / len(truth)
    finding = (
        f"{inside:,} of {of:,} samples inside ({share:.1%}); chance explains {low / of:.1%} to "
        f"{high / of:.1%}"
    )
    if inside > high:
        finding += ": the intervals are wider than they need be"
    return Check(name, "failed" if inside < low else "passed", finding)


def _skill(truth: Array, center: Array) -> Check:
    """Require that the map explains more than the mean of the samples does."""
    r2 = regression_scores(truth, center)["r2"]
    if not np.isfinite(r2):
        return Check("R2 above 0", "not computable", "the measured values do not vary")
    return Check("R2 above 0", "passed" if r2 > 0 else "failed", f"R2 is {r2:.3f}")


def _bias(truth: Array, center: Array, lonlat: Array, units: str) -> Check:
    """Test whether the mean error is 0, with as many samples as the correlation leaves (t test)."""
    error = center - truth
    correlogram = Correlogram.of(lonlat, error)
    fitted = correlogram.fit()
    weights = PRIOR_WEIGHTS if fitted is None else fitted.at(1).weights
    number = correlogram.effective(weights)
    spread = float(error.std(ddof=1)) if len(error) > 1 else 0.0
    if number < 2 or not spread:
        finding = f"{len(error)} samples count for {number:.1f} independent ones, or do not differ"
        return Check("no bias", "not computable", finding)
    mean, deviation = float(error.mean()), spread / np.sqrt(number)
    p = float(2 * scipy.stats.t.sf(abs(mean) / deviation, number - 1))
    unit = f" {units}" if units else ""
    finding = (
        f"predicted less measured is {mean:.3g}{unit} on average, standard error {deviation:.2g}, "
        f"from {len(error):,} samples that count for {number:.0f} independent ones (p = {p:.2g})"
    )
    return Check("no bias", "failed" if p < _CHANCE else "passed", finding)


def _pairs(lonlat: Array) -> Check:
    """Count pairs of samples within 500 m, by class of distance."""
    name = f"pairs of samples within {LAGS[-1]:g} m"
    counts = pairs_within(lonlat, LAGS)
    if not sum(counts):
        finding = (
            f"no two samples lie within {LAGS[-1]:g} m, so the dependence of errors over short "
            "distances is an assumption"
        )
        return Check(name, "not computable", finding)
    listed = ", ".join(
        f"{low:g}-{high:g} m: {count:,}"
        for low, high, count in zip(LAGS, LAGS[1:], counts, strict=False)
    )
    enough = min(counts) >= FEWEST
    finding = f"{listed}; each class takes {FEWEST}"
    return Check(name, "passed" if enough else "failed", finding)
