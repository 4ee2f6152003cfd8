"""Result: the Dataset of a forecast, with names, coordinates and attributes."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from hmx.cube.cube import Cube, without_location
from hmx.cube.declarations import DECLARATIONS
from hmx.engine.result import QUALITY, bare, georeference, variable_of
from hmx.files.jsontext import as_json
from hmx.forecast.beyond import EXTRAPOLATED, extrapolated_leads, learnt_leads
from hmx.forecast.bundle import Bundle
from hmx.forecast.options import ForecastOptions
from hmx.windows import Span, Window

# attributes of a forecast that name some of its leads: an input that was one does not pass them on
_MARKS = {EXTRAPOLATED, "uncalibrated_leads", "held_leads"}
# attributes of the input that describe its storage or its history, not the quantity
_STORAGE = DECLARATIONS | _MARKS | {"hmx_role", "hmx_scale", "grid_mapping", "transform", "res"}

_FLAGS = ("covariate_missing", "history_incomplete", "no_data")  # bits that a forecast can set


def describe(
    arrays: dict[str, da.Array],
    cube: Cube,
    window: Window,
    bundle: Bundle,
    options: ForecastOptions,
) -> xr.Dataset:
    """Build the Dataset of a forecast, in the inner form, from dask arrays by output.

    Outputs are ``mean``, ``lo_80``, ``hi_80``, ..., ``quantile``, ``exceedance``, ``quality``.
    """
    target = cube.target
    attrs = {
        k: v for k, v in without_location(cube.data[target].attrs).items() if k not in _STORAGE
    }
    if (limits := cube.rules[target].valid_range) is not None:
        attrs["valid_range"] = list(limits)  # in the units of the forecast, not of storage
    quality_attrs = {
        "long_name": "what a forecast pixel had to do without",
        "flag_masks": np.array([QUALITY[name] for name in _FLAGS], "uint8"),
        "flag_meanings": " ".join(_FLAGS),
    }
    variables: dict[str, Any] = {}
    for output, array in arrays.items():
        if output == "quality":
            variables[output] = (("y", "x"), array, quality_attrs)
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
    kept = without_location(cube.data.attrs)
    ours = {k for k in kept if str(k).startswith("hmx_")} | _MARKS
    result.attrs = {k: v for k, v in kept.items() if k not in ours}
    result.attrs |= _held_leads(cube, bundle, options.h)
    if later := extrapolated_leads(bundle, options.h):
        result.attrs[EXTRAPOLATED] = later
        result[target].attrs[EXTRAPOLATED] = later  # a DataArray has no other attributes
    return georeference(result, cube, window)


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


def _named(attrs: dict[str, Any], title: str) -> dict[str, Any]:
    name = attrs.get("long_name")
    return {**attrs, "long_name": f"{name}, {title}" if name else title}


def _title(output: str) -> str:
    if output == "mean":
        return "forecast mean"
    end, level = output.split("_")
    return f"{'lower' if end == 'lo' else 'upper'} end of the central {level} % interval"


def _mark_uncalibrated(result: xr.Dataset, bundle: Bundle, h: int) -> None:
    """Write the leads without a calibration of their own into the attributes of each interval."""
    calibrated = min(bundle.calibration.leads, learnt_leads(bundle))
    beyond = list(range(calibrated + 1, h + 1))
    for name, variable in result.data_vars.items():
        if beyond and "_" in str(name).removeprefix(bundle.spec.target) and "time" in variable.dims:
            variable.attrs["uncalibrated_leads"] = beyond


def _held_leads(cube: Cube, bundle: Bundle, h: int) -> dict[str, str]:
    """Return the leads at which a covariate known ahead keeps its last value, as JSON."""
    times, future = Span(0, cube.data.sizes["time"]), bundle.spec.future
    known = {n: cube.span(n, times, known=future, h=h).stop - times.stop for n in future}
    leads = {name: list(range(last + 1, h + 1)) for name, last in known.items() if last < h}
    return {"held_leads": as_json(leads)} if leads else {}
