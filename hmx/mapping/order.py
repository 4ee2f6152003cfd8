"""MapRun: a requested map, checked and complete, before any pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import dask.array as da
import numpy as np
import xarray as xr

from hmx.bundles.folder import Model, as_model, ensure_saved
from hmx.cube.bands import Bands, as_bands
from hmx.cube.cube import Cubelike, Region, open_cube
from hmx.cube.grid import Grid
from hmx.engine.order import Run, WindowRunner, WindowTask, tile_and_chunk
from hmx.engine.region import window_of
from hmx.errors import BadArgument, BundleError
from hmx.mapping.bundle import MapBundle
from hmx.mapping.masks import Mask
from hmx.mapping.options import MapOptions
from hmx.mapping.result import describe_map
from hmx.mapping.spec import MapSpec
from hmx.mapping.target import inverse
from hmx.mapping.window import MapEngine, MapRequest, MapTileGeometry, map_window
from hmx.networks.dense import block_of
from hmx.points.units import label_of
from hmx.settings import Options, as_options
from hmx.windows import TileGrid, Window, with_halo

TOLERANCE = 1e-5  # of the target's range: other tiles add float32 in other orders
_DISSIMILARITY = 1e-3  # tolerance: roots of differences, where rounding weighs more
TILE = 256  # side, px: the halo of a window is small, and many bands fit in memory
_FARTHEST = (-12.0, 12.0)  # scaled units beyond which sums of zones have no room
_COMMON = (-4.0, 4.0)  # scaled units between which nearly all targets lie


@dataclass(frozen=True)
class MapWindows(WindowRunner[MapRequest]):
    """Computes windows of a map."""

    spec: MapSpec
    request: MapRequest
    kriged: bool = False  # whether errors are kriged, for which a task needs its location

    @property
    def halo(self) -> int:
        """True pixels read around a window, for windows and neighbourhood means."""
        return self.spec.halo

    def task(self, core: Window, read: Window, grid: Grid) -> WindowTask:
        """Return the map of a core from the window read for it, both in cube pixels."""
        geometry = MapTileGeometry.of(core, read, grid, self.spec)
        if self.request.mask.polygons is not None or self.kriged:
            geometry = replace(geometry, place=(core, grid))
        return partial(map_window, self.request, geometry)

    def needs(self, part: Window, grid: Grid) -> Window:
        """Return the pixels that the windows of a part see: without data there it is empty."""
        return with_halo(self.core(part), grid.shape, halo=self.spec.margin, wraps=grid.wraps)


@dataclass(frozen=True)
class StoredBands:
    """A stored cube of covariates: path of the Zarr store, and its bands."""

    path: str
    dynamic: tuple[str, ...]
    static: tuple[str, ...]

    def open(self) -> Bands:
        """Open the cube without dask: a task reads its own window."""
        opened: xr.Dataset = open_cube(self.path, chunks=None)
        return as_bands(opened, dynamic=self.dynamic, static=self.static)


@dataclass(frozen=True)
class MapRun(Run[MapRequest]):
    """Everything about a map but its pixels."""

    cube: Bands  # the covariates
    options: MapOptions  # levels, date, and the sides of tile and chunk, both decided
    window: Window  # the part of the cube that is mapped
    request: MapRequest  # what is computed of each window
    bundle: MapBundle  # the model, on disk

    job = "map"
    option_type = MapOptions
    identity = (
        "bundle",
        "data",
        "date",
        "level",
        "quantiles",
        "estimate",
        "depths",
        "mask",
        "region",
    )

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
        options, bundle = as_options(MapOptions, options), as_model(MapBundle, model)
        spec = bundle.spec
        require_depths(spec, options.depths)
        bands, mask = _bands_and_mask(obj, spec, options)
        require_fits(spec, bands)
        steps = bands.span(options.time, spec.steps)
        if options.level or options.quantiles or options.estimate != "model":
            bundle.calibration.require()
        bundle.calibration.require_supported(options.quantiles)
        MapEngine.of(bundle, device=options.device)  # raises here what does not fit, not in tiles
        options = options.model_copy(update=tile_and_chunk(options, TILE))
        bundle = ensure_saved(bundle)
        request = MapRequest(
            bundle=str(bundle.path),
            digest=bundle.digest,
            rules=bands.rules,
            steps=steps,
            level=options.level,
            quantiles=options.quantiles,
            estimate=options.estimate,
            mask=mask,
            depths=options.depths,
            device=options.device,
        )
        return cls(bands, options, window_of(region, bands), request, bundle)

    @property
    def tiles(self) -> TileGrid:
        """Tiles of the whole cube, anchored to it whatever the region."""
        side, grid = self.options.tile or TILE, self.cube.grid
        return TileGrid(grid.shape, (side, side), halo=self.bundle.spec.halo, wraps=grid.wraps)

    @property
    def runner(self) -> MapWindows:
        """Computes the windows of the map."""
        cube, request = self.cube, self.request
        # the steps up to the date of the map
        steps = dict.fromkeys(cube.dynamic, request.steps)
        kriged, spec = bool(self.bundle.kriging), self.bundle.spec
        return MapWindows(self.window, cube.outer.flips, spec, request, steps, kriged)

    @property
    def required_variables(self) -> tuple[str, ...]:
        """Every band: a window may be mapped from what is known of some."""
        return self.cube.variables

    def source(self, path: str) -> StoredBands:
        """Return the stored cube for workers."""
        return StoredBands(path, self.cube.dynamic, self.cube.static)

    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Return the arrays of a window, with their leading shape."""
        ends = [f"{end}_{level:g}" for level in self.request.level for end in ("lo", "hi")]
        area = ["dissimilarity", "applicable"] if self.bundle.applicability else []
        several = len(self.request.depths)
        lead = (several,) if several > 1 else ()
        outputs: dict[str, tuple[int, ...]] = dict.fromkeys(["mean", *ends, *area], lead)
        if self.request.quantiles:
            outputs["quantile"] = (len(self.request.quantiles), *lead)
        return outputs | {"quality": ()}

    def dtype(self, output: str) -> np.dtype[Any]:
        """Return the type of one output's pixels."""
        return np.dtype("uint8" if output in ("quality", "applicable") else "float32")

    def to_dataset(self, arrays: Mapping[str, da.Array]) -> xr.Dataset:
        """Put names, coordinates and attributes around the arrays of the window."""
        request = self.request
        return describe_map(
            arrays,
            self.cube,
            self.window,
            self.bundle.spec,
            request.steps,
            quantiles=request.quantiles,
            estimate=request.estimate,
            masked=bool(request.mask),
            depths=request.depths,
        )

    def facts(self) -> dict[str, object]:
        """Return how the map is made, in JSON values."""
        request = self.request
        return {
            "bundle": self.bundle.digest,
            "data": self.cube.data.attrs.get("hmx_fingerprint"),
            "date": self.date(),
            "level": list(self.options.level),
            # only if there are any: the ledger of an older map stays its own
            **({"quantiles": list(self.options.quantiles)} if self.options.quantiles else {}),
            **({} if self.options.estimate == "model" else {"estimate": self.options.estimate}),
            **({"depths": list(map(label_of, request.depths))} if request.depths else {}),
            **({"mask": self.request.mask.facts()} if self.request.mask else {}),
            "region": self.region(),
            "seed": self.bundle.training.get("seed"),
            "tile": self.options.tile,
            "halo": self.halo,
            "precision": self.request.precision,
        }

    def date(self) -> str | None:
        """Return the label of the map's date; None for a climatology."""
        return None if self.cube.climatology else self.cube.labels[self.request.steps.stop - 1]

    def settings(self) -> dict[str, object]:
        """Return the options as another job would need them: on any device."""
        return {**self.options.model_dump(mode="json"), "device": "auto", "time": self.date()}

    def summary(self) -> str:
        """Describe the map in words."""
        spec, date = self.bundle.spec, self.date()
        when = "" if date is None else f" of {date}"
        return f"{spec.target}{when} from {len(self.cube.variables)} bands"

    def tolerance(self, name: str = "") -> float:
        """Return the largest difference of a variable between two machines, native units."""
        # rounding can move a pixel across the threshold of the area; known or not is exact
        limits = {"quality": 0.0, "applicable": 1.0, "dissimilarity": _DISSIMILARITY}
        if name in limits:
            return limits[name]
        low, high = self.bundle.spec.valid_range or (None, None)
        if low is None or high is None:
            low, high = self._reached(_COMMON)
        return TOLERANCE * (high - low)

    def with_quantiles(self, probabilities: tuple[float, ...]) -> Self:
        """Return the same map with these quantiles, in tiles of the default side."""
        self.bundle.calibration.require()
        asked: dict[str, Any] = {"quantiles": probabilities, "level": ()}
        sides = {"tile": TILE, "chunk": None}
        return replace(
            self,
            options=self.options.model_copy(update=asked | sides),
            request=replace(self.request, **asked),
        )

    def largest(self) -> float:
        """Return the far end of the valid range, or what no map of these samples reaches."""
        low, high = self.bundle.spec.valid_range or (None, None)
        if low is None or high is None:
            low, high = self._reached(_FARTHEST)
        return max(abs(low), abs(high))

    def _reached(self, scaled: tuple[float, float]) -> tuple[float, float]:
        """Return native values that lie so many scaled units from the middle."""
        ends, known = np.array(scaled), self.bundle.calibration
        # a target that is not transformed is not scaled either: its errors and estimates are
        if self.bundle.target.transform == "none" and known.count:
            size = float(np.abs(known.table).max()) * known.typical
            ends = ends * max(1.0, size, *(abs(node) for node in known.nodes))
        low, high = inverse(ends, self.bundle.target)
        return float(low), float(high)

    def working_bytes(self) -> int:
        """Bound the working memory of a network: its features of a block, all steps."""
        spec = self.bundle.spec
        side = block_of(spec.network.window) + spec.network.window
        return 8 * 4 * side**2 * spec.steps * max(*spec.network.widths, spec.network.hidden)

    def inner_bytes(self) -> int:
        """Bound the other memory of one tile: scaled bands, estimates of members."""
        spec, side = self.bundle.spec, self.output_tiles.tile[0]
        shape = [min(side, size) + 2 * spec.halo for size in self.window.shape]
        copies = 8 + 12 * bool(spec.network.coarse)  # sums of squares are in float64
        numbers = copies * len(spec.features)
        numbers += 6 * spec.members * (len(spec.network.knots) or 1)
        numbers += 8 * len(self.request.quantiles)  # in float64, some at a time
        return 4 * math.prod(shape) * numbers


def _bands_and_mask(obj: Cubelike, spec: MapSpec, options: MapOptions) -> tuple[Bands, Mask]:
    """Return the bands that are read, those of the mask last, and the mask."""
    own = {*spec.dynamic, *spec.static}
    if isinstance(options.mask, dict):
        for name in options.mask:
            if name in spec.dynamic:
                raise BadArgument(
                    f"band {name!r} of the mask has time, and a mask has none. Name a band of "
                    "(y, x), such as mask={'landcover': [80, 90]}, or a file of polygons."
                )
        beside = tuple(name for name in options.mask if name not in own)
        bands = as_bands(obj, dynamic=spec.dynamic, static=(*spec.static, *beside))
    else:
        bands = as_bands(obj, dynamic=spec.dynamic, static=spec.static)
    return bands, Mask.of(options.mask, bands.grid)


def require_depths(spec: MapSpec, depths: tuple[tuple[float, float], ...]) -> None:
    """Raise BadArgument unless depths are asked for of a model that has learnt them."""
    if spec.depth and not depths:
        raise BadArgument(
            "the model has learnt how the target changes with depth, and no depth is asked for. "
            "Pass depths=['0-5', '5-15', '15-30'], cm; in a catalog, map.depths."
        )
    if depths and not spec.depth:
        raise BadArgument(
            f"depths={list(map(label_of, depths))}, and the model has not learnt depths. Leave "
            "them out, or train with the columns of the depths, top='upper', bottom='lower'."
        )


def require_fits(spec: MapSpec, bands: Bands) -> None:
    """Raise BundleError if the cube has other steps, cadence or pixel size than in training."""
    kinds = {True: "months of every year", False: "steps of a calendar"}
    if bands.climatology is not spec.climatology and not bands.timeless:
        raise BundleError(
            f"the model was trained on {kinds[spec.climatology]} and the cube holds "
            f"{kinds[bands.climatology]}. Map the cube it was trained on, or train on this one."
        )
    if str(bands.cadence) != spec.cadence and not bands.timeless:
        raise BundleError(
            f"the model steps by {spec.cadence} and the cube by {bands.cadence}. "
            "Train on a cube of this cadence, or select steps with ds.sel(time=...)."
        )
    size = bands.grid.pixel_size_m
    if not np.allclose(size, spec.pixel_size_m, rtol=0.1):
        had, has = (f"{width:.0f} x {height:.0f} m" for width, height in (spec.pixel_size_m, size))
        raise BundleError(
            f"the model was trained on pixels of {had} and the cube has {has}. "
            "Resample the cube, or train on its own pixels."
        )
