"""Stock maps: a map of a concentration becomes one of carbon per area, block by block."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from hmx.cube.cube import CHUNK
from hmx.cube.grid import Grid, find_axes, named, turned
from hmx.errors import BadArgument, GridMismatch, SourceError, missing_variable
from hmx.independent import independent
from hmx.ingest.manifest import find_files
from hmx.ingest.options import Source
from hmx.ingest.sources import Pixels, reader_of
from hmx.ingest.warping import aligned
from hmx.products.stock import mass_of_fine_earth, to_tonnes
from hmx.provenance import provenance
from hmx.settings import parse
from hmx.windows import Span, Window

KEPT = ("quality", "dissimilarity", "applicable")
_EXACT = (
    "the interval of the concentration times the fine earth: bulk density, coarse fragments and "
    "depth count as exact, so the true interval is wider"
)


@independent
def stock(
    obj: xr.Dataset,
    bulk_density: Any,
    *,
    top: Any = None,
    bottom: Any = None,
    coarse: Any = 0.0,
    variable: str | None = None,
    units: str | None = None,
    density_units: str = "g/cm3",
    coarse_units: str = "%",
) -> xr.Dataset:
    """Turn a map of a concentration into one of the stock of a layer, t/ha; lazy.

    The formula, and its sources, are those of :func:`hmx.carbon_stock`. Bounds and quantiles of
    the concentration are multiplied as the estimate is. Bulk density, coarse fragments and depth
    count as exact, so intervals lack their errors. Means and sums over land need a map with
    ``estimate="mean"``.

    Parameters
    ----------
    obj : Dataset
        A map of ``ds.soc.map`` or from its store, or another with a concentration (y, x).
    bulk_density : float, DataArray, path or mapping
        Of the fine earth: a number, a raster on the map's grid, or the path of one; a mapping is
        a source as in a catalog, such as ``{"path": "bdod.tif", "align": "bilinear"}``. For a map
        of several depths also a list, one for each depth.
    top, bottom : as ``bulk_density``, cm
        Depth of the layer. Default: the depth of the map; a map without one needs ``bottom``.
    coarse : as ``bulk_density``
        Coarse fragments (> 2 mm), share of the volume.
    variable : str, optional
        The concentration. Default: the estimate of a map of hmx, or ``soc``.
    units : str, optional
        Of the concentration. Default: its attribute.
    density_units : {"g/cm3", "kg/dm3", "t/m3", "kg/m3", "cg/cm3"}
        Of ``bulk_density``.
    coarse_units : {"%", "1", "cm3/dm3"}
        Of ``coarse``.

    Returns
    -------
    Dataset
        ``soc_stock`` with its bounds and quantiles, and quality and area of applicability as in
        the map; of several depths also ``soc_stock_sum`` over them, without bounds, because
        errors of neighbouring depths are neither equal nor independent. NaN where something is
        missing.

    Raises
    ------
    BadArgument, CatalogError, GridMismatch, MissingVariable, SourceError
        If units or depth are unknown, or a raster does not fit the map.

    Examples
    --------
    >>> soil = ds.soc.map(level=90, estimate="mean")  # doctest: +SKIP
    >>> soil.soc.stock(1.3, bottom=30, coarse="stones.tif")  # doctest: +SKIP
    """
    name = _concentration(obj, variable)
    shares = obj[name].attrs.get("units") if units is None else units
    if shares is None:
        raise BadArgument(
            f"{name} has no units, so its stock is unknown. Pass units='g/kg'; in a catalog, "
            "points.units."
        )
    shares = str(shares)
    to_tonnes(shares)  # refuses what is not a share of mass
    top, bottom = _depth(obj, top, bottom)
    plane = _Plane(obj, name)
    ends = (plane.part(end, what) for end, what in ((bottom, "bottom"), (top, "top")))
    mass = mass_of_fine_earth(
        plane.part(bulk_density, "bulk_density"),
        next(ends) - next(ends),
        plane.part(coarse, "coarse"),
        density_units=density_units,
        coarse_units=coarse_units,
    )
    facts = {"bulk_density": bulk_density, "top": top, "bottom": bottom, "coarse": coarse}
    return _multiplied(obj, name, to_tonnes(shares) * mass).assign_attrs(
        hmx_provenance=_provenance(obj, facts)
    )


def _concentration(obj: xr.Dataset, variable: str | None) -> str:
    """Return the name of the estimate."""
    if variable is not None:
        if variable not in obj:
            raise missing_variable(variable, obj.data_vars, where="the map")
        return variable
    roles = [str(n) for n, v in obj.data_vars.items() if v.attrs.get("hmx_role") == "target"]
    if len(roles) == 1:
        return roles[0]
    if "soc" in obj:
        return "soc"
    listed = ", ".join(map(str, obj.data_vars))
    raise BadArgument(f"which of {listed} is the concentration? Pass variable='soc'.")


def _depth(obj: xr.Dataset, top: Any, bottom: Any) -> tuple[Any, Any]:
    """Return the ends of the layer: those given, else those of the map."""
    bounds = obj.coords.get("depth_bounds")
    if bottom is None and top is None and bounds is not None:
        return bounds.isel(bounds=0, drop=True), bounds.isel(bounds=1, drop=True)
    if bottom is None:
        raise BadArgument(
            "a stock is of a layer, and its lower end is unknown: this map has no depth. Pass "
            "top=0, bottom=30, cm; in a catalog, stock: {top: 0, bottom: 30}."
        )
    if bounds is not None:
        raise BadArgument(
            "this map has a depth of its own, and top= and bottom= would be another. Leave them "
            "out."
        )
    return 0.0 if top is None else top, bottom


class _Plane:
    """The grid of a map, and parts of the formula on it."""

    def __init__(self, obj: xr.Dataset, name: str):
        self.obj, self.like = obj, obj[name]
        self.names = find_axes(obj, ("y", "x"))
        inner, self.flips = turned(named(obj, ("y", "x")))
        self.grid = Grid.from_xarray(inner)
        self.depths = obj.sizes.get("depth", 0)

    def part(self, given: Any, what: str) -> Any:
        """Return a number, or an array on the grid of the map."""
        if isinstance(given, list | tuple):
            if len(given) != self.depths:
                have = f"{self.depths} depths" if self.depths else "a single depth"
                raise BadArgument(
                    f"{what} has {len(given)} entries, and the map has {have}. Give one for each "
                    "depth, or one for all."
                )
            each = [xr.DataArray(self.part(one, what)) for one in given]
            index = pd.Index(self.obj["depth"].values, name="depth")
            return xr.concat(xr.broadcast(*each), dim=index)
        if isinstance(given, str | Path | Mapping | Source):
            return self._raster(given, what)
        if isinstance(given, xr.DataArray):
            return self._fitting(given, what)
        return given

    def _fitting(self, given: xr.DataArray, what: str) -> xr.DataArray:
        """Return the part of an array that the map covers."""
        odd = [str(dim) for dim in given.dims if dim not in self.like.dims]
        if odd:
            raise BadArgument(
                f"{what} has the dims {', '.join(map(str, given.dims))}, and the map "
                f"{', '.join(map(str, self.like.dims))}. Select one of {odd[0]}, or rename it."
            )
        where: dict[str, slice] = {}
        for dim in map(str, given.dims):
            at = given.get_index(dim).get_indexer(self.obj.get_index(dim))
            if not np.array_equal(at, np.arange(at[0], at[0] + len(at))) or at[0] < 0:
                raise GridMismatch(
                    f"{what} is on another grid than the map: their {dim} differ. Pass the path of "
                    "its raster, {'path': ..., 'align': 'bilinear'}, or resample it."
                )
            where[dim] = slice(at[0], at[0] + len(at))
        found = given.reset_coords(drop=True).isel(where)
        # chunks as those of the map, so that blocks stay blocks
        sizes = {d: s for d, s in self.like.chunksizes.items() if d in found.dims}
        return found.chunk(sizes) if sizes else found

    def _raster(self, given: str | Path | Mapping[str, Any] | Source, what: str) -> xr.DataArray:
        """Open a raster on the map's grid, lazily."""
        source = source_of(given)
        files = find_files(source.path)
        if not files:
            raise SourceError(f"{what}: there is no file {source.path}.")
        part = reader_of(source.path).open(source, files, source.path)
        if part.steps != 1:
            raise BadArgument(
                f"{what}: {source.path} has {part.steps} steps of time, and one map is meant. "
                "Write it as a raster of its own."
            )
        pixels = aligned(part, self.grid, source, crop=True)
        sides = [self._side(dim) for dim in ("y", "x")]
        values = da.map_blocks(_read, pixels=pixels, chunks=tuple(sides), dtype="float32")
        for dim in self.flips:
            values = da.flip(values, axis=("y", "x").index(dim))
        return xr.DataArray(values, dims=[self.names["y"], self.names["x"]])

    def _side(self, dim: str) -> tuple[int, ...]:
        """Return the chunks of a dim of the map, north-up."""
        sizes = self.like.chunksizes.get(self.names[dim])
        if sizes is None:
            count = self.grid.shape[("y", "x").index(dim)]
            return tuple(min(CHUNK, count - at) for at in range(0, count, CHUNK))
        return tuple(reversed(sizes)) if dim in self.flips else tuple(sizes)


def source_of(given: str | Path | Mapping[str, Any] | Source) -> Source:
    """Return the options of a raster."""
    if isinstance(given, Source):
        return given
    return parse(Source, dict(given) if isinstance(given, Mapping) else {"path": str(given)})


def _read(pixels: Pixels, block_info: Any = None) -> np.ndarray:
    """Read one block of a raster."""
    rows, columns = block_info[None]["array-location"]
    return np.asarray(pixels.read(Window(Span(*rows), Span(*columns)))[0])


def _multiplied(obj: xr.Dataset, name: str, factor: Any) -> xr.Dataset:
    """Multiply estimate, bounds and quantiles of a map."""
    parts = (name, f"{name}_quantile", f"{name}_lo_", f"{name}_hi_")
    scaled = [n for n in map(str, obj.data_vars) if n in parts[:2] or n.startswith(parts[2:])]
    made: dict[str, xr.DataArray] = {}
    for n in scaled:
        title = str(obj[n].attrs.get("long_name", n)).removeprefix(f"{name}, ")
        attrs: dict[str, Any] = {"long_name": f"stock of {name}, {title}", "units": "t/ha"}
        if n == name:
            attrs["hmx_role"] = "target"
        else:
            attrs["comment"] = _EXACT
        values = (obj[n] * factor).astype("float32").transpose(*obj[n].dims)
        located = ("grid_mapping", "coordinates")
        values.attrs = attrs
        values.encoding = {k: v for k, v in obj[n].encoding.items() if k in located}
        made[n.replace(name, f"{name}_stock", 1)] = values
    if "depth" in obj[name].dims:
        total = made[f"{name}_stock"].sum("depth", skipna=False)
        ends = obj["depth_bounds"].values
        title = f"stock of {name}, sum of {len(ends)} depths, {ends.min():g} to {ends.max():g} cm"
        made[f"{name}_stock_sum"] = total.assign_attrs(long_name=title, units="t/ha")
    for n in KEPT:
        if n in obj:
            made[n] = obj[n]
    return obj.assign(made)[list(made)]


def _provenance(obj: xr.Dataset, parts: Mapping[str, Any]) -> str:
    """Return how a stock is made: the parts of the formula, and the map's own provenance."""
    before = obj.attrs.get("hmx_provenance")
    facts = {name: _described(part) for name, part in parts.items()}
    return provenance(product="stock", **facts, map=None if before is None else json.loads(before))


def _described(part: Any) -> Any:
    """Describe a part of the formula in JSON values."""
    if isinstance(part, list | tuple):
        return [_described(one) for one in part]
    if isinstance(part, str | Path | Mapping | Source):
        return source_of(part).model_dump(mode="json", exclude_defaults=True)
    if isinstance(part, xr.DataArray):
        return part.values.tolist() if part.ndim < 2 else f"array {part.name or ''}".strip()
    return part
