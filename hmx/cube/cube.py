"""Cube: one regular grid with ``time``, ``y``, ``x``, and roles of variables.

:func:`as_cube` accepts any names, orientation and container and returns one inner form, a
:class:`Cube`: a Dataset with dims ``(time, y, x)``, north-up, x ascending.
:meth:`Cube.restore` gives a result the names, orientation and container of the user's object.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from hmx.cube.cadence import Cadence
from hmx.cube.coordinates import flipped
from hmx.cube.dates import time_label
from hmx.cube.grid import AXES, Grid, crs_as_coordinate, find_axes, turned
from hmx.cube.integrity.reading import open_checked
from hmx.cube.steps import KNOWN_UNTIL, OBSERVED_UNTIL, require_observed, steps_until
from hmx.cube.values import Rules, warn_of_default_fill
from hmx.errors import CubeError, NotEnoughData, SourceError, missing_variable
from hmx.files.paths import absolute
from hmx.files.remote import explain
from hmx.windows import Span

Cubelike = xr.Dataset | xr.DataArray
Region = Any  # a part of a cube: see hmx.engine.region

# rows and columns of a chunk in storage, px: 1 MiB of float32 a step. Tiles and windows that are
# written are whole chunks, so that no chunk is written twice
CHUNK = 512

# key of a variable's encoding: the covariates of the cube that it was opened with
COVARIATES = "hmx_covariates"
_HELP = ("dynamic", "static")  # roles of covariates
_OF_ARRAYS = (
    " A DataArray has its static covariates as coordinates: hmx.open_cube(path, array=True) or "
    "ds.hm.to_array(); those with time are in a Dataset alone."
)
# of an encoding: other formats and versions lack them
_CODECS = {"compressor", "compressors", "filters", "serializer", "object_codec", "shards"}


# beginnings of attributes that describe the store, so that they are wrong after a crop
_STALE = ("spatial:", "_CRS")


def without_location(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes without those that would be wrong after a crop."""
    return {key: value for key, value in attrs.items() if not str(key).startswith(_STALE)}


@dataclass(frozen=True)
class OuterForm:
    """How a cube came in, and so how results go out."""

    names: dict[str, str] = field(default_factory=dict)  # inner name -> the user's
    flips: tuple[str, ...] = ()
    dataarray: bool = False


@dataclass(frozen=True)
class Cube:
    """A checked cube in the inner form."""

    data: xr.Dataset  # lazy; target and dynamic covariates (time, y, x), static ones (y, x)
    target: str  # the variable to predict
    dynamic: tuple[str, ...]  # covariates with and without time
    static: tuple[str, ...]
    outer: OuterForm  # names and orientation of the cube outside
    # if the target has `observed_until`: variables with their later steps too, of which
    # ``data`` is the beginning. Covariates that are known ahead are read here
    whole: xr.Dataset | None = None

    @cached_property
    def grid(self) -> Grid:
        """Grid of the pixels."""
        return Grid.from_xarray(self.data)

    @cached_property
    def cadence(self) -> Cadence:
        """The calendar step between two maps, covariates known ahead included."""
        time = (self.data if self.whole is None else self.whole)["time"]
        return Cadence.infer(time.rename(self.outer.names.get("time", "time")))

    @property
    def variables(self) -> tuple[str, ...]:
        """Target, dynamic and static covariates, in this order."""
        return (self.target, *self.dynamic, *self.static)

    @property
    def rules(self) -> dict[str, Rules]:
        """Rules of each variable: which numbers are data."""
        return {name: Rules.of(self.data[name]) for name in self.variables}

    def stored(self, name: str) -> xr.DataArray:
        """Return a variable with all its steps, those after the last map included."""
        whole = self.whole
        return self.data[name] if whole is None or name not in whole else whole[name]

    def span(self, name: str, times: Span, *, known: Sequence[str] = (), h: int = 0) -> Span:
        """Return the steps to read of a variable: one that is known ahead has ``h`` more."""
        if name not in known:
            return times
        variable = self.stored(name)
        known_steps = steps_until(variable, KNOWN_UNTIL, variable["time"])
        return Span(times.start, max(times.stop, min(times.stop + h, known_steps)))

    def origin_label(self) -> str:
        """Last observed time, as text."""
        return time_label(self.data["time"].values[-1])

    def require_history(self, steps: int, *, truths: int = 0) -> None:
        """Raise :class:`NotEnoughData` if there are fewer steps than a history and its truths."""
        have, need = self.data.sizes["time"], steps + truths
        if have < need:
            shorter = f", or train with a shorter history: train(history={have - truths})"
            raise NotEnoughData(
                f"the cube has {have} time steps and this needs {need}. "
                f"Add earlier maps{shorter if have > truths else ''}."
            )

    def restore(self, result: xr.Dataset) -> Cubelike:
        """Give a result the names, orientation and container of the user's object."""
        result = flipped(result, self.outer.flips)
        result = result.rename({k: v for k, v in self.outer.names.items() if k in result.dims})
        if not self.outer.dataarray:
            return result
        marks = {k: v for k, v in result.attrs.items() if str(k).startswith("hmx_")}
        return result[self.target].assign_attrs(marks)


def open_cube(path: str | Path, **options: Any) -> xr.Dataset:
    """Open a Zarr store as a lazy Dataset; :func:`hmx.open_cube` has the full text."""
    try:
        with warnings.catch_warnings():  # a store without consolidated metadata is as good
            warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated")
            # one spelling, for Dask names its arrays after it
            location = absolute(path)
            cube = open_checked(location, **{"chunks": {}, **options})
    except SourceError:
        raise
    except (OSError, KeyError, ValueError) as error:
        if (known := explain(location, f"{type(error).__name__}: {error}")) is not None:
            raise SourceError(f"no cube can be opened at {str(path)!r}: {known}.") from error
        raise SourceError(
            f"no cube can be opened at {str(path)!r} ({error}). Pass the folder of a Zarr store, "
            "or make one: hmx ingest CATALOG (hmx init FOLDER writes one for a folder of rasters)."
        ) from error
    cube.encoding["source"] = location
    warn_if_incomplete(cube, path)
    cube.attrs = without_location(cube.attrs)
    for variable in cube.variables.values():
        variable.attrs = without_location(variable.attrs)
        variable.encoding = {k: v for k, v in variable.encoding.items() if k not in _CODECS}
    covariates = [str(n) for n, v in cube.variables.items() if v.attrs.get("hmx_role") in _HELP]
    for series in cube.data_vars.values():
        if covariates and series.attrs.get("hmx_role") == "target":
            series.encoding[COVARIATES] = tuple(covariates)
    return crs_as_coordinate(cube)


def warn_if_incomplete(cube: xr.Dataset, path: str | Path) -> None:
    """Warn if the run that writes a store has not finished."""
    if cube.attrs.get("hmx_status", "complete") != "complete":
        warnings.warn(
            f"{path} is incomplete: the run that writes it has not finished. "
            "Run the same hmx command again to finish it.",
            stacklevel=3,
        )


def as_cube(
    obj: Cubelike,
    *,
    target: str | None = None,
    dynamic: Sequence[str] | None = None,
    static: Sequence[str] | None = None,
) -> Cube:
    """Bring a user's object into the inner form, lazily."""
    is_array = isinstance(obj, xr.DataArray)
    data = as_dataset(obj) if isinstance(obj, xr.DataArray) else obj
    names = find_axes(data)
    target = _choose_target(data, names["time"], target or (_name(obj) if is_array else None))
    if dynamic is None:
        dynamic = _with_role(data, "dynamic", target)
    if static is None:
        static = planes_of(data) if is_array else _with_role(data, "static", target)
    inner = _select(data, (target, *dynamic, *static), array=is_array)
    warn_of_default_fill(inner)
    inner = inner.rename({outer: name for name, outer in names.items() if outer != name})
    inner = _order(inner, target, tuple(dynamic), tuple(static))
    inner, flips = turned(inner)
    back = {name: outer for name, outer in names.items() if outer != name}
    data, whole = _observed(inner, target)
    outer = OuterForm(back, flips, is_array)
    return Cube(data, target, tuple(dynamic), tuple(static), outer, whole)


def _observed(inner: xr.Dataset, target: str) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Cut the steps after the last map of the target, if ``observed_until`` names it."""
    if OBSERVED_UNTIL not in inner[target].attrs:
        require_observed(inner, target)
        return inner, None
    steps = steps_until(inner[target], OBSERVED_UNTIL, inner["time"])
    # a copy, because new attributes of `data` must not reach `inner`
    data = inner.isel(time=slice(steps)) if steps < inner.sizes["time"] else inner.copy()
    kept = {k: v for k, v in data[target].attrs.items() if k != OBSERVED_UNTIL}
    data[target].attrs = kept  # a forecast inherits the others, and goes on beyond this
    return data, inner


def _name(obj: Cubelike) -> str:
    return str(getattr(obj, "name", None) or "hm")


def as_dataset(array: xr.DataArray) -> xr.Dataset:
    """Turn a DataArray into a Dataset of its values and of its (y, x) coordinates; lazy."""
    data = array.to_dataset(name=_name(array))
    # static covariates of a DataArray can only be 2-D coordinates
    planes = [c for c in data.coords if data[c].ndim == 2 and data[c].dtype.kind in "iufb"]
    return data.reset_coords(planes)


def planes_of(data: xr.Dataset) -> list[str]:
    """Name the numeric (y, x) planes of a Dataset that are not just its positions."""
    positions = {*AXES["y"][1], *AXES["y"][2], *AXES["x"][1], *AXES["x"][2]}
    names = find_axes(data, ("y", "x"))
    return [
        str(name)
        for name, plane in data.variables.items()
        if set(plane.dims) == {names["y"], names["x"]}
        and plane.dtype.kind in "iufb"
        and not {str(name).lower(), plane.attrs.get("standard_name")} & positions
    ]


def _choose_target(data: xr.Dataset, time: str, target: str | None) -> str:
    if target is not None:
        if target not in data:
            raise missing_variable(target, data.data_vars)
        return target
    series = [str(name) for name, v in data.data_vars.items() if time in v.dims]
    named = [name for name in series if data[name].attrs.get("hmx_role") == "target"]
    if "hm" in series or named:
        return named[0] if named else "hm"
    if len(series) == 1:
        return series[0]
    raise CubeError(
        f"which variable is the target? {len(series)} have time: {', '.join(series) or 'none'}. "
        "Pass target='...'."
    )


def _with_role(data: xr.Dataset, role: str, target: str) -> list[str]:
    # coordinates too: a stored DataArray has its covariates there
    found = [str(name) for name, v in data.variables.items() if v.attrs.get("hmx_role") == role]
    return [name for name in found if name != target]


def _select(data: xr.Dataset, names: Iterable[str], *, array: bool) -> xr.Dataset:
    chosen = list(names)
    for name in chosen:
        if name not in data.variables:
            raise missing_variable(name, data.data_vars, more=_OF_ARRAYS if array else "")
    planes = [name for name in chosen if name in data.coords and name not in data.dims]
    return crs_as_coordinate(data).reset_coords(planes)[chosen]


def _order(
    inner: xr.Dataset, target: str, dynamic: tuple[str, ...], static: tuple[str, ...]
) -> xr.Dataset:
    """Check the dims of every variable and put them in order."""
    wanted: dict[str, tuple[str, ...]] = dict.fromkeys((target, *dynamic), ("time", "y", "x"))
    wanted |= dict.fromkeys(static, ("y", "x"))
    for name, dims in wanted.items():
        if set(inner[name].dims) != set(dims):
            raise CubeError(
                f"{name!r} has dimensions {tuple(inner[name].dims)} and must have {dims}. "
                f"Select one of the others, e.g. ds.isel(band=0), or give {name!r} its right role."
            )
    return inner.transpose("time", "y", "x", ...)


@dataclass(frozen=True)
class StoredCube:
    """A stored cube."""

    path: str  # of the Zarr store
    target: str  # the variable to predict
    dynamic: tuple[str, ...]  # covariates
    static: tuple[str, ...]

    def open(self) -> Cube:
        """Open the cube without dask: a task reads its own window."""
        opened: xr.Dataset = open_cube(self.path, chunks=None)
        return as_cube(opened, target=self.target, dynamic=self.dynamic, static=self.static)
