"""Compare: two forecasts, or a forecast and maps of another program, on the same truth.

Both are scored on the pixels and times that all three have. Errors of neighbouring pixels are
alike, so pixels are no independent witnesses: the interval of a difference comes from whole
blocks of land, drawn anew with replacement, the same blocks for both (a paired block bootstrap,
Künsch 1989, doi:10.1214/aos/1176347265).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hmx.cube.axes import find_axes
from hmx.cube.cube import open_cube
from hmx.cube.dates import time_label
from hmx.cube.grid import Grid
from hmx.cube.values import Rules
from hmx.errors import BadArgument
from hmx.independent import independent
from hmx.ingest.manifest import find_files
from hmx.ingest.options import Source
from hmx.ingest.readers.rasters import open_rasters
from hmx.ingest.sources import Part
from hmx.progress import Progress
from hmx.settings import parse
from hmx.windows import Span, Window

_BLOCK = 30  # px: beyond it past errors of land change are nearly independent
_FEWEST = 10  # blocks: fewer draw no interval
_DRAWS = 2000


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
        Dimension ``time``, whose last entry is ``all``: ``rmse_a``, ``rmse_b``, ``mae_a``,
        ``mae_b`` (units of the variable), ``rmse_skill`` (1 - rmse_a / rmse_b, above 0 if ``a``
        errs less) with ``rmse_skill_lo`` and ``rmse_skill_hi``, ``count`` of pixels and
        ``blocks``. The attribute ``verdict`` is one sentence. A value outside of the valid range
        of the truth counts as missing.

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
    known = _Series.of(truth, variable, "truth", years=())
    series = {n: _Series.of(s, variable, n, years=known.labels) for n, s in (("a", a), ("b", b))}
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
    sums = np.stack([_sums(known, series, t, side) for t in times])  # (time, block, sum)
    progress.note(f"compare: {len(times)} times on blocks of {side} px")
    table = _table(sums, times, level=level, seed=seed, side=side)
    return table.assign_attrs(a=_title(a), b=_title(b))


class _Series:
    """Maps of one quantity on one grid, read by window."""

    def __init__(self, grid: Grid, labels: list[str], read: Any, rules: Rules | None = None):
        self.grid, self.labels, self._read = grid, labels, read
        self.valid_range = None if rules is None else rules.valid_range

    def read(self, label: str, window: Window) -> np.ndarray:
        """Read a window of one time: float64, NaN = missing."""
        return np.asarray(self._read(self.labels.index(label), window), dtype="float64")

    @classmethod
    def of(cls, given: Any, variable: str, name: str, *, years: Any) -> _Series:
        """Open what was given."""
        if isinstance(given, str | Path):
            text = str(given)
            if "{year}" in text:
                return cls._of_rasters(text, name, years)
            if text.lower().endswith((".nc", ".nc4")):
                given = xr.open_dataset(text, decode_coords="all", mask_and_scale=False)
            else:
                given = open_cube(text)
        if isinstance(given, xr.Dataset):
            if variable not in given:
                raise BadArgument(
                    f"{name} has no {variable!r} (it has {', '.join(map(str, given.data_vars))}). "
                    "Pass variable=, or --variable on the command line."
                )
            given = given[variable]
        axes = {outer: inner for inner, outer in _axes(given).items()}
        plain = given.rename({k: v for k, v in axes.items() if k != v}).transpose("time", "y", "x")
        flips = {
            "y": slice(None, None, -1 if plain["y"][0] < plain["y"][-1] else 1),
            "x": slice(None, None, -1 if plain["x"][0] > plain["x"][-1] else 1),
        }
        plain = plain.isel(flips)
        rules = Rules.of(plain)
        labels = [time_label(value) for value in plain["time"].values]

        def read(index: int, window: Window) -> np.ndarray:
            return rules.clean(plain.isel(time=index, y=window.y.slice, x=window.x.slice).values)

        return cls(Grid.from_xarray(plain), labels, read, rules)

    @classmethod
    def _of_rasters(cls, path: str, name: str, years: Any) -> _Series:
        """Open the rasters of the years that the truth has."""
        parts: dict[str, Part] = {}
        for label in years:
            year = re.match(r"\d{4}", label)
            file = path.replace("{year}", year[0]) if year else path
            if year and find_files(file):
                parts[label] = open_rasters(parse(Source, {"path": file}), [file], file)
        if not parts:
            raise BadArgument(f"{name}={path!r}: none of {', '.join(years)} has a file.")
        first = next(iter(parts.values()))
        for part in parts.values():
            first.grid.require_same(part.grid, part.name)
        found = list(parts.values())
        return cls(first.grid, [*parts], lambda index, window: found[index].read(window)[0])


def _axes(array: xr.DataArray) -> dict[str, str]:
    outer = find_axes(array)
    return {inner: str(name) for inner, name in outer.items()}


def _title(given: Any) -> str:
    return str(given) if isinstance(given, str | Path) else type(given).__name__


def _sums(known: _Series, series: dict[str, _Series], time: str, side: int) -> np.ndarray:
    """Sum per block, (block, 5): squared errors of a and b, absolute errors of a and b, pixels."""
    return np.array(list(_blocks(known, series, time, side)))


def _blocks(
    known: _Series, series: dict[str, _Series], time: str, side: int
) -> Iterator[np.ndarray]:
    rows, columns = known.grid.shape
    for top in range(0, rows, side):  # a strip at a time, so memory does not follow the raster
        strip = Window(Span(top, min(top + side, rows)), Span(0, columns))
        true = known.read(time, strip)
        given = np.stack([one.read(time, strip) for one in series.values()])
        low, high = known.valid_range or (-np.inf, np.inf)
        off = np.where((given >= low) & (given <= high), given - true, np.nan)
        both = np.isfinite(off).all(axis=0)
        off = np.where(both, off, 0.0)
        planes = np.stack([*(off**2), *np.abs(off), both.astype(float)])
        for left in range(0, columns, side):
            yield planes[..., left : left + side].sum(axis=(1, 2))


def _table(sums: np.ndarray, times: list[str], *, level: float, seed: int, side: int) -> xr.Dataset:
    """Turn sums (time, block, 5) into scores, with intervals from blocks."""
    every = np.concatenate([sums, sums.sum(axis=0)[None]])
    used = every[-1, :, 4] > 0
    if used.sum() < _FEWEST:
        raise BadArgument(
            f"{int(used.sum())} blocks of {side} px have data, and an interval needs {_FEWEST}. "
            f"Pass a smaller block: block={max(1, side // 2)}."
        )
    every = every[:, used]
    draw = np.random.default_rng(seed).multinomial(
        used.sum(), np.full(used.sum(), 1 / used.sum()), size=_DRAWS
    )
    total = every.sum(axis=1)
    drawn = np.einsum("dn,tnk->dtk", draw, every[..., :2])
    with np.errstate(invalid="ignore", divide="ignore"):
        rmse = np.sqrt(total[:, :2] / total[:, 4:])
        mae = total[:, 2:4] / total[:, 4:]
        skill = _skill(total[:, 0], total[:, 1])
        tail = (100 - level) / 200
        low, high = np.nanquantile(_skill(drawn[..., 0], drawn[..., 1]), [tail, 1 - tail], axis=0)
    found = {
        "rmse_a": rmse[:, 0], "rmse_b": rmse[:, 1], "mae_a": mae[:, 0], "mae_b": mae[:, 1],
        "rmse_skill": skill, "rmse_skill_lo": low, "rmse_skill_hi": high,
        "count": total[:, 4].astype("int64"), "blocks": (every[..., 4] > 0).sum(axis=1),
    }  # fmt: skip
    table = xr.Dataset({n: ("time", v) for n, v in found.items()}, {"time": [*times, "all"]})
    table.attrs = {"level": level, "block": side, "seed": seed}
    table.attrs["verdict"] = _verdict(skill[-1], low[-1], high[-1], level, int(used.sum()))
    return table


def _skill(squares_a: np.ndarray, squares_b: np.ndarray) -> np.ndarray:
    # two that are both exact are equal
    same = squares_a == squares_b
    return np.where(same, 0.0, 1 - np.sqrt(squares_a / np.where(squares_b == 0, np.nan, squares_b)))


def _verdict(skill: float, low: float, high: float, level: float, blocks: int) -> str:
    numbers = f"{100 * skill:+.1f} %, {level:g} % interval {100 * low:+.1f} to {100 * high:+.1f} %"
    which = "A errs less than B" if low > 0 else "B errs less than A" if high < 0 else ""
    start = which or "No difference that chance would not make"
    return f"{start}: RMSE skill of A against B {numbers}, from {blocks} blocks of land."


def as_text(table: xr.Dataset) -> str:
    """Write a comparison as a terminal shows it."""
    lines = [table.attrs["verdict"], f"A: {table.attrs['a']}", f"B: {table.attrs['b']}", ""]
    head = ("", "pixels", "RMSE A", "RMSE B", "MAE A", "MAE B", "skill", "interval")
    rows: list[tuple[str, ...]] = [head]
    for time in table["time"].values:
        row = table.sel(time=time)
        value = {str(name): float(row[name]) for name in row.data_vars}
        rows.append(
            (
                str(time), f"{value['count']:,.0f}",
                *(f"{value[n]:.4g}" for n in ("rmse_a", "rmse_b", "mae_a", "mae_b")),
                f"{100 * value['rmse_skill']:+.1f} %",
                f"{100 * value['rmse_skill_lo']:+.1f} to {100 * value['rmse_skill_hi']:+.1f} %",
            )
        )  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        lines.append("  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True)).rstrip())
    return "\n".join(lines)
