"""MapRun: a requested map, checked and complete, before any pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hmx.bundles.folder import as_model, ensure_saved
from hmx.cube.bands import Bands, as_bands
from hmx.cube.cube import Cubelike, open_cube
from hmx.cube.field import CubeView
from hmx.cube.grid import Grid
from hmx.engine.order import Run, WindowRunner, tile_and_chunk
from hmx.engine.region import Region, window_of
from hmx.errors import BundleError
from hmx.mapping.bundle import MapBundle
from hmx.mapping.options import MapOptions
from hmx.mapping.result import describe_map
from hmx.mapping.spec import MapSpec
from hmx.mapping.target import inverse
from hmx.mapping.window import MapEngine, MapRequest, MapTileGeometry, map_window
from hmx.networks.dense import block_of
from hmx.windows import Span, TileGrid, Window, with_halo

TOLERANCE = 1e-5  # of the target's range: other tiles add float32 in other orders
_DISSIMILARITY = 1e-3  # tolerance: roots of differences, where rounding weighs more
TILE = 256  # side, px: the halo of a window is small, and many bands fit in memory
_COMMON = (-4.0, 4.0)  # scaled units between which nearly all targets lie


@dataclass(frozen=True)
class MapWindows(WindowRunner):
    """The computation of one window of a map."""

    spec: MapSpec
    request: MapRequest

    work = staticmethod(map_window)

    @property
    def halo(self) -> int:
        """True pixels read around a window, for windows and neighbourhood means."""
        return self.spec.halo

    def steps(self, cube: Bands) -> dict[str, Span]:
        """Return the steps to read: those up to the date of the map."""
        return dict.fromkeys(cube.dynamic, self.request.steps)

    def place(self, core: Window, read: Window, grid: Grid) -> MapTileGeometry:
        """Locate a core in the pixels read for it, both in pixels of the cube."""
        return MapTileGeometry.of(core, read, grid, self.spec)

    def needs(self, part: Window, cube: CubeView) -> Window:
        """Return the windows around a part: data in them decide whether it is mapped."""
        grid = cube.grid
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
class MapRun(Run):
    """A map, checked and complete except for its pixels.

    Parameters
    ----------
    cube : Bands
        The bands to read.
    bundle : MapBundle
        The mapper, on disk.
    options : MapOptions
        Levels and date, with tile and chunk decided.
    window : Window
        The requested part of the cube.
    request : MapRequest
        The request of each window.
    """

    cube: Bands
    bundle: MapBundle
    options: MapOptions
    window: Window
    request: MapRequest

    job = "map"
    option_type = MapOptions
    decides = ("bundle", "data", "date", "level", "region")

    @classmethod
    def of(
        cls,
        obj: Cubelike,
        model: MapBundle | str | Path,
        options: MapOptions,
        *,
        region: Region = None,
    ) -> MapRun:
        """Check a request and complete it.

        Parameters
        ----------
        obj : Dataset or DataArray
            A cube with the model's bands, on pixels of the model's size.
        model : MapBundle or path
            From ``train`` or :func:`hmx.load`.
        options : MapOptions
            As the user gave them.
        region : box, slices, GeoJSON or GeoDataFrame, optional
            Part to map.

        Raises
        ------
        BadArgument, BundleError, CubeError, MissingVariable, NotEnoughData
            If options, model and cube do not fit.
        """
        bundle = as_model(MapBundle, model)
        spec = bundle.spec
        bands = as_bands(obj, dynamic=spec.dynamic, static=spec.static)
        require_fits(spec, bands)
        steps = bands.span(options.time, spec.steps)
        if options.level:
            bundle.calibration.require()
        MapEngine.of(bundle, device=options.device)  # raises here what does not fit, not in tiles
        options = options.model_copy(update=tile_and_chunk(options, TILE))
        bundle = ensure_saved(bundle)
        request = MapRequest(
            bundle=str(bundle.path),
            digest=bundle.digest,
            rules=bands.rules,
            steps=steps,
            level=options.level,
            device=options.device,
        )
        return cls(bands, bundle, options, window_of(region, bands), request)

    @property
    def tiles(self) -> TileGrid:
        """Tiles of the whole cube, anchored to it whatever the region."""
        side, grid = self.options.tile or TILE, self.cube.grid
        return TileGrid(grid.shape, (side, side), halo=self.bundle.spec.halo, wraps=grid.wraps)

    @property
    def frame(self) -> MapWindows:
        """The computation of a window of the result."""
        return MapWindows(self.window, self.cube.outer.flips, self.bundle.spec, self.request)

    @property
    def deciding(self) -> tuple[str, ...]:
        """Every band: a window with data in some of its bands can be mapped."""
        return self.cube.variables

    def source(self, path: str) -> StoredBands:
        """Return the stored cube for workers."""
        return StoredBands(path, self.cube.dynamic, self.cube.static)

    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Return the arrays of a window, with their leading shape."""
        ends = [f"{end}_{level:g}" for level in self.request.level for end in ("lo", "hi")]
        area = ["dissimilarity", "applicable"] if self.bundle.applicability else []
        return dict.fromkeys(["mean", *ends, *area, "quality"], ())

    def dtype(self, output: str) -> np.dtype[Any]:
        """Return the type of one output's pixels."""
        return np.dtype("uint8" if output in ("quality", "applicable") else "float32")

    def dressed(self, arrays: Mapping[str, Any]) -> xr.Dataset:
        """Add names, coordinates and attributes to the arrays of the window."""
        steps = self.request.steps
        return describe_map(arrays, self.cube, self.window, self.bundle.spec, steps)

    def facts(self) -> dict[str, Any]:
        """Return the provenance of the result, in JSON values."""
        return {
            "bundle": self.bundle.digest,
            "data": self.cube.data.attrs.get("hmx_fingerprint"),
            "date": self.date(),
            "level": list(self.options.level),
            "region": self.region(),
            "seed": self.bundle.training.get("seed"),
            "tile": self.options.tile,
            "halo": self.halo,
            "precision": self.request.precision,
        }

    def date(self) -> str | None:
        """Return the label of the map's date; None for a climatology."""
        return None if self.cube.climatology else self.cube.labels[self.request.steps.stop - 1]

    def settings(self) -> dict[str, Any]:
        """Return the options for another job; any device will do there."""
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
            low, high = inverse(np.array(_COMMON), self.bundle.target)
        return TOLERANCE * float(high - low)

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
        return 4 * math.prod(shape) * numbers


def require_fits(spec: MapSpec, bands: Bands) -> None:
    """Raise BundleError if the cube has other steps, cadence or pixel size than in training."""
    kinds = {True: "months of every year", False: "steps of a calendar"}
    if bands.climatology is not spec.climatology:
        raise BundleError(
            f"the model was trained on {kinds[spec.climatology]} and the cube holds "
            f"{kinds[bands.climatology]}. Map the cube it was trained on, or train on this one."
        )
    if str(bands.cadence) != spec.cadence:
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
