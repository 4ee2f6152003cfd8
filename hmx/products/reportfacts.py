"""Report facts: what the scripts of a report read about its maps, and its first sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from hmx.cube.dates import short, time_label
from hmx.cube.grid import Grid
from hmx.forecast.beyond import extrapolated_leads
from hmx.forecast.order import ForecastRun
from hmx.mapping.order import MapRun
from hmx.mapping.result import ESTIMATES
from hmx.pictures.zones import moments
from hmx.report.layers import TILE, Array, Flags, Packed, share_unchanged

INTERVALS = (50, 80, 95)  # percent
_OUTSIDE = "outside the area of applicability"
_EXTREMES = 0.995  # a few pixels beyond it must not wash out the colours of all others


@dataclass(frozen=True)
class Subject:
    """What a report is about, without its pixels."""

    name: str
    units: str
    grid: Grid  # of the result
    times: tuple[str, ...]  # of the past that is kept, then of the leads; or one date
    years: tuple[float, ...]  # the same as numbers
    observed: int  # of the times
    beyond: tuple[int, ...] = ()  # leads that the model has not learnt
    thresholds: tuple[float, ...] = ()  # that the result has
    estimate: str = ""  # of each pixel of a map, in words

    @classmethod
    def of(cls, run: ForecastRun | MapRun, past: range) -> Self:
        """Describe a run whose last `past` steps are kept."""
        grid, template, target = (
            run.cube.grid.crop(run.window),
            run.template(),
            run.bundle.spec.target,
        )
        if isinstance(run, MapRun):
            date, units = run.date(), run.bundle.spec.units
            named = ESTIMATES[run.request.estimate]
            return cls(target, units or "", grid, (date or "all years",), (0.0,), 0, estimate=named)
        attrs, template = run.cube.data[target].attrs, run.template()
        units = str(attrs.get("units", run.bundle.spec.units or ""))
        time = run.cube.outer.names.get("time", "time")
        known = run.cube.data["time"].values[past.start : past.stop]
        values = [*known, *template[time].values]
        years = np.concatenate([moments(known), moments(template[time].values)])
        return cls(
            str(attrs.get("long_name", target)),
            "" if units == "1" else units,
            grid,
            tuple(short(time_label(value)) for value in values),
            tuple(map(float, years)),
            len(past),
            tuple(extrapolated_leads(run.bundle, run.options.h)),
            tuple(run.options.exceed),
        )

    @property
    def title(self) -> str:
        """Heading of the page."""
        if self.observed:
            return f"{self.name.capitalize()}: forecast to {self.times[-1]}"
        return f"Map of {self.name}" + (f" ({self.units})" if self.units else "")


def facts_of(packed: Packed, subject: Subject) -> dict[str, Any]:
    """Return what the scripts read."""
    layers, scale, stride = packed.layers, packed.scale, packed.layers.stride
    grid = subject.grid
    change = _ends(np.abs(_change(packed))) or scale.quantum
    state = [*layers.history[-1:], layers.mean[-1]]
    low, high = _ends(np.stack(state), low=True), _ends(np.stack(state))
    low, high = (low, high) if high > low else (low, low + scale.quantum)
    (x, y), (width, height) = (grid.x, grid.y), grid.pixel_size_m
    flags = [entry for flag in layers.flags for entry in _flag_facts(packed, flag)]
    steps = {"threshold": _bounds(packed), "rise": [0.0, max(change, scale.quantum)]}
    threshold = subject.thresholds[0] if subject.thresholds else _nice(_ends(layers.mean[-1], 0.9))
    return {
        "name": subject.name,
        "units": subject.units,
        "grid": grid.shape,
        "shape": layers.shape,
        "stride": stride,
        "fine": _fine_facts(packed),
        "digits": scale.digits,
        "base": scale.base,
        "quantum": float(f"{scale.quantum:.12g}"),
        "levels": layers.levels,
        "intervals": INTERVALS if layers.levels else (),
        "times": subject.times,
        "years": subject.years,
        "observed": subject.observed,
        "beyond": subject.beyond,
        "aspect": height / width,
        "pixel_m": [width, height],
        "geographic": bool(grid.crs.is_geographic),
        "x": [float(x[0]), grid.resolution[0]],
        "y": [float(y[0]), -abs(grid.resolution[1])],
        "ranges": {
            "value": [low, high],
            "change": [-change, change],
            "width": [0.0, (_ends(_widths(packed)[-1]) if layers.levels else 0.0) or scale.quantum],
            "probability": [0.0, 1.0],
        },
        "threshold": float(f"{max(threshold, scale.quantum):.{max(0, scale.digits)}f}"),
        "rise": rise_of(packed),
        "steps": steps,
        "flags": flags,
        "flagged": [entry["id"] for entry in flags if entry["name"] == "applicable"],
        "first": _first(packed),
        "sampled": describe_sampling(packed, subject),
    }


def headlines(packed: Packed, subject: Subject) -> list[str]:
    """Write how much, where and how surely in sentences, weighted with true areas."""
    layers, stride = packed.layers, packed.layers.stride
    areas = subject.grid.cell_areas()[::stride]
    weight = np.asarray(areas)[:, None] * np.isfinite(layers.mean[-1])
    units = f" {subject.units}" if subject.units else ""
    if not weight.sum():
        return ["There is no data."]

    def average(plane: Array) -> float:
        return float(np.nansum(plane * weight) / weight[np.isfinite(plane)].sum())

    ahead = average(layers.mean[-1])
    if not subject.observed:
        lines = [f"The average of the map is {ahead:.4g}{units}."]
        lines += [f"Each pixel has the {subject.estimate}."] * bool(subject.estimate)
        if layers.levels:
            lines.append(
                f"At half of the pixels the 95 % interval is wider than "
                f"{_ends(_widths(packed)[-1], 0.5):.3g}{units}."
            )
        lines += [
            f"{found['share']} of the map is outside the area of applicability (hatched): the land "
            "there is unlike the samples, and the intervals need not hold."
            for flag in layers.flags
            for found in _flag_facts(packed, flag)
            if found["text"] == _OUTSIDE
        ]
        return lines
    before, (start, end) = average(layers.history[-1]), (
        subject.times[subject.observed - 1], subject.times[-1],
    )  # fmt: skip
    move = "rise" if ahead > before else "fall" if ahead < before else "stay"
    lines = [
        f"The average {subject.name} of the map is expected to {move} from {before:.4g} in {start} "
        f"to {ahead:.4g}{units} in {end}."
    ]
    if layers.levels:
        rise = rise_of(packed)
        sure = _exceeds(packed, rise)
        lines[0] += (
            f" A rise of more than {rise:g} is likelier than not on "
            f"{100 * float((sure * weight).sum() / weight.sum()):.2g} % of the area."
        )
    same = share_unchanged(layers, packed.scale, areas)
    if same is not None and same >= 0.5:
        lines.append(
            f"The median of {end} equals the last map on {100 * same:.0f} % of the area, which is "
            "what this history supports there: look at the probabilities of a rise."
        )
    return lines


def describe_sampling(packed: Packed, subject: Subject) -> str:
    """Describe what a report left out, level by level."""
    layers, grid, n = packed.layers, subject.grid, packed.layers.stride
    if n == 1:
        text = f"Every pixel of {grid.shape[0]:,} rows x {grid.shape[1]:,} columns"
    else:
        text = (
            f"Decimated: the overview has one of {n * n:,} pixels ({_spacing(n, grid)} of "
            f"{grid.shape[0]:,} rows x {grid.shape[1]:,} columns), each with its own values, not "
            "averages; sentences and shares are made of these"
        )
    if layers.levels:
        text += (
            f"; {len(layers.levels)} percentiles from {100 * layers.levels[0]:g} to "
            f"{100 * layers.levels[-1]:g}, linear between them; numbers to "
            f"{packed.scale.quantum:g}."
        )
    else:
        text += "; no percentiles, because the model has no calibration."
    if packed.fine is None:
        return text
    times = [subject.times[time] for time in packed.fine.times]
    some = "all times" if len(times) == len(subject.times) else " and ".join(times)
    step = packed.fine.stride
    which = (
        "every pixel" if step == 1 else f"one of {step * step:,} pixels ({_spacing(step, grid)})"
    )
    what = "State and change" if subject.observed else "The estimate"
    return f"{text} {what} of {some} have {which} where one zooms in; all else has the overview."


def _spacing(step: int, grid: Grid) -> str:
    """Describe one row and column of n, and how far apart they are."""
    width, height = (side * step / 1000 for side in grid.pixel_size_m)
    return f"one row and column of {step}, {width:,.3g} x {height:,.3g} km apart"


def _fine_facts(packed: Packed) -> dict[str, Any] | None:
    """Return what the scripts read about the finer level."""
    fine = packed.fine
    if fine is None:
        return None
    tiles = [name.removeprefix("fine-") for name in packed.blocks if name.startswith("fine-")]
    return {
        "stride": fine.stride, "shape": fine.shape, "tile": TILE, "times": fine.times,
        "tiles": tiles,
    }  # fmt: skip


def rise_of(packed: Packed) -> float:
    """Return a rise that is worth a look: a quarter of the largest changes, one digit."""
    return max(_nice(_ends(np.abs(_change(packed))) / 4), float(f"{packed.scale.quantum:.12g}"))


def _change(packed: Packed) -> Array:
    layers = packed.layers
    if not len(layers.history):
        return np.zeros((1, 1))
    return np.asarray(layers.mean[-1] - layers.history[-1])


def _exceeds(packed: Packed, rise: float) -> np.ndarray:
    """Return where a rise is likelier than not."""
    layers = packed.layers
    median = layers.quantiles[-1, layers.levels.index(0.5)]
    with np.errstate(invalid="ignore"):
        return np.asarray(median - layers.history[-1] > rise)


def _widths(packed: Packed, level: int = INTERVALS[-1]) -> Array:
    """Return the widths of an interval, (lead, y, x)."""
    layers, tail = packed.layers, round(0.5 - level / 200, 6)
    low, high = (layers.levels.index(round(p, 6)) for p in (tail, 1 - tail))
    return np.asarray(layers.quantiles[:, high] - layers.quantiles[:, low])


def _ends(values: Array, share: float = _EXTREMES, *, low: bool = False) -> float:
    """Return an end of the values but for the extremes; the true end if most are equal."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0
    at = 1 - share if low else share
    found = float(np.quantile(known, at))
    return found if found > known.min() or low else float(known.max())


def _nice(value: float) -> float:
    """Round to one digit."""
    return float(f"{value:.0e}") if math.isfinite(value) and value > 0 else 0.0


def _bounds(packed: Packed) -> list[float]:
    """Return the range of a threshold: all that a pixel can reach."""
    layers = packed.layers
    known = layers.quantiles if layers.levels else layers.mean
    if not np.isfinite(known).any():
        return [0.0, 1.0]
    return [float(np.nanmin(known)), float(np.nanmax(known))]


def _first(packed: Packed) -> int | None:
    """Return the pixel that a page begins with: a large expected rise, or value.

    The largest of all is often noise of the inputs.
    """
    layers = packed.layers
    score = _change(packed) if len(layers.history) else layers.mean[-1]
    if not np.isfinite(score).any():
        return None
    return int(np.nanargmin(np.abs(score - _ends(score))))


def _flag_facts(packed: Packed, flag: Flags) -> list[dict[str, Any]]:
    """Describe each flag that some pixel with data has."""
    known, found = np.isfinite(packed.layers.mean[-1]), []
    for text, value, mask in flag.entries:
        hit = known & ((flag.plane & value) > 0 if mask else flag.plane == value)
        if hit.any():
            share = 100 * hit.sum() / known.sum()
            words = text.replace("_", " ")
            label = _OUTSIDE if text == "outside" else words
            found.append({
                "id": f"flag-{flag.name}-{value}", "name": flag.name, "value": value, "mask": mask,
                "text": label, "share": f"{share:.0f} %" if share >= 1 else "< 1 %",
            })  # fmt: skip
    return found
