"""Layers: the planes of a product, the kind of each, and its statistics, tags and label."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from hmx.cube.dates import short, time_label
from hmx.exports.choice import LAYER
from hmx.files.qml import AMOUNTS, Colours

_SAMPLE = 100_000  # pixels of a layer that its colours are chosen by
_MOST_VALUES = 256  # that flags may have

# In the middle of changes stands a grey: no change must not look like no data, which is
# transparent over the white of most canvases.
_CHANGES = ("#5e3c99", "#b2abd2", "#d9d9d9", "#fdb863", "#e66101")
_WIDTHS = ("#000004", "#51127c", "#b73779", "#fc8961", "#fec98d")  # magma without its white end
_CHANCES = ("#00224e", "#434e6c", "#7d7c78", "#bcaf6f", "#fee838")  # cividis
# Okabe & Ito (2008), after a grey for "nothing of this"
_FLAGS = ("#d9d9d9", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442")
_PART = re.compile(r"_(?:lo_[0-9.]+|hi_[0-9.]+|quantile|width_[0-9.]+)$")
MARK = "HMX"  # tag of every exported file
_LEVEL = re.compile(r"_(?:lo|hi|width)_([0-9.]+)$")
_NAMED = {
    "time": "valid_time",
    "lead": "lead",
    "quantile": "quantile",
    "threshold": "threshold",
    "forecast_reference_time": "forecast_reference_time",
}


@dataclass
class Statistics:
    """Minimum, maximum, mean and spread of a layer, and a sample of its pixels."""

    shape: tuple[int, int]  # of the whole layer
    nodata: float | None = None
    count: int = 0
    total: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean
    low: float = math.inf
    high: float = -math.inf
    values: set[int] = field(default_factory=set)  # of flags
    _sample: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def stride(self) -> int:
        """Every n-th row and column of the layer is in the sample, whatever the squares."""
        return max(1, math.ceil(math.sqrt(self.shape[0] * self.shape[1] / _SAMPLE)))

    def add(self, square: NDArray[np.generic], row: int, column: int) -> None:
        """Add a square, whose first pixel is at this row and column."""
        self.total += square.size
        real = square.dtype.kind == "f"
        valid = np.isfinite(square) if real else np.ones(square.shape, bool)
        if self.nodata is not None and not math.isnan(self.nodata):
            valid &= square != self.nodata
        known = square[valid].astype("float64")
        if not known.size:
            return
        if not real and len(self.values) <= _MOST_VALUES:
            self.values |= set(np.unique(square[valid]).astype(int).tolist())
        self._merge(known)
        thin = tuple(slice(-first % self.stride, None, self.stride) for first in (row, column))
        self._sample.append(square[thin][valid[thin]].astype("float64"))

    def _merge(self, known: NDArray[np.float64]) -> None:
        """Add up moments as Chan, Golub & LeVeque (1983, doi:10.2307/2683386) do."""
        count, mean = known.size, float(known.mean())
        away, both = mean - self.mean, self.count + known.size
        self.squares += float(((known - mean) ** 2).sum()) + away**2 * self.count * count / both
        self.mean += away * count / both
        self.count = both
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))

    @property
    def sample(self) -> NDArray[np.float64]:
        """Pixels with data, on a regular grid over the layer."""
        return np.concatenate(self._sample) if self._sample else np.empty(0)

    @property
    def deviation(self) -> float:
        """Standard deviation over all pixels with data, as GDAL has it."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    @property
    def valid_percent(self) -> float:
        """Share of pixels with data."""
        return 100 * self.count / max(1, self.total)

    def tags(self) -> dict[str, str]:
        """Return the tags that GDAL reads as the statistics of a band."""
        if not self.count:
            return {"STATISTICS_VALID_PERCENT": "0"}
        return {
            "STATISTICS_MINIMUM": repr(self.low),
            "STATISTICS_MAXIMUM": repr(self.high),
            "STATISTICS_MEAN": repr(self.mean),
            "STATISTICS_STDDEV": repr(self.deviation),
            "STATISTICS_VALID_PERCENT": f"{self.valid_percent:.4g}",
        }


@dataclass(frozen=True)
class Kind:
    """One kind of layers."""

    name: str
    colours: Colours
    overviews: str  # how GDAL resamples it
    predictor: str = "YES"  # of the compression: neighbouring flags do not predict each other
    limits: tuple[float, float] | None = None  # of the colours, if they do not follow the values
    about_zero: bool = False  # whether 0 has the middle colour
    flags: bool = False  # whether values are names, not amounts


# A mean of flags would be another flag: masks of bits keep one pixel's, classes the most frequent
KINDS = {
    kind.name: kind
    for kind in (
        Kind("state", AMOUNTS, "AVERAGE"),
        Kind("change", _CHANGES, "AVERAGE", about_zero=True),
        Kind("width", _WIDTHS, "AVERAGE"),
        Kind("probability", _CHANCES, "AVERAGE", limits=(0.0, 1.0)),
        Kind("mask", _FLAGS, "NEAREST", predictor="NO", flags=True),
        Kind("classes", _FLAGS, "MODE", predictor="NO", flags=True),
    )
}


def kind_of(layer: xr.DataArray) -> Kind:
    """Return the kind of a layer."""
    if "flag_values" in layer.attrs:
        return KINDS["classes"]
    if "flag_masks" in layer.attrs or layer.dtype.kind == "b":
        return KINDS["mask"]
    if LAYER in layer.attrs:
        return KINDS[str(layer.attrs[LAYER])]
    if "threshold" in layer.coords or str(layer.name).endswith("_exceedance"):
        return KINDS["probability"]
    return KINDS["state"]


def family_of(layer: xr.DataArray) -> tuple[str, str]:
    """Return what layers share a colour scale: a mean and its bounds and quantiles, all steps."""
    return kind_of(layer).name, _PART.sub("", str(layer.name))


def flags_of(attrs: Mapping[Any, Any]) -> dict[str, int]:
    """Return the values (or bits) of flags by their names."""
    meanings = str(attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(attrs.get("flag_values", attrs.get("flag_masks", ())))
    return dict(zip(meanings, map(int, values), strict=False))


def label_of_flag(value: int, attrs: Mapping[Any, Any]) -> str:
    """Name a value of flags: its class, or its bits."""
    named = flags_of(attrs)
    if "flag_values" in attrs:
        words = [word for word, number in named.items() if number == value]
    else:
        words = [word for word, bit in named.items() if value & bit] or ["none of these"]
    return " + ".join(words).replace("_", " ") or str(value)


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
