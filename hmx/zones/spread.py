"""Spread: expected values and intervals of figures that every draw has.

An interval is a pair of quantiles over draws. Its ends are rounded outward: those of values to
half a step of the data, because no map can differ from another by less, and those of areas to a
round number of at most a two-thousandth of the zone (:func:`area_step`). So a zone in which hardly
anything can change has an interval that contains "nothing changes".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmx.errors import BadArgument

Array = NDArray[np.float64]
Limits = tuple[ArrayLike | None, ArrayLike | None]
Variables = dict[str, tuple[tuple[str, ...], Array, dict[str, Any]]]

PER_ZONE = 2000  # a zone's area in steps: the tolerance of .0005 of an index from 0 to 1
_SAME = 1e-6  # of a step: a multiple of the step but for the rounding of floats


def outward(lower: Array, upper: Array, step: ArrayLike | None) -> tuple[Array, Array]:
    """Round the ends of intervals outward to multiples of a step; None or 0 leaves them."""
    if step is None:
        return lower, upper
    sizes = np.asarray(step, "float64")
    return _down(lower, sizes), -_down(-upper, sizes)


def _down(values: Array, step: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        count = values / step
        nearest = np.round(count)
        whole = np.where(np.abs(count - nearest) <= _SAME, nearest, np.floor(count))
        return np.asarray(np.where(step > 0, whole * step, values))


def area_step(area: ArrayLike) -> Array:
    """Return 1, 2 or 5 times a power of ten, at most a two-thousandth of each area; 0 of 0."""
    fine = np.asarray(area, "float64") / PER_ZONE
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 10.0 ** np.floor(np.log10(fine))
        lead = fine / power * (1 + 1e-9)  # 2000 / 2000 is a whole step
        step = np.where(lead >= 5, 5, np.where(lead >= 2, 2, 1)) * power
    return np.asarray(np.where(fine > 0, step, 0.0))


def mark(number: float) -> str:
    """Write a number of a name: 95, 0.1."""
    return f"{number:g}"


@dataclass(frozen=True, eq=False)
class ZoneIntervals:
    """Expected values and intervals of figures that every draw has."""

    levels: tuple[float, ...]  # central intervals, percent
    known: NDArray[np.bool_]  # rows with data, (zone,); figures of other rows are NaN

    def of(
        self,
        name: str,
        draws: Array,
        expected: Array | None = None,
        *,
        dims: tuple[str, ...] = (),
        step: ArrayLike | None = None,
        limits: Limits = (None, None),
        attrs: Mapping[str, Any],
    ) -> Variables:
        """Return variables of ``(zone, time, *dims)`` from draws of ``(zone, time, n, *dims)``."""
        middle = draws.mean(axis=2) if expected is None else expected
        over = ("zone", "time", *dims)
        found: Variables = {name: (over, self.masked(middle), dict(attrs))}
        title = str(attrs["long_name"])
        inner: tuple[Array, Array] | None = None
        for level in self.levels:
            tail = (100 - level) / 200
            lower, upper = np.quantile(draws, [tail, 1 - tail], axis=2)
            lower, upper = outward(lower, upper, step)
            # a bound of the quantity is a bound of its interval
            lower, upper = (np.clip(end, *limits) for end in (lower, upper))
            if inner is not None:  # floats of neighbouring quantiles may differ in their last bit
                lower, upper = np.minimum(lower, inner[0]), np.maximum(upper, inner[1])
            inner = lower, upper
            for end, values in zip(("lo", "hi"), inner, strict=True):
                which = "lower" if end == "lo" else "upper"
                full = f"{title}, {which} end of the central {mark(level)} % interval"
                text = {**attrs, "long_name": full}
                found[f"{name}_{end}_{mark(level)}"] = (over, self.masked(values), text)
        return found

    def share(
        self,
        name: str,
        draws: NDArray[np.bool_],
        title: str,
        *,
        dims: tuple[str, ...] = (),
    ) -> Variables:
        """Return the share of draws, (zone, time, n, *dims), in which something is true."""
        about = {"long_name": f"probability that {title}", "units": "1"}
        return {name: (("zone", "time", *dims), self.masked(draws.mean(axis=2)), about)}

    def masked(self, values: Array) -> Array:
        """Return values with NaN in rows without data."""
        rows = self.known.reshape(-1, *(1,) * (values.ndim - 1))
        return np.where(rows, values, np.nan)


def levels_of(level: float | Sequence[float]) -> tuple[float, ...]:
    """Return central intervals, percent, ascending and each once."""
    given = np.atleast_1d(np.asarray(level, "float64"))
    for each in given:
        if not 0 < each < 100:
            raise BadArgument(
                f"level={each:g}: a level is a percentage between 0 and 100. Try level=95."
            )
    return tuple(sorted({float(each) for each in given}))
