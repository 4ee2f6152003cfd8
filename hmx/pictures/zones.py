"""Pictures of zones: a fan for each, from the past through the forecast."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hmx.cube.dates import short, time_label
from hmx.errors import BadArgument, MissingVariable, did_you_mean
from hmx.independent import independent
from hmx.pictures.style import COLOURS, REFERENCE, Figure, finish_axes, with_units
from hmx.zones.frames import require_table, target_of

MOST = 12  # fans drawn when no zones are named
_COLUMNS = 4


@independent
def plot_zones(
    table: xr.Dataset,
    past: xr.DataArray | None = None,
    *,
    zones: Sequence[str] | None = None,
    figure: str | None = None,
    threshold: float | None = None,
    width: float = 3.1,
) -> Figure:
    """Draw a fan for each zone: the past, the expected value and its intervals.

    Parameters
    ----------
    table : Dataset
        Of ``fc.hm.zonal(...)``; each of its levels is a band of the fan.
    past : DataArray, optional
        The figure on past maps, ``(zone, time)``: up to the origin and, to compare the forecast
        with what came, beyond it. Without it a fan begins at the origin.
    zones : sequence of str, optional
        Names, in the order of the panels; by default the twelve largest with data, ``"all"``
        last.
    figure : str, optional
        Which figure of the table: the mean by default, or ``"area_above"``, ``"low_share"``.
    threshold : float, optional
        Of ``"area_above"``; the first one by default.
    width : float
        Of one fan, inches.

    Returns
    -------
    matplotlib.figure.Figure
        Not shown, and known to no backend: ``figure.savefig("zones.png")``.

    Raises
    ------
    BadArgument
        If the Dataset is not a table of zones, or no zone has data.
    MissingVariable
        If a zone, figure or threshold is not in the table.
    """
    require_table(table)
    name = target_of(table) if figure is None else figure
    name = "low_share" if figure is None and name not in table else name
    _require(name, [n for n in map(str, table.data_vars) if "time" in table[n].dims])
    shown, left = _chosen(table, zones, name)
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    sheet = Figure(figsize=(columns * width + 0.4, rows * 0.72 * width + 0.9), layout="constrained")
    axes = sheet.subplots(rows, columns, squeeze=False)
    levels = _levels(table, name)
    for axis, row in zip(axes.flat, shown, strict=False):
        one = _of_threshold(table, threshold).isel(zone=row)
        _fan(axis, one, name, levels, _past_of(past, str(one["zone"].values), threshold))
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    title = table[name].attrs.get("long_name", name)
    chosen = _of_threshold(table, threshold)
    if "threshold" in table[name].dims:
        title = title.replace("the threshold", f"{float(chosen['threshold']):g}")
    title = with_units(title, table[name].attrs.get("units"))
    sheet.suptitle(fill(title, int(13 * columns * width)), fontsize=10, x=0.02, ha="left")
    _legend(sheet, levels, past is not None, left)
    return sheet


def _require(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise MissingVariable(
            f"{name!r} is not in the table of zones (has: {', '.join(known)})."
            f"{did_you_mean(name, known)}"
        )


def _chosen(table: xr.Dataset, zones: Sequence[str] | None, name: str) -> tuple[list[int], int]:
    """Return the numbers of the rows to draw, and how many with data are left out."""
    names = [str(each) for each in table["zone"].values]
    if zones is not None:
        given = [zones] if isinstance(zones, str) else list(zones)
        for each in given:
            _require(each, names)
        if not given:
            raise BadArgument("zones=[] draws nothing. Name some, or leave zones= out.")
        return [names.index(each) for each in given], 0
    plane = table[name].isel({dim: 0 for dim in table[name].dims if dim != "zone"}).values
    known = [row for row in range(len(names)) if np.isfinite(plane[row])]
    if not known:
        raise BadArgument("no zone of this table has data. Pass zones that the map covers.")
    whole = [row for row in known if table["kind"].values[row] == "all"]
    area = table["area_km2"].values
    rest = sorted((row for row in known if row not in whole), key=lambda row: -area[row])
    kept = rest[: MOST - len(whole)]
    return [*sorted(kept), *whole], len(rest) - len(kept)


def _of_threshold(table: xr.Dataset, threshold: float | None) -> xr.Dataset:
    """Choose one threshold of a table."""
    if "threshold" not in table.dims:
        return table
    if threshold is None:
        return table.isel(threshold=0)
    known = table["threshold"].values
    at = np.flatnonzero(np.isclose(known, threshold))
    if not len(at):
        raise MissingVariable(
            f"threshold={threshold:g} is not in the table of zones (has: "
            f"{', '.join(f'{each:g}' for each in known)}). Add it: above=[...]."
        )
    return table.isel(threshold=int(at[0]))


def _levels(table: xr.Dataset, name: str) -> list[str]:
    """Return the levels of a figure as they are written, widest first."""
    found = (re.fullmatch(rf"{re.escape(name)}_lo_([0-9.]+)", str(n)) for n in table.data_vars)
    return sorted((match[1] for match in found if match), key=float, reverse=True)


def _past_of(past: xr.DataArray | None, zone: str, threshold: float | None) -> xr.DataArray | None:
    """Return the past of one zone, if there is one."""
    if past is None or zone not in past["zone"].values:
        return None
    if "threshold" in past.dims:
        past = past.isel(threshold=0) if threshold is None else past.sel(threshold=threshold)
    return past.sel(zone=zone).sortby("time")


def _fan(
    axis: Axes, zone: xr.Dataset, name: str, levels: Sequence[str], past: xr.DataArray | None
) -> None:
    """Draw the fan of one zone."""
    at, mean = moments(zone["time"].values), zone[name].values
    start = _start(zone, name)
    if start is not None:
        at, mean = np.append(start[0], at), np.append(start[1], mean)
    for number, level in enumerate(levels):
        low, high = (zone[f"{name}_{end}_{level}"].values for end in ("lo", "hi"))
        if start is not None:  # the origin is known: all bands begin there
            low, high = np.append(start[1], low), np.append(start[1], high)
        axis.fill_between(at, low, high, color=COLOURS[0], alpha=_alpha(number), linewidth=0)
    axis.plot(at, mean, color=COLOURS[0], linewidth=1.6, marker="o", markersize=3)
    if past is not None:
        axis.plot(
            moments(past["time"].values),
            past.values,
            color="black",
            linewidth=1.2,
            marker="s",
            markersize=3,
        )
    if start is not None:
        axis.axvline(start[0], color=REFERENCE, linewidth=0.8, linestyle=":")
    finish_axes(axis, axis="y")
    axis.set_title(_short(str(zone["zone"].values)), fontsize=9)
    axis.tick_params(labelsize=7)
    axis.ticklabel_format(style="plain", useOffset=False)
    axis.locator_params(axis="x", nbins=5, integer=True)
    axis.margins(x=0.03)


def _start(zone: xr.Dataset, name: str) -> tuple[float, float] | None:
    """Return time and value of the origin, if the table has them."""
    change, known = name.endswith("_change"), f"{name}_origin" in zone
    if "forecast_reference_time" not in zone.coords or not (change or known):
        return None
    value = 0.0 if change else float(zone[f"{name}_origin"])
    when = np.atleast_1d(zone["forecast_reference_time"].values)
    return float(moments(when)[0]), value


def moments(times: np.ndarray) -> np.ndarray:
    """Write times as years with decimals, whatever calendar they have; others as they are."""
    found = []
    for value in times:
        label = short(time_label(value))
        parts = re.fullmatch(r"(-?\d{4})(?:-(\d\d))?(?:-(\d\d))?.*", label)
        if parts is None:
            found.append(float(value))
            continue
        year, month, day = (int(part or 1) for part in parts.groups())
        found.append(year + (month - 1) / 12 + (day - 1) / 365.25)
    return np.array(found)


def _alpha(number: int) -> float:
    """Return how opaque the n-th band is, the widest first: they lie on each other."""
    return 0.18 if number == 0 else 0.25


def _short(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:30]} ..."


def _legend(sheet: Figure, levels: Sequence[str], past: bool, left: int) -> None:
    entries: list[Any] = []
    if past:
        entries.append(Line2D([], [], color="black", marker="s", markersize=3, label="maps"))
    entries.append(Line2D([], [], color=COLOURS[0], marker="o", markersize=3, label="expected"))
    opacity = 0.0
    for number, level in enumerate(levels):
        opacity = 1 - (1 - opacity) * (1 - _alpha(number))
        entries.append(Patch(color=COLOURS[0], alpha=opacity, linewidth=0, label=f"{level} %"))
    title = f"{left} more zones are in the table" if left else None
    sheet.legend(
        handles=entries, loc="outside lower center", ncols=len(entries), frameon=False,
        fontsize=8, title=title, title_fontsize=8,
    )  # fmt: skip
