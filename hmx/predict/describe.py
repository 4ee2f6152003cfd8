"""Describe: put names, coordinates and attributes around a forecast's arrays."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from hmx.bands import Bands
from hmx.bundle import Bundle
from hmx.cube import Cube
from hmx.declarations import DECLARATIONS
from hmx.geozarr import without
from hmx.jsontext import as_json
from hmx.options import ForecastOptions
from hmx.predict.step import QUALITY
from hmx.windows import Span, Window

# attributes of the input that speak of its storage or its past, not of the quantity
_STORAGE = DECLARATIONS | {"hmx_role", "hmx_scale", "grid_mapping", "transform", "res"}
_OWN = {"quality", "dissimilarity", "applicable"}  # outputs that are none of the target's
_LISTED = "lead forecast_reference_time spatial_ref"


def describe(
    arrays: dict[str, da.Array],
    cube: Cube,
    window: Window,
    bundle: Bundle,
    options: ForecastOptions,
) -> xr.Dataset:
    """Build the Dataset of a forecast, in the inner form.

    Parameters
    ----------
    arrays : dict of dask array
        By output: ``mean``, ``lo_80``, ``hi_80``, ..., ``quantile``, ``exceedance``, ``quality``.
    cube : Cube
        Source of coordinates, CRS and attributes.
    window : Window
        The part of the cube that the arrays cover.
    bundle : Bundle
        Its target names the variables.
    options : ForecastOptions
        Leads, levels and quantiles.
    """
    target = cube.target
    attrs = {k: v for k, v in without(cube.data[target].attrs).items() if k not in _STORAGE}
    if (limits := cube.rules[target].valid_range) is not None:
        attrs["valid_range"] = list(limits)  # in the units of the forecast, whatever it was in
    variables: dict[str, Any] = {}
    for output, array in arrays.items():
        if output == "quality":
            variables[output] = (("y", "x"), array, _quality_attrs())
        elif output == "quantile":
            dims = ("quantile", "time", "y", "x")
            variables[variable_of(output, target)] = (dims, array, _named(attrs, "quantile"))
        elif output == "exceedance":
            dims = ("threshold", "time", "y", "x")
            title = {"long_name": f"probability that {target} is above the threshold", "units": "1"}
            variables[variable_of(output, target)] = (dims, array, title)
        else:
            name = variable_of(output, target)
            role = {"hmx_role": "target"} if output == "mean" else {}
            named = {**_named(attrs, _title(output)), **role}
            variables[name] = (("time", "y", "x"), array, named)
    result = xr.Dataset(variables, coords=_coords(cube, window, options))
    _mark_uncalibrated(result, bundle, options.h)
    kept = without(cube.data.attrs)
    result.attrs = {k: v for k, v in kept.items() if not str(k).startswith("hmx_")}
    result.attrs |= _held(cube, bundle, options.h)
    return place(result, cube, window)


def variable_of(output: str, target: str) -> str:
    """Name the variable of one of a window's outputs: ``hm``, ``hm_lo_80``, ``quality``.

    Parameters
    ----------
    output : str
        As :func:`hmx.predict.step.forecast_window` names it.
    target : str
        The variable that is predicted.
    """
    if output in _OWN:
        return output
    return target if output == "mean" else f"{target}_{output}"


def place(
    result: xr.Dataset, cube: Cube | Bands, window: Window, *, listed: str = _LISTED
) -> xr.Dataset:
    """Write the CRS and transform so that a plain ``open_zarr`` finds them.

    Parameters
    ----------
    result : Dataset
        Of a window.
    cube : Cube or Bands
        Where the window lies.
    window : Window
        In pixels of the cube.
    listed : str
        Scalar coordinates that variables name, those with time or of a map.
    """
    import rioxarray  # noqa: F401  (registers .rio)

    grid = cube.grid
    corner = grid.crop(window).transform
    result = result.rio.write_crs(grid.crs.to_wkt()).rio.write_transform(corner)
    for name, variable in result.data_vars.items():
        named = listed if "time" in variable.dims or "time" not in result.dims else "spatial_ref"
        result[name].encoding = {"coordinates": named, "grid_mapping": "spatial_ref"}
        result[name].attrs.pop("grid_mapping", None)
    return result


def _coords(cube: Cube, window: Window, options: ForecastOptions) -> dict[str, Any]:
    time = cube.data["time"]
    coords: dict[str, Any] = {
        "time": ("time", cube.cadence.extend(time, options.h), time.attrs),
        "lead": ("time", np.arange(1, options.h + 1), {"long_name": "steps after the origin"}),
        "forecast_reference_time": (
            (),
            time.values[-1],
            {"standard_name": "forecast_reference_time"},
        ),
        "y": bare(cube.data["y"].isel(y=window.y.slice)),
        "x": bare(cube.data["x"].isel(x=window.x.slice)),
    }
    if options.quantiles:
        coords["quantile"] = ("quantile", list(options.quantiles))
    if options.exceed:
        coords["threshold"] = ("threshold", list(options.exceed))
    return coords


def bare(coord: xr.DataArray) -> xr.Variable:
    """Leave behind the encoding of the store a coordinate was read from."""
    return xr.Variable(coord.dims, coord.values, coord.attrs)


def _named(attrs: dict[str, Any], title: str) -> dict[str, Any]:
    name = attrs.get("long_name")
    return {**attrs, "long_name": f"{name}, {title}" if name else title}


def _title(output: str) -> str:
    if output == "mean":
        return "forecast mean"
    end, level = output.split("_")
    return f"{'lower' if end == 'lo' else 'upper'} end of the central {level} % interval"


def _quality_attrs() -> dict[str, Any]:
    return {
        "long_name": "what a forecast pixel had to do without",
        "flag_masks": np.array(list(QUALITY.values()), "uint8"),
        "flag_meanings": " ".join(QUALITY),
    }


def _mark_uncalibrated(result: xr.Dataset, bundle: Bundle, h: int) -> None:
    """Name the leads whose intervals rest on extrapolation, on each interval."""
    beyond = list(range(bundle.calibration.leads + 1, h + 1))
    for name, variable in result.data_vars.items():
        if beyond and "_" in str(name).removeprefix(bundle.spec.target) and "time" in variable.dims:
            variable.attrs["uncalibrated_leads"] = beyond


def _held(cube: Cube, bundle: Bundle, h: int) -> dict[str, str]:
    """Name the leads at which a covariate that should be known ahead is not, as JSON."""
    times, future = Span(0, cube.data.sizes["time"]), bundle.spec.future
    known = {n: cube.span(n, times, known=future, h=h).stop - times.stop for n in future}
    leads = {name: list(range(last + 1, h + 1)) for name, last in known.items() if last < h}
    return {"held_leads": as_json(leads)} if leads else {}
