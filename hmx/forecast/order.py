"""ForecastRun: the settings of a forecast, checked and complete, before any pixel is read.

The lazy graph, a job, a plan and an audit all start from one, so
that all of them mean the same forecast.

Precision ``auto`` means bfloat16 if, on a real tile, its root mean square difference from
float32 is at most 1 % of the root mean square change that is forecast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import dask.array as da
import numpy as np
import xarray as xr

from hmx.bundles.folder import Model, as_model, ensure_saved
from hmx.cube.cube import CHUNK, Cube, Cubelike, Region, StoredCube, as_cube
from hmx.cube.dates import time_label
from hmx.cube.grid import Grid
from hmx.cube.read import CubeView, cut, read
from hmx.engine.order import Run, WindowRunner, WindowTask, tile_and_chunk
from hmx.engine.region import window_of
from hmx.errors import BadArgument
from hmx.forecast.beyond import describe_extrapolated
from hmx.forecast.bundle import Bundle
from hmx.forecast.inputs import assemble
from hmx.forecast.options import ForecastOptions
from hmx.forecast.result import describe
from hmx.forecast.spec import Spec
from hmx.forecast.window import Engine, ForecastRequest, TileGeometry, forecast_window, halo
from hmx.hardware import choose_device, native_bfloat16
from hmx.networks.cost import best_tile, footprint
from hmx.networks.forecaster import Forecaster, reach
from hmx.networks.options import Precision
from hmx.settings import Options, as_options
from hmx.uncertainty.distribution import mean
from hmx.windows import Span, TileGrid, Window

LARGEST_ERROR = 0.01  # of the forecast change: far below the error of any forecast

_FAR = 50.0  # standard deviations: no data of a series lie beyond
# Of the value range. float32: rounding. bfloat16: a value between two of
# its numbers may be rounded either way, and it has eight bits.
TOLERANCE = {"float64": 1e-12, "float32": 1e-6, "bfloat16": 1e-2}


def resolve(
    precision: Precision, device: str, bundle: Bundle, cube: Cube, tiles: TileGrid, h: int
) -> Precision:
    """Turn ``auto`` into a precision, once per run.

    Only ``auto`` on hardware with bfloat16 reads pixels: those of the central tile.
    """
    if precision != "auto":
        return precision
    if not native_bfloat16(device):
        return "float32"
    error = audit(device, bundle, cube, tiles, h)
    choice: Literal["bfloat16", "float32"] = "bfloat16" if error <= LARGEST_ERROR else "float32"
    return choice


def audit(device: str, bundle: Bundle, cube: Cube, tiles: TileGrid, h: int) -> float:
    """Return the RMS error of bfloat16 on the central tile, relative to the RMS forecast change.

    It is infinite if the tile has no data, or no change is forecast.
    """
    knots = bundle.spec.network.knots
    history, steps = bundle.spec.network.past_steps, cube.data.sizes["time"]
    tile = tiles[tiles.counts[0] // 2, tiles.counts[1] // 2]
    times, known = Span(steps - history, steps), bundle.spec.future
    arrays = read(cube, tile.read, times, cube.rules, known=known, h=h)
    geometry = TileGeometry.of(tile.core, tile.read, cube.grid, bundle.spec, h=h)
    inputs = assemble(
        arrays, bundle.spec, bundle.scaler, inner=geometry.inner, pixel_size=geometry.pixel_size
    )
    origin = arrays[bundle.spec.target][(-1, *geometry.crop.slices)]
    full, half = (
        mean(Engine.of(bundle, precision=p, device=device).knots(inputs, h, geometry.core), knots)
        for p in ("float32", "bfloat16")
    )
    seen = np.broadcast_to(np.isfinite(origin), full.shape)
    change = float(np.square((full - origin)[seen]).sum())
    error = float(np.square((full - half)[seen]).sum())
    return float(np.sqrt(error / change)) if change > 0 else float("inf")


@dataclass(frozen=True)
class ForecastWindows(WindowRunner[ForecastRequest]):
    """Computes windows of a forecast."""

    spec: Spec
    request: ForecastRequest

    @property
    def halo(self) -> int:
        """True pixels read around a window: of network and context."""
        return halo(self.spec, self.request.h)

    def task(self, core: Window, read: Window, grid: Grid) -> WindowTask:
        """Return the forecast of a core from the window read for it, both in cube pixels."""
        geometry = TileGeometry.of(core, read, grid, self.spec, h=self.request.h)
        # a partial adds no frame to the stack and pickles as three small values
        return partial(forecast_window, self.request, geometry)

    @property
    def has_origin(self) -> bool:
        """A forecast continues the last map."""
        return True

    def origin(self, core: Window, cube: CubeView) -> np.ndarray:
        """Read the last map."""
        target = self.spec.target
        last = cube.stored(target).isel(time=self.steps[target].stop - 1)
        raw = cut(last, core, cube.grid.shape[1]).values
        return self.request.rules[target].clean(raw, "float32")


@dataclass(frozen=True)
class ForecastRun(Run[ForecastRequest]):
    """Everything about a forecast but its pixels."""

    cube: Cube  # what is continued
    options: ForecastOptions  # leads, levels, and the sides of tile and chunk, both decided
    window: Window  # the part of the cube that is forecast
    request: ForecastRequest  # what is computed of each window
    bundle: Bundle  # the model, on disk

    job = "forecast"
    option_type = ForecastOptions
    identity = (
        "bundle", "data", "origin", "h", "level", "quantiles", "exceed", "region", "precision",
    )  # fmt: skip

    @classmethod
    def check(
        cls,
        obj: Cubelike,
        model: Model | str | Path,
        options: Options | Mapping[str, Any],
        *,
        region: Region = None,
    ) -> Self:
        """Check that cube, model and options fit, and decide what the user left open."""
        options, bundle = as_options(ForecastOptions, options), as_model(Bundle, model)
        spec = bundle.spec
        cube = as_cube(obj, target=spec.target, dynamic=spec.dynamic, static=spec.static)
        _check(options, bundle, cube)
        best = _best_tile(spec, options.h, options.device)
        options = options.model_copy(update=tile_and_chunk(options, best))
        bundle = ensure_saved(bundle)
        window = window_of(region, cube)
        tiles = _tiles(cube, bundle, options)
        request = ForecastRequest(
            bundle=str(bundle.path),
            digest=bundle.digest,
            rules=cube.rules,
            h=options.h,
            level=options.level,
            quantiles=options.quantiles,
            exceed=options.exceed,
            precision=resolve(options.precision, options.device, bundle, cube, tiles, options.h),
            device=options.device,
        )
        return cls(cube, options, window, request, bundle)

    @property
    def tiles(self) -> TileGrid:
        """Tiles of the whole cube, anchored to it whatever the region."""
        return _tiles(self.cube, self.bundle, self.options)

    @property
    def runner(self) -> ForecastWindows:
        """Computes the windows of the forecast."""
        cube, spec, h = self.cube, self.bundle.spec, self.request.h
        count = cube.data.sizes["time"]
        history = Span(count - spec.network.past_steps, count)
        steps = {
            name: cube.span(name, history, known=spec.future, h=h)
            for name in (cube.target, *cube.dynamic)
        }
        return ForecastWindows(self.window, cube.outer.flips, spec, self.request, steps)

    def source(self, path: str) -> StoredCube:
        """Name a stored cube for workers."""
        spec = self.bundle.spec
        return StoredCube(path, spec.target, spec.dynamic, spec.static)

    @property
    def required_variables(self) -> tuple[str, ...]:
        """The target: without it, nothing is forecast."""
        return (self.cube.target,)

    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Return the names of a window's results, with their leading shape."""
        return {**self.request.outputs(), "quality": ()}

    def dtype(self, output: str) -> np.dtype[Any]:
        """Return the type of one output's pixels."""
        if output == "quality":
            return np.dtype("uint8")
        return np.dtype("float64" if self.request.precision == "float64" else "float32")

    def to_dataset(self, arrays: Mapping[str, da.Array]) -> xr.Dataset:
        """Put names, coordinates and attributes around the arrays of the window."""
        return describe(dict(arrays), self.cube, self.window, self.bundle, self.options)

    def facts(self) -> dict[str, object]:
        """Return how the forecast is made, in JSON values."""
        return {
            "bundle": self.bundle.digest,
            "data": self.cube.data.attrs.get("hmx_fingerprint"),
            "origin": self.cube.origin_label(),
            "h": self.options.h,
            "level": list(self.options.level),
            "quantiles": list(self.options.quantiles),
            "exceed": list(self.options.exceed),
            "region": self.region(),
            "seed": self.bundle.training.get("seed"),
            "tile": self.options.tile,
            "halo": self.halo,
            "precision": self.request.precision,
        }

    def settings(self) -> dict[str, object]:
        """Return the options as another job would need them: on any device."""
        chosen = {"precision": self.request.precision, "device": "auto"}
        return {**self.options.model_dump(mode="json"), **chosen}

    def summary(self) -> str:
        """Describe the forecast in words."""
        times = self.cube.cadence.extend(self.cube.data["time"], self.options.h)
        return f"{self.options.h} steps, {time_label(times[0])} to {time_label(times[-1])}"

    def notes(self) -> tuple[str, ...]:
        """Return a line about leads that the model has not learnt, if there are any."""
        line = describe_extrapolated(self.bundle, self.options.h)
        return () if line is None else (line,)

    def tolerance(self, name: str = "") -> float:
        """Return the largest difference that verify accepts, in units of the variable."""
        if name == "quality":
            return 0.0
        low, high = self.bundle.spec.valid_range or (None, None)
        if name.endswith("_exceedance"):
            scale = 100.0  # between close quantiles, a probability changes fast with the value
        elif low is None or high is None:
            scale = self.bundle.scaler.std[self.bundle.spec.target]
        else:
            scale = high - low
        return TOLERANCE[self.request.precision] * scale

    def with_quantiles(self, probabilities: tuple[float, ...]) -> Self:
        """Return the same forecast with these quantiles, in tiles that suit the device."""
        self.bundle.calibration.require()
        asked: dict[str, Any] = {"quantiles": probabilities, "level": (), "exceed": ()}
        best = _best_tile(self.bundle.spec, self.request.h, self.request.device)
        sides = {"tile": best, "chunk": None}
        return replace(
            self,
            options=self.options.model_copy(update=asked | sides),
            request=replace(self.request, **asked),
        )

    def largest(self) -> float:
        """Return the far end of the valid range, or fifty standard deviations."""
        spec, scaler = self.bundle.spec, self.bundle.scaler
        low, high = spec.valid_range or (None, None)
        if low is not None and high is not None:
            return float(max(abs(low), abs(high)))
        return abs(scaler.mean[spec.target]) + _FAR * scaler.std[spec.target]

    def working_bytes(self) -> int:
        """Bound the working memory of the network on one window."""
        side, spec = self.output_tiles.tile[0], self.bundle.spec
        far = reach(spec.network, self.request.h, spec.h)
        rows, columns = (min(side, size) + 2 * far for size in self.window.shape)
        return footprint(
            spec.network,
            spec.channels,
            (rows, columns),
            h=self.request.h,
            precision=self.request.precision,
            device=choose_device(self.request.device).type,
        )

    def inner_bytes(self) -> int:
        """Bound the memory of the distributions of one tile: of all members, and their bands."""
        side, spec = self.output_tiles.tile[0], self.bundle.spec
        pixels = math.prod(min(side, size) for size in self.window.shape)
        values = pixels * self.request.h * len(spec.network.knots) * 4
        return (2 + spec.members) * values


def _best_tile(spec: Spec, h: int, device: str) -> int:
    return best_tile(
        spec.network,
        spec.channels,
        h=h,
        far=reach(spec.network, h, spec.h),
        around=spec.context.halo,
        device=choose_device(device).type,
    )


def _tiles(cube: Cube, bundle: Bundle, options: ForecastOptions) -> TileGrid:
    side = options.tile or CHUNK
    return TileGrid(
        cube.grid.shape, (side, side), halo=halo(bundle.spec, options.h), wraps=cube.grid.wraps
    )


def _check(options: ForecastOptions, bundle: Bundle, cube: Cube) -> None:
    """Refuse early what a tile would refuse late."""
    bundle.spec.require_fits(cube)
    if options.level or options.quantiles:
        bundle.calibration.require()
    if cube.outer.dataarray and (options.level or options.quantiles or options.exceed):
        raise BadArgument(
            "level=, quantiles= and exceed= give several variables, and a DataArray is one. "
            "Use a Dataset: da.to_dataset(name='hm').hm.forecast(..., level=80)."
        )
    choose_device(options.device)
    # a weight of a wrong shape is an error here, not in the first tile
    for member in range(bundle.spec.members):
        Forecaster.load(bundle, member)
