"""Coordinates: the lattice on which two axes and a declared transform agree.

Coordinates are pixel centres. An array may also declare a transform: rioxarray's
GeoTransform, an attribute ``transform`` or GeoZarr's ``spatial:transform``. It becomes stale
when an array is cropped, flipped, thinned or coarsened, but then still describes the lattice
of the coordinates. Anything else is a contradiction (centres for corners, another spacing)
and is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from affine import Affine

from hmx.errors import CubeError

_EVEN_PX = 1e-3  # what rounding does not explain; Gaussian latitudes are 7 or more off
_TYPED_PX = 0.01  # coordinates are often written with few decimals
_COARSE_PX = 0.25  # rounded so far, they do not show whether they are centres or corners


@dataclass(frozen=True)
class Axis:
    """Edge at which an axis begins, its signed spacing, and the rounding error of both."""

    start: float
    step: float
    rounding: float = 0.0


@dataclass(frozen=True)
class DeclaredLattice:
    """A transform, and the attribute that declares it."""

    where: str
    transform: Affine

    def along(self, dim: str) -> tuple[float, float]:
        """Return the edge at which an axis begins, and its signed spacing."""
        at = self.transform
        return (at.c, at.a) if dim == "x" else (at.f, at.e)


def declared_transform(obj: xr.Dataset | xr.DataArray) -> DeclaredLattice | None:
    """Read the transform that an attribute declares, if there is one."""
    found = _find_transform(obj)
    if found is None:
        return None
    where, value, gdal = found
    try:
        text = value.split() if isinstance(value, str) else list(value)
        six = [float(part) for part in text][:6]
        at = Affine.from_gdal(*six) if gdal else Affine(*six)
    except (TypeError, ValueError):
        # fails the check below, so that all that is wrong has one error
        at = Affine(0, 0, 0, 0, 0, 0)
    if not at.a or not at.e or at.b or at.d or not np.isfinite(tuple(at)).all():
        raise CubeError(
            f"{where} is {value!r}, which is not the transform of a grid whose rows and columns "
            "run along its axes. Write another: "
            "ds.rio.write_transform(ds.rio.transform(recalc=True))."
        )
    return DeclaredLattice(where, at)


def _find_transform(obj: xr.Dataset | xr.DataArray) -> tuple[str, Any, bool] | None:
    """Find a declared transform: its attribute, its value, and True for GDAL's order."""
    named = _grid_mapping(obj)  # before others, which an array may have from another grid
    for name, coord in sorted(obj.coords.items(), key=lambda item: item[0] != named):
        if "GeoTransform" in coord.attrs:
            return f"GeoTransform of {name}", coord.attrs["GeoTransform"], True
    holders = [obj.attrs]
    if isinstance(obj, xr.Dataset):
        holders += [variable.attrs for variable in obj.data_vars.values()]
    for attrs in holders:
        if "spatial:transform" in attrs:
            return "attribute spatial:transform", attrs["spatial:transform"], False
        older = attrs.get("transform")  # of xarray's open_rasterio; others keep a word there
        if isinstance(older, list | tuple | np.ndarray) and len(older) >= 6:
            return "attribute transform", older, False
    return None


def _grid_mapping(obj: xr.Dataset | xr.DataArray) -> str | None:
    """Return the name of the grid mapping that the variables refer to."""
    variables = [obj] if isinstance(obj, xr.DataArray) else list(obj.data_vars.values())
    for variable in variables:
        name = variable.encoding.get("grid_mapping", variable.attrs.get("grid_mapping"))
        if name is not None:
            return str(name)
    return None


def lost_mapping(obj: xr.Dataset | xr.DataArray) -> str | None:
    """Return the name of a grid mapping that the variables refer to and the object lacks."""
    name = _grid_mapping(obj)
    return None if name is None or name in obj.coords else name


def flipped(data: xr.Dataset, dims: Collection[str]) -> xr.Dataset:
    """Flip dims ``y`` and ``x``, and the transforms that are declared for them; lazy."""
    result = data.isel({dim: slice(None, None, -1) for dim in dims})
    for name, coord in data.coords.items():
        if "GeoTransform" not in coord.attrs or not dims:
            continue
        declared = declared_transform(data[[]].assign_coords({name: coord}))
        assert declared is not None
        at = declared.transform
        a, c = (-at.a, at.c + at.a * data.sizes["x"]) if "x" in dims else (at.a, at.c)
        e, f = (-at.e, at.f + at.e * data.sizes["y"]) if "y" in dims else (at.e, at.f)
        text = " ".join(map(str, Affine(a, 0.0, c, 0.0, e, f).to_gdal()))
        attrs = {**coord.attrs, "GeoTransform": text}
        # a new variable, because the result shares the old one with the user's object
        variable = xr.Variable(coord.dims, coord.values, attrs, dict(coord.encoding))
        result = result.assign_coords({name: variable})
    return result


def read_axis(obj: xr.Dataset | xr.DataArray, dim: str, declared: DeclaredLattice | None) -> Axis:
    """Read the first edge and the spacing of an axis from its pixel centres."""
    if dim not in obj.coords:
        raise CubeError(
            f"dimension {dim!r} has no coordinate, so the cube has no place on the map. "
            f"Give it one: ds = ds.assign_coords({dim}=...)."
        )
    centres = np.asarray(obj[dim].values, dtype="float64")
    rounding = _rounding(obj[dim].values)
    stored = None if declared is None else declared.along(dim)
    if stored is not None and _off(centres, *stored) <= _TYPED_PX * abs(stored[1]) + rounding:
        return Axis(*stored)
    if len(centres) == 1 and stored is not None:  # a crop keeps the pixel size, not the corner
        step = -abs(stored[1]) if dim == "y" else abs(stored[1])
        return Axis(float(centres[0]) - step / 2, step)
    axis = _fitted(centres, dim, rounding)
    if declared is not None and not _on_lattice(axis, len(centres), *declared.along(dim)):
        start, step = declared.along(dim)
        raise CubeError(
            f"coordinate {dim!r} begins at pixel centre {centres[0]:.10g} in steps of "
            f"{axis.step:.10g}, and the {declared.where} at pixel edge {start:.10g} in steps of "
            f"{step:.10g}: one of them is wrong, by half a pixel if corners were taken for "
            "centres. If the coordinates are right: ds = ds.rio.write_transform("
            "ds.rio.transform(recalc=True)); else correct them with ds.assign_coords."
        )
    if rounding > _COARSE_PX * abs(axis.step):
        raise CubeError(
            f"coordinate {dim!r} of type {obj[dim].dtype} is rounded to {rounding:.3g}, which is "
            f"too coarse for pixels of {abs(axis.step):g}. Write the transform: "
            "ds = ds.rio.write_transform(Affine(...))."
        )
    return axis


def _fitted(centres: np.ndarray, dim: str, rounding: float) -> Axis:
    """Fit an evenly spaced axis through its ends."""
    if len(centres) < 2:
        raise CubeError(
            f"dimension {dim!r} has a single pixel, so its size is unknown. Write the transform: "
            "ds = ds.rio.write_transform(...)."
        )
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    start = centres[0] - step / 2
    allowed = max(_EVEN_PX * abs(step), min(_TYPED_PX * abs(step), _typed(centres))) + rounding
    if not step or not _off(centres, start, step) <= allowed:
        raise CubeError(
            f"coordinate {dim!r} is not evenly spaced (steps from {np.diff(centres).min():g} to "
            f"{np.diff(centres).max():g}). A cube has one regular grid: ds.rio.reproject(...)."
        )
    return Axis(float(start), float(step), rounding)


def _off(centres: np.ndarray, start: float, step: float) -> float:
    """Return the largest distance between centres and those of a regular axis."""
    expected = start + step * (np.arange(len(centres)) + 0.5)
    return float(np.abs(centres - expected).max())


def _rounding(values: np.ndarray) -> float:
    """Return the rounding error of coordinates by their type, or by an earlier narrower type."""
    kind = values.dtype if values.dtype.kind == "f" else np.dtype("float64")
    once = kind == "float64" and bool((values == values.astype("float32")).all())
    if once and len(values) > 1:  # widened since: seen only where they are not even
        step = (float(values[-1]) - float(values[0])) / (len(values) - 1)
        off = _off(values.astype("float64"), float(values[0]) - step / 2, step)
        kind = np.dtype("float32") if off > 1e-6 * abs(step) else kind
    largest = np.abs(values).max(initial=0).astype(kind)
    return 1.5 * float(np.spacing(largest))  # half a step at each end, and at each centre


def _typed(centres: np.ndarray) -> float:
    """Return the rounding error of coordinates that were written with few decimals."""
    for decimals in range(9):
        if (np.round(centres, decimals) == centres).all():
            return 0.75 * 10.0**-decimals
    return 0.0


def _on_lattice(axis: Axis, size: int, start: float, step: float) -> bool:
    """Return True if pixels are whole pixels of a lattice, or lie on their centres.

    A crop, a flip and a coarser mean have whole pixels of it; a thinned array has their
    centres. None of these lies before the lattice begins.
    """
    # px of the lattice
    slack = _TYPED_PX + axis.rounding / abs(step)
    edges = (np.array([axis.start, axis.start + axis.step * size]) - start) / step
    if edges.max() <= slack:
        return False
    factor = abs(axis.step / step)
    # over the whole axis, along which the error of one step adds up
    if abs(factor - round(factor)) * size > slack or round(factor) < 1:
        return False
    centre = (axis.start + axis.step / 2 - start) / step - 0.5
    return min(_from_whole(edges[0]), _from_whole(centre)) <= slack


def _from_whole(number: float) -> float:
    return abs(number - round(number))


def require_no_counts(
    obj: xr.Dataset | xr.DataArray, crs: pyproj.CRS, declared: DeclaredLattice | None
) -> None:
    """Raise :class:`CubeError` if coordinates are pixel numbers, as without a transform."""
    identity = declared is not None and declared.transform == Affine.identity()
    if declared is not None and not identity:
        return
    starts = {_counts(obj[dim].values) for dim in ("y", "x")}
    # 0.5, 1.5, ... are centres of counted pixels, and in degrees also a true 1-degree grid
    whole, halves = starts == {0.0}, starts == {0.5}
    if identity or (whole and obj.sizes["x"] > 1) or (halves and not crs.is_geographic):
        raise CubeError(
            "the cube has a CRS and no geotransform: its coordinates "
            f"{_ends(obj['y'].values)} and {_ends(obj['x'].values)} number the pixels, so its "
            "place is unknown. Give coordinates in the units of the CRS: ds.assign_coords(x=..., "
            "y=...), or ds.rio.write_transform(Affine(...))."
        )


def _counts(values: np.ndarray) -> float | None:
    """Return 0 or 0.5 if an axis counts pixels from there, in either direction."""
    first = float(min(values[0], values[-1]))
    counted = np.arange(len(values)) + first
    alike = np.array_equal(np.sort(values), counted)
    return first if alike and first in (0.0, 0.5) else None


def _ends(values: np.ndarray) -> str:
    return f"{values[0]:g} ... {values[-1]:g}"
