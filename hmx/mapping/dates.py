"""Dates: two maps of one model, drawn together, so that their difference has the right spread.

Errors of a map at two dates are alike: a soil that the model does not understand stays so. The
correlation is that of the scores of sites that were sampled at two dates. The second date is
drawn as a second lead is (:mod:`hmx.uncertainty.joint`): each term of the field is ``phi`` times
that of the first date and fresh noise. Without such sites errors count as independent, which is
the wider choice.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np

from hmx.cube.grid import Grid
from hmx.engine.order import WindowTask
from hmx.engine.recall import Check
from hmx.mapping.correlogram import FEWEST_DATES
from hmx.mapping.order import MapRun, MapWindows
from hmx.windows import Window
from hmx.zones.run import ZonalRun

_OTHER = 0x4F1BBCDCBFA53E0A  # turns a seed into another one


@dataclass(frozen=True)
class _LaterWindows(MapWindows):
    """Computes windows of a map as if it were the second of two leads."""

    def task(self, core: Window, read: Window, grid: Grid) -> WindowTask:
        """Return the map of a core, twice: the first time stands for the date before."""
        return partial(_twice, super().task(core, read, grid))


@dataclass(frozen=True)
class LaterMap(MapRun):
    """A map that is drawn as the second of two dates."""

    @property
    def runner(self) -> _LaterWindows:
        """Computes the windows of the map."""
        base = super().runner
        return _LaterWindows(**{field.name: getattr(base, field.name) for field in fields(base)})

    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Return the arrays of a window, with their leading shape."""
        twice = {"mean": (2,), "quantile": (len(self.request.quantiles), 2)}
        return {name: twice.get(name, lead) for name, lead in super().outputs().items()}


def _twice(task: WindowTask, *raw: np.ndarray) -> dict[str, np.ndarray]:
    found = task(*raw)
    mean, quantile = found["mean"], found["quantile"]
    return found | {"mean": np.stack([mean, mean]), "quantile": np.stack([quantile, quantile], 1)}


@dataclass(frozen=True)
class SecondDate:
    """The zone totals of a second date, beside those of a first."""

    zonal: ZonalRun
    check: Check | None
    leads: np.ndarray  # positions of its totals
    how: str  # draws that make the interval of a difference, in words


def second_date(a: ZonalRun, b: ZonalRun, check: Check | None = None) -> SecondDate:
    """Prepare the totals of map `b` for a difference with those of map `a`."""
    assert isinstance(a.run, MapRun)
    assert isinstance(b.run, MapRun)
    if a.run.date() == b.run.date():
        return SecondDate(b, check, np.array([0]), "paired draws")
    same, phi = a.run.bundle.digest == b.run.bundle.digest, b.dependence.phi
    if same and phi > 0:
        run = LaterMap(**{field.name: getattr(b.run, field.name) for field in fields(b.run)})
        text = (
            f"draws in which the errors of the two dates correlate with {phi:.2f}, as at the sites "
            "that were sampled at two dates"
        )
        later = None if check is None else partial(_check_later, check)
        return SecondDate(replace(b, run=run), later, np.array([1]), text)
    why = (
        f"fewer than {FEWEST_DATES} sites were sampled at two dates, or their errors do not persist"
        if same
        else "the two maps are of two models"
    )
    text = (
        f"draws in which the errors of the two dates are independent ({why}); if errors persist, "
        "the interval is wider than it need be"
    )
    return SecondDate(replace(b, seed=b.seed ^ _OTHER), check, np.array([0]), text)


def _check_later(check: Check, window: Window, mean: np.ndarray) -> None:
    check(window, mean[1:])
