"""Result: names, coordinates and attributes around a map's arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
import xarray as xr

from hmx.cube.bands import Bands
from hmx.cube.cube import without_location
from hmx.engine.result import QUALITY, bare, georeference, variable_of
from hmx.errors import BadArgument
from hmx.mapping.options import Central
from hmx.mapping.spec import MapSpec
from hmx.mapping.window import INSIDE, OUTSIDE, UNKNOWN
from hmx.windows import Span, Window

_FLAGS = ("covariate_missing", "no_data")  # bits of quality that a map can set

ESTIMATES = {
    "model": "estimate of the model",
    "median": "median of the predictive distribution",
    "mean": "mean of the predictive distribution",
}


def describe_map(
    arrays: Mapping[str, Any],
    bands: Bands,
    window: Window,
    spec: MapSpec,
    steps: Span,
    *,
    quantiles: tuple[float, ...] = (),
    estimate: Central = "model",
    masked: bool = False,
    depths: tuple[tuple[float, float], ...] = (),
) -> xr.Dataset:
    """Build the Dataset of a map, in the inner form.

    `arrays` are dask arrays by output: ``mean``, ``lo_90``, ``hi_90`` ..., ``quantile``,
    ``dissimilarity``, ``applicable``, ``quality``, of the part `window` of the cube. The last of
    the `steps` of a calendar is the date of the map.
    """
    variables = {
        variable_of(output, spec.target): (
            _dims(output, several=len(depths) > 1),
            array,
            _attrs(output, spec, estimate, masked=masked),
        )
        for output, array in arrays.items()
    }
    time = bands.data["time"]
    coords: dict[str, Any] = {
        "y": bare(bands.data["y"].isel(y=window.y.slice)),
        "x": bare(bands.data["x"].isel(x=window.x.slice)),
    }
    if quantiles:
        coords["quantile"] = ("quantile", list(quantiles))
    if depths:
        coords |= _depth_coordinates(depths)
    if not bands.climatology:
        coords["time"] = ((), time.values[steps.stop - 1], time.attrs)
    result = xr.Dataset(variables, coords=coords)
    kept = without_location(bands.data.attrs)
    result.attrs = {k: v for k, v in kept.items() if not str(k).startswith("hmx_")}
    listed = "spatial_ref" if bands.climatology else "time spatial_ref"
    return georeference(result, bands, window, listed=listed)


def require_one_depth(depths: Sized, what: str) -> None:
    """Raise BadArgument if a map has several depths, of which a product takes one."""
    if len(depths) > 1:
        raise BadArgument(
            f"this map has {len(depths)} depths, and {what} is of one. Map it by itself: "
            "ds.soc.map(depths='0-5', ...); in a catalog, map.depths: [0-5]."
        )


def _dims(output: str, *, several: bool) -> tuple[str, ...]:
    """Return the dims of an output; maps of several depths have one more."""
    depth = ("depth",) if several and output != "quality" else ()
    return (*(("quantile",) if output == "quantile" else ()), *depth, "y", "x")


def _depth_coordinates(depths: tuple[tuple[float, float], ...]) -> dict[str, Any]:
    """Return the middle of each depth and its bounds, by CF; of a single one without a dim."""
    ends = np.array(depths, "float64")
    attrs = {
        "standard_name": "depth", "long_name": "depth below the surface", "units": "cm",
        "positive": "down", "axis": "Z", "bounds": "depth_bounds",
    }  # fmt: skip
    dims, several = ("depth",), len(depths) > 1
    middle = ends.mean(axis=1)
    return {
        "depth": (dims if several else (), middle if several else middle[0], attrs),
        "depth_bounds": ((*dims, "bounds") if several else "bounds", ends if several else ends[0]),
    }


def _attrs(output: str, spec: MapSpec, estimate: Central, *, masked: bool) -> dict[str, Any]:
    """Return the CF attributes of an output."""
    if output == "quality":
        flags = (*_FLAGS, *(["class_unknown"] if spec.categories else []))
        flags += ("masked",) if masked else ()
        return {
            "long_name": "what a mapped pixel had to do without",
            "flag_masks": np.array([QUALITY[name] for name in flags], "uint8"),
            "flag_meanings": " ".join(flags),
        }
    if output == "applicable":
        return {
            "long_name": "whether a pixel is like what was trained on (area of applicability)",
            "flag_values": np.array([OUTSIDE, INSIDE, UNKNOWN], "uint8"),
            "flag_meanings": "outside inside no_data",
        }
    if output == "dissimilarity":
        title = "dissimilarity from what was trained on (Meyer & Pebesma 2021)"
        return {"long_name": title, "units": "1"}
    title = ESTIMATES[estimate]
    if output == "quantile":
        title = "quantile"
    elif output != "mean":
        end, level = output.split("_")
        title = f"{'lower' if end == 'lo' else 'upper'} end of the central {level} % interval"
    attrs: dict[str, Any] = {"long_name": f"{spec.target}, {title}"}
    if spec.units is not None:
        attrs["units"] = spec.units
    if spec.valid_range is not None:
        attrs["valid_range"] = list(spec.valid_range)
    return attrs | ({"hmx_role": "target"} if output == "mean" else {})
