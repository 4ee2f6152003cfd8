"""Layers: the planes of a product, with what their files say of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from hmx.cube.dates import short, time_label
from hmx.exports.kinds import Kind, family_of, flags_of, kind_of
from hmx.exports.statistics import Statistics

MARK = "HMX"  # tag of every exported file
_LEVEL = re.compile(r"_(?:lo|hi|width)_([0-9.]+)$")
_NAMED = {
    "time": "valid_time",
    "lead": "lead",
    "quantile": "quantile",
    "threshold": "threshold",
    "forecast_reference_time": "forecast_reference_time",
}


@dataclass(frozen=True, eq=False)
class ExportLayer:
    """One plane of one variable."""

    name: str  # of its file, before it is made safe: hm_lo_80_2025
    plane: xr.DataArray  # (y, x), north-up, lazy
    end: Any = None  # the step after it, if it has a date

    @cached_property
    def kind(self) -> Kind:
        """What kind of quantity it is."""
        return kind_of(self.plane)

    @property
    def family(self) -> tuple[str, str]:
        """What layers share its colour scale."""
        return family_of(self.plane)

    @property
    def units(self) -> str | None:
        """Units, if they are known; flags have none."""
        found = self.plane.attrs.get("units")
        return None if found is None or self.kind.flags else str(found)

    @property
    def nodata(self) -> float | None:
        """The value of pixels without data: NaN, or the flag of that name."""
        if self.plane.dtype.kind == "f":
            return float("nan")
        missing = flags_of(self.plane.attrs).get("no_data")
        return None if missing is None else float(missing)

    @property
    def dates(self) -> tuple[str, str] | None:
        """First and last second, ISO 8601; None without a date."""
        if "time" not in self.plane.coords:
            return None
        return span_of(self.plane["time"].values[()], self.end)

    @property
    def description(self) -> str:
        """Variable, year, level and unit in one line, for the name of the band."""
        parts = [str(self.plane.name)]
        for name, value in self._scalars():
            text = short(time_label(value))
            if name in ("time", "quantile", "threshold"):
                parts.append(text if name == "time" else f"{name} {text}")
        title = str(self.plane.attrs.get("long_name", "")) or None
        unit = "" if self.kind.flags else f" [{self.units or 'unit unknown'}]"
        return " ".join(parts) + (f": {title}" if title else "") + unit

    def tags(self, attrs: Mapping[Any, Any]) -> dict[str, str]:
        """Return content and provenance as tags of a file."""
        own = self.plane.attrs
        tags = {MARK: "product", "variable": str(self.plane.name), "layer": self.kind.name}
        for key in ("long_name", "units", "flag_meanings", "flag_masks", "flag_values"):
            if key in own:
                tags[key] = " ".join(map(str, np.atleast_1d(own[key])))
        tags |= {_NAMED[name]: time_label(value) for name, value in self._scalars()}
        if self.dates is not None:
            begin, end = self.dates
            # the form that TIFF 6.0 prescribes for its tag
            tags["TIFFTAG_DATETIME"] = begin.rstrip("Z").replace("-", ":").replace("T", " ")
            tags["valid_time_start"], tags["valid_time_end"] = begin, end
        tags["TIFFTAG_IMAGEDESCRIPTION"] = self.description
        if level := _LEVEL.search(str(self.plane.name)):
            tags["level"] = level[1]
        if "hmx_provenance" in attrs:
            tags["hmx_provenance"] = str(attrs["hmx_provenance"])
        return tags

    def _scalars(self) -> Iterator[tuple[str, Any]]:
        for name, coord in self.plane.coords.items():
            if str(name) in _NAMED and not coord.ndim:
                yield str(name), coord.values[()]


class Written(NamedTuple):
    """A layer whose file is complete."""

    layer: ExportLayer
    path: Path  # where it goes
    statistics: Statistics


def layers_of(data: xr.Dataset) -> Iterator[ExportLayer]:
    """Yield each plane of each variable, with the name of its file."""
    dated = [name for name in ("time",) if name in data.coords and not data[name].ndim]
    ends = _ends(data["time"].values) if "time" in data.dims else []
    for name, variable in data.data_vars.items():
        if not {"y", "x"} <= set(variable.dims):
            continue
        others = [str(dim) for dim in variable.dims if dim not in ("y", "x")]
        for at in itertools.product(*(range(variable.sizes[dim]) for dim in others)):
            selected = dict(zip(others, at, strict=True))
            plane = variable.isel(selected).transpose("y", "x")
            labels = []
            for dim in (*others, *dated):
                value = plane[dim].values[()] if dim in plane.coords else selected.get(dim, 0)
                # as short as it is clear: 2025, 0.5; a colon is not allowed in names on Windows
                labels.append(time_label(value).removesuffix("-01-01").replace(":", ""))
            end = ends[selected["time"]] if "time" in selected and ends else None
            yield ExportLayer("_".join([str(name), *labels]), plane, end)


def _ends(times: Any) -> list[Any]:
    """Return the step after each step; the last is as long as the one before it."""
    if len(times) < 2:
        return []
    try:
        return [*times[1:], times[-1] + (times[-1] - times[-2])]
    except TypeError:  # an axis of texts
        return []


def span_of(start: Any, end: Any) -> tuple[str, str] | None:
    """Return the first and the last second of a step, or None for what is not a date."""
    if isinstance(start, int | np.integer):
        if not 1000 <= int(start) <= 9999:  # months of every year, bands
            return None
        last = int(start) if end is None else max(int(start), int(end) - 1)
        return f"{int(start):04d}-01-01T00:00:00Z", f"{last:04d}-12-31T23:59:59Z"
    first = _moment(start)
    if first is None:
        return None
    after = None if end is None else _moment(end)
    if after is not None:
        # a calendar step of years ends with a year, however many leap days are in it
        days = round((after - first) / pd.Timedelta(days=365.25))
        if first.is_year_start and abs((after - first).days - days * 365.25) < 2 and days:
            after = first + pd.DateOffset(years=days)
        after -= pd.Timedelta(seconds=1)
    elif first.is_year_start and first == first.normalize():
        after = first + pd.DateOffset(years=1) - pd.Timedelta(seconds=1)
    else:
        after = first
    return f"{first:%Y-%m-%dT%H:%M:%SZ}", f"{after:%Y-%m-%dT%H:%M:%SZ}"


def _moment(value: Any) -> pd.Timestamp | None:
    """Return a value of a time axis as a time stamp; one that a calendar lacks is None."""
    try:
        text = value.isoformat() if hasattr(value, "isoformat") else value
        return pd.Timestamp(text)
    except (ValueError, TypeError):
        return None
