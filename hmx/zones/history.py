"""History: means and areas of zones on the maps themselves, beside which a forecast is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from hmx.cube.cube import Cube, Cubelike, as_cube
from hmx.cube.read import cut
from hmx.independent import independent
from hmx.windows import TileGrid
from hmx.zones.features import groups_of
from hmx.zones.layer import ZoneLayer, read_zones
from hmx.zones.spread import Array
from hmx.zones.table import KM2, texts

_TILE = 512  # px, as the chunks of a cube


@independent
def zone_history(
    obj: Cubelike,
    zones: Any,
    *,
    above: float | Sequence[float] = (),
    by: str | None = None,
    id: str | None = None,
    target: str | None = None,
) -> xr.Dataset:
    """Add up the maps of a cube over zones: what was, without intervals.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube. It is read once, tile by tile.
    zones : path, GeoDataFrame, GeoJSON or array
        As for :func:`hmx.forecast.zonal.zonal`.
    above : float or sequence of float
        Thresholds of areas, native units.
    by, id : str, optional
        Properties that group and name the zones.
    target : str, optional
        The variable; by default the target of the cube.

    Returns
    -------
    Dataset
        ``hm`` (zone, time), the mean weighted with area, and ``area_above`` (zone, time,
        threshold), km2, of the pixels with data at each step; rows as in a table of zones.
        NaN where a zone has no data.

    Raises
    ------
    BadArgument, GridMismatch, SourceError
        If the zones do not fit.

    Examples
    --------
    >>> past = ds.hm.zone_history("parks.gpkg")  # doctest: +SKIP
    >>> table.hm.plot_zones(past["hm"])  # doctest: +SKIP
    """
    cube = as_cube(obj, target=target, dynamic=(), static=())
    layer = read_zones(zones, cube.grid, id=id, flips=cube.outer.flips)
    limits = tuple(float(each) for each in np.atleast_1d(np.asarray(above, "float64")))
    area, value, over = _sums(cube, layer, limits)
    names, kinds = [*layer.names], ["zone"] * len(layer)
    rows = np.eye(len(layer) + 1)
    if by is not None:
        groups = groups_of(layer.properties, by)
        members = np.pad(groups.matrix(len(layer)), ((0, 0), (0, 1)))
        rows = np.concatenate([rows[:-1], members, rows[-1:]])
        names, kinds = [*names, *groups.names], [*kinds, *("group",) * len(groups.names)]
    area, value, over = (np.tensordot(rows, each, 1) for each in (area, value, over))
    known = np.where(area > 0, area, np.nan)
    series = cube.data[cube.target]
    units = {"units": series.attrs["units"]} if "units" in series.attrs else {}
    found: dict[str, Any] = {
        cube.target: (
            ("zone", "time"),
            value / known,
            {"long_name": f"mean of {cube.target} over the zone", **units},
        )
    }
    coords: dict[str, Any] = {
        "zone": ("zone", texts([*names, "all"])),
        "kind": ("zone", texts([*kinds, "all"])),
        "time": ("time", series["time"].values, dict(series["time"].attrs)),
    }
    if limits:
        title = f"area with {cube.target} above the threshold"
        seen = np.where(area[..., None] > 0, over, np.nan)
        about = {"long_name": title, "units": KM2}
        found["area_above"] = (("zone", "time", "threshold"), seen, about)
        coords["threshold"] = ("threshold", list(limits), units)
    return xr.Dataset(found, coords, {"target": cube.target})


def _sums(cube: Cube, layer: ZoneLayer, limits: Sequence[float]) -> tuple[Array, Array, Array]:
    """Add up area, values and areas above, by zone and time; the last row is the whole map."""
    grid, series = cube.grid, cube.data[cube.target]
    rules, steps, last = cube.rules[cube.target], series.sizes["time"], len(layer)
    area, value = np.zeros((2, last + 1, steps))
    over = np.zeros((last + 1, steps, len(limits)))
    for tile in TileGrid(grid.shape, (_TILE, _TILE), halo=0):
        window = tile.core
        maps = rules.clean(cut(series, window, grid.shape[1]).values, "float32")
        cover, km2 = layer.cover(window), layer.pixel_km2(window.y)
        whole = np.repeat(km2, len(window.x))
        zone = np.concatenate([cover.zone, np.full(whole.size, last)])
        pixel = np.concatenate([cover.pixel, np.arange(whole.size)])
        weight = np.concatenate([cover.share, np.ones(whole.size)]) * whole[pixel]
        for step in range(steps):
            found = maps[step].reshape(-1)[pixel]
            known = np.isfinite(found)
            at, share = zone[known], weight[known]
            area[:, step] += np.bincount(at, share, last + 1)
            value[:, step] += np.bincount(at, share * found[known], last + 1)
            for column, limit in enumerate(limits):
                above = share * (found[known] > np.float32(limit))
                over[:, step, column] += np.bincount(at, above, last + 1)
    return area, value, over
