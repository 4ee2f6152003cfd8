"""Choice: variables, steps and part of a product, and the layers that are computed from it.

Two kinds of layers are not in a product, because they follow from it: the width of an interval,
and the change from the last map that was observed, which is in the cube.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import xarray as xr

from hmx.cube.cube import OuterForm, Region, open_cube
from hmx.cube.dates import short, time_label
from hmx.cube.grid import Grid, find_axes, named, turned
from hmx.cube.store import attributes
from hmx.engine.ledger import Ledger
from hmx.engine.recall import recall
from hmx.engine.region import window_of
from hmx.errors import BadArgument, CubeError, SourceError, missing_variable
from hmx.exports.options import ExportOptions

Past = xr.Dataset | xr.DataArray | str | Path | None
LAYER = "hmx_layer"  # attribute of computed layers: "change" or "width"
_BOUND = re.compile(r"(.*)_lo_([0-9.]+)")


@dataclass(frozen=True)
class _View:
    """A raster as regions see it."""

    data: xr.Dataset  # in the inner form
    outer: OuterForm

    @cached_property
    def grid(self) -> Grid:
        return Grid.from_xarray(self.data)


def view_of(data: xr.Dataset) -> _View:
    """Look at a product as a cube, whatever its names and orientation."""
    inner, flips = turned(named(data, ("y", "x")))
    return _View(inner, OuterForm(find_axes(data, ("y", "x")), flips))


def chosen(
    data: xr.Dataset, options: ExportOptions, *, region: Region = None, past: Past = None
) -> xr.Dataset:
    """Return the variables, steps and part that are asked for, lazily, in the form of ``data``.

    All variables without a choice; GeoTIFFs then have the computed layers too.
    """
    with_more = _with_computed(data, options.variable, past, every=options.format == "cog")
    if options.variable:
        names = list(map(str, with_more.data_vars))
        for name in options.variable:
            if name not in names:
                raise missing_variable(name, names, where="the product", more=_missed(data, name))
        with_more = with_more[list(dict.fromkeys(options.variable))]
    return cropped(_at_steps(with_more, options.year), region)


def cropped(data: xr.Dataset, region: Region) -> xr.Dataset:
    """Return the part of a raster that a region covers, with its own transform."""
    if region is None:
        return data
    view = view_of(data)
    window, parts = window_of(region, view), {}
    for dim, span, size in zip(("y", "x"), window.slices, view.grid.shape, strict=True):
        turned = slice(size - span.stop, size - span.start)
        parts[view.outer.names[dim]] = turned if dim in view.outer.flips else span
    part = data.isel(parts)
    # the transform that is declared is that of the whole
    for name in [n for n, coord in part.coords.items() if "GeoTransform" in coord.attrs]:
        kept = {k: v for k, v in part[name].attrs.items() if k != "GeoTransform"}
        fresh = part[name].copy()
        fresh.attrs = kept | {"GeoTransform": _geotransform(part)}
        part = part.assign_coords({name: fresh})
    return part


def _geotransform(part: xr.Dataset) -> str:
    """Write the transform of a raster by its coordinates, rows in their own order."""
    view = view_of(part)
    at, (rows, columns) = view.grid.transform, view.grid.shape
    gdal = [at.c, at.a, 0.0, at.f, 0.0, at.e]
    if "y" in view.outer.flips:
        gdal[3:] = [at.f + at.e * rows, 0.0, -at.e]
    if "x" in view.outer.flips:
        gdal[:2] = [at.c + at.a * columns, -at.a]
    return " ".join(map(str, gdal))


def _at_steps(data: xr.Dataset, wanted: Sequence[str]) -> xr.Dataset:
    """Take the steps of years or dates; a year takes all of its steps."""
    if not wanted:
        return data
    time = next((name for name in ("time", _time_of(data)) if name in data.coords), None)
    if time is None:
        raise BadArgument(
            f"year={wanted[0]!r} chooses a step, and this product has no time. Leave year= out."
        )
    labels = [time_label(value) for value in data[time].values.reshape(-1)]
    taken = [
        number
        for number, label in enumerate(labels)
        if any(label == word or label.startswith((f"{word}-", f"{word}T")) for word in wanted)
    ]
    for word in wanted:
        if not any(label == word or label.startswith((f"{word}-", f"{word}T")) for label in labels):
            raise BadArgument(
                f"year={word!r} is not among the steps ({', '.join(map(short, labels[:12]))}"
                f"{' ...' if len(labels) > 12 else ''}). Pass one of them."
            )
    return data.isel({time: taken}) if data[time].ndim else data


def _time_of(data: xr.Dataset) -> str:
    try:
        return find_axes(data, ("time",))["time"]
    except CubeError:
        return "time"


def _with_computed(
    data: xr.Dataset, wanted: Sequence[str], past: Past, *, every: bool
) -> xr.Dataset:
    """Add the layers that are computed: all of them, or those that are asked for."""
    every = every and not wanted
    more: dict[str, xr.DataArray] = {}
    for name, low in data.data_vars.items():
        found = _BOUND.fullmatch(str(name))
        high = found and f"{found[1]}_hi_{found[2]}"
        width = found and f"{found[1]}_width_{found[2]}"
        if found and high in data and (every or width in wanted) and width not in data:
            units = {k: v for k, v in low.attrs.items() if k == "units"}
            about = {"long_name": f"width of the central {found[2]} % interval"}
            made = data[high] - low.variable
            made.attrs = {**about, **units, LAYER: "width"}
            more[str(width)] = made
    target = target_of(data)
    change = f"{target}_change"
    if target is not None and "lead" in data.coords and change not in data:
        given = past is not None or change in wanted
        wished = every or change in wanted
        origin = origin_of(data, past, must=given) if wished else None
        if origin is not None:
            more[change] = _change(data[target], origin)
    return data.assign(more)


def _change(ahead: xr.DataArray, origin: xr.Variable) -> xr.DataArray:
    change = ahead - origin
    units = {"units": ahead.attrs["units"]} if "units" in ahead.attrs else {}
    when = short(time_label(ahead["forecast_reference_time"].values[()]))
    change.attrs = {"long_name": f"forecast mean minus the map of {when}", **units, LAYER: "change"}
    return change


def target_of(data: xr.Dataset) -> str | None:
    """Return the name of the central estimate of a forecast or a map."""
    roles = [str(n) for n, v in data.data_vars.items() if v.attrs.get("hmx_role") == "target"]
    return roles[0] if len(roles) == 1 else None


def origin_of(data: xr.Dataset, past: Past, *, must: bool) -> xr.Variable | None:
    """Return the last map before a forecast, with its rows and columns; None if not found."""
    target = str(target_of(data))
    series = _series(data, past, target)
    if series is None:
        if must:
            raise BadArgument(
                f"{target}_change is the change from the last map, and the cube of this forecast "
                "was not found. Pass it: past=hmx.open_cube('build/demo.zarr')."
            )
        return None
    times = find_axes(series, ("time",))["time"]
    labels = [time_label(value) for value in series[times].values]
    origin = time_label(data["forecast_reference_time"].values[()])
    if origin not in labels:
        raise BadArgument(
            f"the cube has no map of {origin}, from which this forecast starts (it has "
            f"{labels[0]} to {labels[-1]}). Pass the cube that it was made from as past=."
        )
    of_past, of_data = view_of(series), view_of(data)
    window = window_of(of_data.grid.bounds, of_past)
    of_data.grid.require_same(of_past.grid.crop(window), "past")
    rows, columns = window.slices
    plane = of_past.data[target].isel({times: labels.index(origin), "y": rows, "x": columns})
    turned = plane.variable.isel({dim: slice(None, None, -1) for dim in of_data.outer.flips})
    return xr.Variable([of_data.outer.names[str(dim)] for dim in turned.dims], turned.data)


def _series(data: xr.Dataset, past: Past, target: str) -> xr.Dataset | None:
    """Open the cube of a forecast: the one given, or the one its run remembers."""
    if past is not None:
        cube = open_cube(past) if isinstance(past, str | Path) else past
        cube = cube.to_dataset(name=target) if isinstance(cube, xr.DataArray) else cube
        if target not in cube:
            raise missing_variable(target, cube.data_vars, where="the cube past=")
        return cube[[target]]
    store = data.encoding.get("source")
    header: Mapping[str, object] = Ledger(str(store)).job() if store is not None else {}
    if header:
        return _recorded(str(header.get("source")), header)
    try:
        return recall(data, "forecast").run.cube.data[[target]]
    except BadArgument:
        return None


def _recorded(source: str, header: Mapping[str, object]) -> xr.Dataset | None:
    """Open the cube that a ledger names, if its maps are still those of the forecast."""
    facts = header.get("facts")
    known = facts.get("data") if isinstance(facts, Mapping) else None
    # a cube that its owner saved has no fingerprint, before as after
    if attributes(source).get("hmx_fingerprint") != known:
        return None
    try:
        return open_cube(source)
    except SourceError:
        return None


def _missed(data: xr.Dataset, name: str) -> str:
    """Return what would make a computed layer possible."""
    if name.endswith("_change") and "lead" not in data.coords:
        return " A change from the last map is of a forecast."
    if "_width_" in name:
        return f" Make the product with level={name.rpartition('_')[2]}."
    return ""
