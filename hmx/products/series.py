"""Series: maps of one quantity, from a forecast, a file or rasters, read by window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hmx.cube.cube import open_cube
from hmx.cube.dates import time_label
from hmx.cube.grid import Grid, named, north_up
from hmx.cube.values import Rules
from hmx.errors import BadArgument
from hmx.ingest.manifest import find_files
from hmx.ingest.options import Source
from hmx.ingest.readers.rasters import open_rasters
from hmx.ingest.sources import Part
from hmx.scores import crps
from hmx.settings import parse
from hmx.windows import Window

Floats = NDArray[np.float64]


class MapSeries:
    """Maps of one quantity on one grid, read by window, and their percentiles if there are any."""

    def __init__(self, grid: Grid, labels: list[str], read: Any, rules: Rules | None = None):
        self.grid, self.labels, self._read = grid, labels, read
        self.valid_range = None if rules is None else rules.valid_range
        self.percentiles: list[tuple[float, MapSeries]] = []
        self.origin: str | None = None  # the last map before a forecast

    def read(self, label: str, window: Window) -> Floats:
        """Read a window of one time: float64, NaN = missing."""
        return np.asarray(self._read(self.labels.index(label), window), dtype="float64")

    def ranked(self, label: str, window: Window, truth: Floats, error: Floats) -> Floats:
        """Return the CRPS of each pixel; of a map without percentiles, the absolute error."""
        if not self.percentiles:
            return np.abs(error)
        levels, parts = zip(*self.percentiles, strict=True)
        knots = np.stack([part.read(label, window) for part in parts])
        return crps(truth, np.maximum.accumulate(knots, axis=0), levels)

    @classmethod
    def of(cls, given: Any, variable: str, name: str, *, years: Any) -> MapSeries:
        """Open what was given."""
        if isinstance(given, str | Path):
            text = str(given)
            if "{year}" in text:
                return cls._of_rasters(text, name, years)
            if text.lower().endswith((".nc", ".nc4")):  # what hmx export writes, not a source
                given = xr.open_dataset(text, decode_coords="all", mask_and_scale=False)
            else:
                given = open_cube(text)
        if isinstance(given, xr.Dataset):
            if variable not in given:
                raise BadArgument(
                    f"{name} has no {variable!r} (it has {', '.join(map(str, given.data_vars))}). "
                    "Pass variable=, or --variable on the command line."
                )
            found = cls._of_array(given[variable])
            levels = sorted(_levels_of(given, variable), key=lambda pair: pair[0])
            found.percentiles = [(p, cls._of_array(part)) for p, part in levels]
            return found
        return cls._of_array(given)

    @classmethod
    def _of_array(cls, given: xr.DataArray) -> MapSeries:
        """Read an array by window, north-up and from west to east."""
        plain = north_up(named(given.to_dataset(name="values")))["values"]
        plain = plain.transpose("time", "y", "x")
        rules = Rules.of(plain)
        labels = [time_label(value) for value in plain["time"].values]

        def read(index: int, window: Window) -> np.ndarray:
            return rules.clean(plain.isel(time=index, y=window.y.slice, x=window.x.slice).values)

        found = cls(Grid.from_xarray(plain), labels, read, rules)
        if "forecast_reference_time" in given.coords:
            found.origin = time_label(given["forecast_reference_time"].values)
        return found

    @classmethod
    def _of_rasters(cls, path: str, name: str, years: Any) -> MapSeries:
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


def _levels_of(given: xr.Dataset, variable: str) -> Iterator[tuple[float, xr.DataArray]]:
    """Yield the probabilities of a forecast's intervals and quantiles, and their maps."""
    found: dict[float, xr.DataArray] = {}
    for name in map(str, given.data_vars):
        end = re.fullmatch(rf"{re.escape(variable)}_(lo|hi)_(\d+(?:\.\d+)?)", name)
        if end:
            tail = (100 - float(end[2])) / 200
            found[round(tail if end[1] == "lo" else 1 - tail, 9)] = given[name]
    stored = f"{variable}_quantile"
    if stored in given and "quantile" in given[stored].dims:
        for at, p in enumerate(given[stored]["quantile"].values):
            found[round(float(p), 9)] = given[stored].isel(quantile=at, drop=True)
    yield from ((p, part) for p, part in found.items() if 0 < p < 1)
