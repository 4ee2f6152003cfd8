"""Compare: two forecasts, or a forecast and maps of another program, on the same truth.

Both are scored on the pixels and times that all have, weighted with true areas, beside two
baselines fitted to the truth up to the origin. A forecast with intervals or quantiles also has
the CRPS of its distribution; the CRPS of a map is its absolute error. Errors of neighbouring
pixels are alike, so errors of pixels are not independent: the interval of a difference comes from
whole blocks of land, drawn anew with replacement, the same blocks for all (a paired block
bootstrap, Künsch 1989, doi:10.1214/aos/1176347265).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hmx.errors import BadArgument
from hmx.forecast.backtest.baselines.registry import HISTORY
from hmx.forecast.backtest.baselines.trends import linear_trend
from hmx.independent import independent
from hmx.products.series import MapSeries
from hmx.progress import Progress
from hmx.windows import Span, Window

_BLOCK = 30  # px: beyond it past errors of land change are nearly independent
_FEWEST = 10  # blocks: fewer draw no interval
_DRAWS = 2000
_WIDTH = 2048  # px of a strip, about, so memory does not follow the raster
BASELINES = {"persistence": 1, "linear_trend": HISTORY}  # maps that they look at
MEASURES = ("rmse", "mae", "crps")
Floats = NDArray[np.float64]


@independent
def compare(
    a: Any,
    b: Any,
    truth: Any,
    *,
    variable: str = "hm",
    block: int | None = None,
    level: float = 95,
    seed: int = 0,
    progress: Progress = Progress(),
) -> xr.Dataset:
    """Compare two series of maps with the truth: which one errs less, and how surely.

    Parameters
    ----------
    a, b : Dataset, DataArray or path
        Forecasts, or maps of another program: a Zarr store or NetCDF file with ``variable`` and
        time, or GeoTIFFs whose path has ``{year}``.
    truth : Dataset, DataArray or path
        A cube with the maps of the years that were forecast.
    variable : str
        Name of the quantity in each Dataset.
    block : int, px, optional
        Side of the blocks of land that are drawn; default: 30, or a quarter of a small raster.
    level : float, percent
        Of the intervals.
    seed : int
        Of the draws.
    progress : Progress
        Where progress goes. Default: nowhere.

    Returns
    -------
    Dataset
        Dimension ``time``, whose last entry is ``all``: ``rmse_a``, ``mae_a``, ``crps_a`` (units
        of the variable, weighted with areas) and the same of ``b``, ``persistence`` and
        ``linear_trend``, which start from the truth's map at the origin; ``rmse_skill``
        (1 - rmse_a / rmse_b, above 0 if ``a`` errs less) and ``crps_skill``, each with ``_lo``
        and ``_hi``, and ``rmse_skill_a_vs_persistence`` ...; ``count`` of pixels and ``blocks``.
        The attribute ``verdict`` is one sentence. The CRPS is that of the intervals and quantiles
        in a store, linear between them; without any it is the MAE. A value outside of the valid
        range of the truth counts as missing.

    Raises
    ------
    BadArgument, GridMismatch
        If the three have no time in common or lie on different grids, or there are fewer than 10
        blocks with data.

    Examples
    --------
    >>> table = hmx.compare("fc.zarr", "other_{year}.tif", "cube.zarr")  # doctest: +SKIP
    >>> table.attrs["verdict"]  # doctest: +SKIP
    """
    if not 50 <= level < 100:
        raise BadArgument(f"level={level:g}: a percentage from 50 to below 100. Try 95.")
    known = MapSeries.of(truth, variable, "truth", years=())
    series = {n: MapSeries.of(s, variable, n, years=known.labels) for n, s in (("a", a), ("b", b))}
    for name, one in series.items():
        known.grid.require_same(one.grid, f"{name}={_title(a if name == 'a' else b)}")
    times = [t for t in known.labels if all(t in one.labels for one in series.values())]
    if not times:
        every = (*series.items(), ("truth", known))
        have = "; ".join(f"{n}: {', '.join(one.labels)}" for n, one in every)
        raise BadArgument(
            f"the three have no time in common ({have}): forecasts are compared with later maps. "
            "Forecast from an earlier origin, or pass a truth that has the years."
        )
    side = block or min(_BLOCK, max(1, min(known.grid.shape) // 4))
    case = _Comparison(known, series, times, side)
    progress.note(f"compare: {len(times)} times on blocks of {side} px; {case.described}")
    table = _table(case, case.sums(progress), level=level, seed=seed)
    return table.assign_attrs(a=_title(a), b=_title(b))


def _title(given: Any) -> str:
    return str(given) if isinstance(given, str | Path) else type(given).__name__


@dataclass(frozen=True)
class _Comparison:
    """What is compared: the truth, both series, their common times, and blocks of land."""

    known: MapSeries
    series: Mapping[str, MapSeries]
    times: list[str]
    side: int
    origin: int | None = field(init=False)  # the map of the truth that baselines start from

    def __post_init__(self) -> None:
        labels = self.known.labels
        named = [one.origin for one in self.series.values() if one.origin in labels]
        # maps of another program name no origin: the last map before the first that is compared
        first = labels.index(named[0]) if named else labels.index(self.times[0]) - 1
        before = 0 <= first < labels.index(self.times[0])
        object.__setattr__(self, "origin", first if before else None)

    @property
    def names(self) -> tuple[str, ...]:
        """All that is scored: both series, and baselines where the truth has an origin."""
        return (*self.series, *(BASELINES if self.origin is not None else ()))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Which is compared with which."""
        return [("a", "b"), *product(("a", "b"), self.names[2:])]

    @property
    def described(self) -> str:
        """State where baselines start, and from which quantiles a CRPS is computed."""
        start = (
            "no baselines, as the truth has no map before"
            if self.origin is None
            else f"baselines start from {self.known.labels[self.origin]}"
        )
        made = [
            f"{name.upper()} from {len(one.percentiles)} percentiles"
            if one.percentiles
            else f"{name.upper()} as a map"
            for name, one in self.series.items()
        ]
        return f"{start}; CRPS of {', of '.join(made)}"

    def sums(self, progress: Progress) -> Floats:
        """Sum over each time and block: (time, block, measure of each, weight and pixels)."""
        found = []
        for number, time in enumerate(self.times):
            progress.step(number, len(self.times), f"compare: {time}")
            found.append(list(self._blocks(time)))
        progress.step(len(self.times), len(self.times), "compare: done")
        return np.array(found)

    def _blocks(self, time: str) -> Iterator[Floats]:
        rows, columns = self.known.grid.shape
        areas = self.known.grid.cell_areas()
        width = self.side * max(1, _WIDTH // self.side)
        for top in range(0, rows, self.side):
            for left in range(0, columns, width):
                ends = Span(left, min(left + width, columns))
                window = Window(Span(top, min(top + self.side, rows)), ends)
                # in units of the largest pixel, so that sums of a plane grid stay counts
                weight = areas[window.y.slice, None] / areas.max()
                planes = self._planes(time, window, weight)
                for at in range(0, len(ends), self.side):
                    yield planes[..., at : at + self.side].sum(axis=(1, 2))

    def _planes(self, time: str, window: Window, weight: Floats) -> Floats:
        """Return squared, absolute and ranked errors of each, then weight and count."""
        truth = self.known.read(time, window)
        given = {name: one.read(time, window) for name, one in self.series.items()}
        given |= self._baselines(time, window)
        low, high = self.known.valid_range or (-np.inf, np.inf)
        off = {n: np.where((v >= low) & (v <= high), v - truth, np.nan) for n, v in given.items()}
        ranked = {
            name: one.ranked(time, window, truth, off[name]) for name, one in self.series.items()
        }
        ranked = {name: ranked.get(name, np.abs(error)) for name, error in off.items()}
        every = np.stack([*off.values(), *ranked.values()])
        both = np.isfinite(every).all(axis=0)
        planes = []
        for name, error in off.items():
            planes += [error**2, np.abs(error), ranked[name]]
        planes += [np.ones_like(truth)]
        return np.stack([*(np.where(both, plane, 0.0) * weight for plane in planes), both])

    def _baselines(self, time: str, window: Window) -> dict[str, Floats]:
        """Forecast a window from the truth up to the origin."""
        if self.origin is None:
            return {}
        labels, lead = self.known.labels, self.known.labels.index(time) - self.origin
        first = max(0, self.origin + 1 - HISTORY)
        past = np.stack([self.known.read(t, window) for t in labels[first : self.origin + 1]])
        limits = self.known.valid_range
        return {
            name: linear_trend(past, (lead,), steps=steps, valid_range=limits)[0]
            for name, steps in BASELINES.items()
        }


def _table(case: _Comparison, sums: Floats, *, level: float, seed: int) -> xr.Dataset:
    """Turn sums (time, block, sum) into scores, with intervals from blocks."""
    every = np.concatenate([sums, sums.sum(axis=0)[None]])
    used = every[-1, :, -1] > 0
    if used.sum() < _FEWEST:
        raise BadArgument(
            f"{int(used.sum())} blocks of {case.side} px have data, and an interval needs "
            f"{_FEWEST}. Pass a smaller block: block={max(1, case.side // 2)}."
        )
    every = every[:, used]
    draw = np.random.default_rng(seed).multinomial(
        used.sum(), np.full(used.sum(), 1 / used.sum()), size=_DRAWS
    )
    total, drawn = every.sum(axis=1), np.einsum("dn,tnk->dtk", draw, every)
    column = {
        (name, measure): len(MEASURES) * at + number
        for at, name in enumerate(case.names)
        for number, measure in enumerate(MEASURES)
    }
    found: dict[str, Floats] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for (name, measure), at in column.items():
            found[f"{measure}_{name}"] = _error(total[:, at] / total[:, -2], measure)
        for (ours, theirs), measure in product(case.pairs, ("rmse", "crps")):
            title = f"{measure}_skill" + ("" if theirs == "b" else f"_{ours}_vs_{theirs}")
            at, other = column[ours, measure], column[theirs, measure]
            found[title] = _skill(total[:, at], total[:, other], measure)
            tail = (100 - level) / 200
            spread = _skill(drawn[..., at], drawn[..., other], measure)
            ends = np.nanquantile(spread, [tail, 1 - tail], axis=0)
            found[f"{title}_lo"], found[f"{title}_hi"] = ends
    found["count"] = total[:, -1].astype("int64")
    found["blocks"] = (every[..., -1] > 0).sum(axis=1)
    coords = {"time": [*case.times, "all"]}
    table = xr.Dataset({n: ("time", v) for n, v in found.items()}, coords)
    table.attrs = {"level": level, "block": case.side, "seed": seed, "made of": case.described}
    table.attrs["verdict"] = _verdict(table.isel(time=-1), int(used.sum()))
    return table


def _error(mean: Floats, measure: str) -> Floats:
    return np.sqrt(mean) if measure == "rmse" else mean


def _skill(ours: Floats, theirs: Floats, measure: str) -> Floats:
    # two that are both exact are equal
    ratio = _error(ours / np.where(theirs == 0, np.nan, theirs), measure)
    return np.where(ours == theirs, 0.0, 1 - ratio)


def _verdict(row: xr.Dataset, blocks: int) -> str:
    """Return a sentence on which errs less, and on both against persistence."""
    level = row.attrs["level"]
    low, high = float(row["rmse_skill_lo"]), float(row["rmse_skill_hi"])
    which = "A errs less than B" if low > 0 else "B errs less than A" if high < 0 else ""
    parts = [f"RMSE skill of A against B {_percent(row, 'rmse_skill', level)}"]
    if any(float(row[f"crps_{n}"]) != float(row[f"mae_{n}"]) for n in ("a", "b")):
        parts.append(f"CRPS skill {_percent(row, 'crps_skill')}")
    text = f"{which or 'No difference that chance would not make'}: {', '.join(parts)}, from "
    text += f"{blocks} blocks of land."
    if "rmse_persistence" not in row:
        return text
    beaten = [n for n in ("a", "b") if float(row[f"rmse_skill_{n}_vs_persistence_lo"]) <= 0]
    names = " and ".join(name.upper() for name in beaten)
    return text + (f" PERSISTENCE IS NOT BEATEN FOR SURE BY {names} IN RMSE." if beaten else "")


def _percent(row: xr.Dataset, name: str, level: float | None = None) -> str:
    """Write a skill and its interval."""
    low, high = (100 * float(row[f"{name}_{end}"]) for end in ("lo", "hi"))
    what = f", {level:g} % interval " if level is not None else ", "
    return f"{100 * float(row[name]):+.1f} %{what}{low:+.1f} to {high:+.1f} %"


def as_text(table: xr.Dataset) -> str:
    """Write a comparison as a terminal shows it."""
    names = [n for n in ("a", "b", *BASELINES) if f"rmse_{n}" in table]
    titles = [n.upper() if len(n) == 1 else n.replace("_", " ") for n in names]
    lines = [table.attrs["verdict"], f"A: {table.attrs['a']}", f"B: {table.attrs['b']}"]
    lines += [f"{table.attrs['made of']}.", ""]
    rows: list[list[str]] = [["", "pixels", "", "RMSE", "MAE", "CRPS", "RMSE skill", "CRPS skill"]]
    for time in table["time"].values:
        row, label = table.sel(time=time), str(time)
        for name, title in zip(names, titles, strict=True):
            # of A against the others, because A is what one asks about
            skills = [""] * 2
            if name != "a":
                end = "" if name == "b" else f"_a_vs_{name}"
                skills = [_percent(row, f"{m}_skill{end}") for m in ("rmse", "crps")]
            errors = [f"{float(row[f'{measure}_{name}']):.4g}" for measure in MEASURES]
            pixels = f"{int(row['count']):,}" if label else ""
            rows.append([label, pixels, title, *errors, *skills])
            label = ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        lines.append("  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True)).rstrip())
    return "\n".join([*lines, "", "Skills are of A against the row, with their interval."])
