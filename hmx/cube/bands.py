"""Bands: the cube of the map job, covariates alone.

:func:`as_bands` returns its inner form, as :func:`hmx.cube.cube.as_cube` does for forecasts.
Every band is ``(time, y, x)`` or ``(y, x)``, north-up and ascending in time. A variable with
one more dimension (months, seasons, channels of a sensor) becomes several bands:
``lst(month, y, x)`` in addition to yearly maps is ``lst[month=1]`` ... ``lst[month=12]``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from hmx.cube.cadence import Cadence
from hmx.cube.coordinates import flipped
from hmx.cube.cube import Cubelike, OuterForm
from hmx.cube.dates import time_label
from hmx.cube.grid import Grid, crs_as_coordinate, find_axes, turned
from hmx.cube.steps import until_index
from hmx.cube.timeaxis import months_of_year, require_order
from hmx.cube.values import Rules, warn_of_default_fill
from hmx.errors import BadArgument, CubeError, MissingVariable, NotEnoughData, did_you_mean
from hmx.windows import Span, Window, pieces

HISTORY = 5  # steps of a calendar that a model reads by default


@dataclass(frozen=True)
class Bands:
    """A checked cube of covariates in the inner form."""

    data: xr.Dataset  # lazy; dynamic bands (time, y, x), static ones (y, x)
    dynamic: tuple[str, ...]  # bands with and without time
    static: tuple[str, ...]
    outer: OuterForm  # names and orientation of the cube outside
    # whether the steps are months of every year, or a calendar's. Bands without any time count as
    # one step of every year
    climatology: bool
    timeless: bool = False  # whether no band has time

    @cached_property
    def grid(self) -> Grid:
        """Grid of the pixels."""
        return Grid.from_xarray(self.data)

    @cached_property
    def cadence(self) -> Cadence:
        """The calendar step between two maps."""
        if self.timeless:
            return Cadence(1, "steps")
        time = self.data["time"]
        return Cadence.infer(time.rename(self.outer.names.get("time", "time")))

    @property
    def variables(self) -> tuple[str, ...]:
        """Dynamic and static bands, in this order."""
        return (*self.dynamic, *self.static)

    @cached_property
    def rules(self) -> dict[str, Rules]:
        """Rules of each band: which numbers are data."""
        return {name: Rules.of(self.data[name]) for name in self.variables}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Steps of time as text: months 1-12, years, or ISO dates."""
        return tuple(map(time_label, self.data["time"].values))

    def only(self, dynamic: tuple[str, ...], static: tuple[str, ...]) -> Bands:
        """Return some of the bands."""
        return replace(self, data=self.data[[*dynamic, *static]], dynamic=dynamic, static=static)

    def until(self, stop: int) -> Bands:
        """Return the bands of the first steps."""
        return replace(self, data=self.data.isel(time=slice(0, stop)))

    def stored(self, name: str) -> xr.DataArray:
        """Return a band, lazily."""
        return self.data[name]

    def restore(self, result: xr.Dataset) -> xr.Dataset:
        """Give a result the names and orientation of the user's object."""
        result = flipped(result, self.outer.flips)
        return result.rename({k: v for k, v in self.outer.names.items() if k in result.dims})

    def history(self, chosen: int | None = None) -> int:
        """Return how many steps the model reads: all of a climatology, up to 5 of a calendar."""
        if self.timeless:
            return 1
        have = len(self.labels)
        if chosen is not None and chosen > have:
            raise NotEnoughData(
                f"history={chosen}, and the cube has {have} time steps: they must contain "
                f"the history. Pass history={have}, or add earlier maps."
            )
        return chosen or (have if self.climatology else min(HISTORY, have))

    def step_of(self, when: str | int) -> int:
        """Find the step that a label of the time axis means."""
        if self.climatology:
            raise BadArgument(
                f"time={when!r}, and the cube holds months of every year, so its map has no date. "
                "Leave out time=."
            )
        try:
            return until_index(self.data["time"], when, history=0)
        except BadArgument:
            first, last = self.labels[0], self.labels[-1]
            raise BadArgument(
                f"time={when!r} is not a step of the cube, which goes from {first} to {last} in "
                f"steps of {self.cadence}. Pass one of them, e.g. time={last!r}."
            ) from None

    def span(self, when: str | int | None, history: int) -> Span:
        """Return the steps from which the map of a date is made."""
        last = len(self.labels) - 1 if when is None else self.step_of(when)
        history = min(history, 1) if self.timeless else history
        if last + 1 < history:
            raise NotEnoughData(
                f"time={self.labels[last]!r} needs {history} steps up to it, and the cube begins "
                f"with {self.labels[0]}. "
                + (
                    f"Pass time={self.labels[history - 1]!r} or later, or add earlier maps."
                    if history <= len(self.labels)
                    else "Add earlier maps."
                )
            )
        return Span(last + 1 - history, last + 1)

    def read(self, window: Window, steps: Span) -> dict[str, np.ndarray]:
        """Read cleaned float32 arrays of a window; pixels beyond the cube's edges are NaN."""
        (ny, nx), x = self.grid.shape, window.x
        # a grid that wraps has no edge in x: `pieces` splits columns beyond it
        inside = Window(window.y.clip(Span(0, ny)), x if self.grid.wraps else x.clip(Span(0, nx)))
        part = self.data[list(self.variables)].isel(y=inside.y.slice)
        part = part.isel(time=steps.slice, missing_dims="ignore")
        # a Dataset at once: bands that are stored in one chunk share its reading
        loaded = [part.isel(x=columns).compute() for columns in pieces(inside.x, nx)]
        spans = ((window.y, inside.y), (window.x, inside.x))
        edge = [(part.start - full.start, full.stop - part.stop) for full, part in spans]
        arrays = {}
        for name in self.variables:
            raw = np.concatenate([piece[name].values for piece in loaded], axis=-1)
            clean = self.rules[name].clean(raw)
            # only rows and columns are padded; an axis of time comes before them
            lead = [(0, 0)] * (clean.ndim - 2)
            arrays[name] = np.pad(clean, [*lead, *edge], constant_values=np.nan)
        return arrays


def as_bands(
    obj: Cubelike, *, dynamic: Sequence[str] | None = None, static: Sequence[str] | None = None
) -> Bands:
    """Bring a user's covariates into the inner form, lazily; by default all numeric variables.

    Bands without time are one step, also those of a cube that has other bands with time.
    """
    inner, names, timeless = _inner(obj)
    everything = dynamic is None or static is None
    variables = {
        str(name): _channels(str(name), v, strict=everything) for name, v in inner.data_vars.items()
    }
    known = {n: band for bands in variables.values() for n, band in bands.items()}
    moving = [n for n, band in known.items() if "time" in band.dims]
    fixed = [n for n in known if n not in moving]
    moving = moving if dynamic is None else _chosen(dynamic, variables)
    fixed = fixed if static is None else _chosen(static, variables)
    _require(known, [*moving, *fixed], inner)
    _require_roles(known, moving, fixed)
    if isinstance(obj, xr.Dataset) and not (moving or timeless):
        return as_bands(obj.drop_dims(names["time"]), dynamic=(), static=static)
    bands = inner.drop_vars(list(inner.data_vars)).assign({n: known[n] for n in (*moving, *fixed)})
    warn_of_default_fill(bands)
    order = np.argsort(bands["time"].values, kind="stable")
    if (np.diff(order) < 0).any():  # else arrays keep their Dask names, which identify the store
        bands = bands.isel(time=order)
    require_order(bands["time"].rename(names["time"]))
    bands, flips = turned(bands)
    outer = OuterForm({name: outer for name, outer in names.items() if outer != name}, flips)
    return Bands(
        data=bands.drop_dims([d for d in bands.dims if d not in ("time", "y", "x")]),
        dynamic=tuple(moving),
        static=tuple(fixed),
        outer=outer,
        climatology=timeless or months_of_year(bands["time"], names["time"]),
        timeless=timeless,
    )


def _inner(obj: Cubelike) -> tuple[xr.Dataset, dict[str, str], bool]:
    """Rename dims to inner names; return the data, the outer names and whether time was added."""
    data = obj.to_dataset(name=obj.name or "band") if isinstance(obj, xr.DataArray) else obj
    timeless = _is_timeless(data)
    names = find_axes(data, ("y", "x") if timeless else ("time", "y", "x"))
    inner = crs_as_coordinate(data).rename({o: name for name, o in names.items() if o != name})
    if timeless:
        # a scalar `time` would occupy the name of the single step that such bands get
        inner = inner.drop_vars("time", errors="ignore").assign_coords(time=("time", [0]))
        names["time"] = "time"
    if "time" not in inner.coords:
        raise CubeError(
            f"dimension {names['time']!r} has no coordinate, so no step has a date. Give it one: "
            f"ds = ds.assign_coords({names['time']}=[2015, 2016, ...])."
        )
    return inner, names, timeless


def _is_timeless(data: xr.Dataset) -> bool:
    """Return True if no dim is time; refuse a time axis under an unknown name."""
    try:
        find_axes(data, ("time",))
    except CubeError:
        for dim in data.dims:
            values = data[dim].values if dim in data.coords else np.zeros(0)
            # cftime dates have dtype object, so their attribute shows them
            dated = values.dtype.kind == "M" or hasattr(next(iter(values.flat), None), "dayofyr")
            if dated:
                raise CubeError(
                    f"dimension {dim!r} holds dates, and no dimension is called time. Rename it: "
                    f"ds = ds.rename({{{str(dim)!r}: 'time'}})."
                ) from None
        return True
    return False


def _channels(name: str, variable: xr.DataArray, *, strict: bool) -> dict[str, xr.DataArray]:
    """Split a variable into bands along its other dims; a variable without y and x has none."""
    if not {"y", "x"} <= set(variable.dims):
        return {}
    if variable.dtype.kind == "b":
        variable = variable.astype("uint8")  # True and False are 1 and 0
    if variable.dtype.kind not in "iuf":
        if strict:
            kinds = {"M": "dates", "m": "durations", "c": "complex numbers"}
            what = kinds.get(variable.dtype.kind, f"text or objects ({variable.dtype})")
            raise CubeError(
                f"{name!r} holds {what}, and a band holds numbers. Leave it out, "
                f"ds.drop_vars({name!r}), or write numbers: of classes, a band of 0 and 1 for "
                f"each, ds['{name}_granite'] = (ds[{name!r}] == 'granite').astype('uint8')."
            )
        return {}
    inner = ("time", "y", "x") if "time" in variable.dims else ("y", "x")
    others = [dim for dim in variable.dims if dim not in inner]
    bands = {}
    for at in itertools.product(*(range(variable.sizes[dim]) for dim in others)):
        labels = []
        for dim, i in zip(others, at, strict=True):
            value = variable[dim].values[i] if dim in variable.coords else i
            labels.append(f"{dim}={value if isinstance(value, str) else time_label(value)}")
        band = variable.isel(dict(zip(others, at, strict=True)), drop=True).transpose(*inner)
        bands[f"{name}[{','.join(labels)}]" if labels else name] = band
    return bands


def _chosen(wanted: Sequence[str], variables: dict[str, dict[str, xr.DataArray]]) -> list[str]:
    """Expand the names that were passed: a variable stands for all its bands."""
    return [band for name in wanted for band in variables.get(name) or (name,)]


def _require(known: Iterable[str], wanted: Sequence[str], data: xr.Dataset) -> None:
    absent = [name for name in wanted if name not in known]
    if absent:
        listed = ", ".join(sorted(known)) or "nothing"
        what = "bands of this model or call are" if len(absent) > 1 else "band is"
        raise MissingVariable(
            f"{len(absent)} {what} not in the cube: {', '.join(absent)} (has: {listed})."
            f"{did_you_mean(absent[0], known)} Add them, under the names that they had in training."
        )
    if not wanted:
        raise CubeError(
            f"the cube has no band among {tuple(map(str, data.data_vars))}: a band is a numeric "
            "variable with dims (time, y, x) or (y, x). Add one: ds['elevation'] = (('y', 'x'), z)."
        )


def _require_roles(
    known: dict[str, xr.DataArray], dynamic: Sequence[str], static: Sequence[str]
) -> None:
    for role, names, moves in (("dynamic", dynamic, True), ("static", static, False)):
        for name in names:
            if ("time" in known[name].dims) is not moves:
                raise CubeError(
                    f"{name!r} is asked for as {role}, and it has {'no ' if moves else ''}time. "
                    f"Name it under {'static' if moves else 'dynamic'}=[...]."
                )
