"""Order: a forecast that is asked for, checked and complete, before any pixel.

Whoever runs it (the lazy graph, a job, a plan, an audit) starts from here, so
that all of them mean the same forecast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hmx.bundle import Bundle, load
from hmx.cube import CHUNK, Cube, Cubelike, enter
from hmx.errors import BadArgument
from hmx.models.cost import best_tile
from hmx.models.forecaster import Forecaster
from hmx.options import ForecastOptions
from hmx.predict.describe import describe
from hmx.predict.frame import Frame
from hmx.predict.place import halo
from hmx.predict.precision import resolve
from hmx.predict.region import Region, window_of
from hmx.predict.spill import on_disk
from hmx.predict.step import Request, choose_device
from hmx.provenance import provenance
from hmx.windows import TileGrid, Window


@dataclass(frozen=True)
class Order:
    """Everything about a forecast but its pixels.

    Parameters
    ----------
    cube : Cube
        What is continued.
    bundle : Bundle
        With what; on disk.
    options : ForecastOptions
        Leads, levels, and the sides of tile and chunk, both decided.
    window : Window
        The part of the cube that is asked for.
    request : Request
        What is asked of each window.
    """

    cube: Cube
    bundle: Bundle
    options: ForecastOptions
    window: Window
    request: Request

    @classmethod
    def of(
        cls,
        obj: Cubelike,
        model: Bundle | str | Path,
        options: ForecastOptions,
        *,
        region: Region = None,
    ) -> Order:
        """Check a wish and complete it.

        Parameters
        ----------
        obj : Dataset or DataArray
            A cube with the model's variables, on pixels of the model's size.
        model : Bundle or path
            From ``train`` or :func:`hmx.load`.
        options : ForecastOptions
            As the user gave them.
        region : box, slices, GeoJSON or GeoDataFrame, optional
            Part to forecast.

        Raises
        ------
        BadArgument, BundleError, CubeError, MissingVariable
            If options, model and cube do not fit.
        """
        bundle = model if isinstance(model, Bundle) else load(model)
        spec = bundle.spec
        cube = enter(obj, target=spec.target, dynamic=spec.dynamic, static=spec.static)
        _check(options, bundle, cube)
        options = options.model_copy(update=sides(options))
        bundle = on_disk(bundle)
        window = window_of(region, cube)
        tiles = _tiles(cube, bundle, options)
        request = Request(
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
        return cls(cube, bundle, options, window, request)

    @property
    def tiles(self) -> TileGrid:
        """Tiles of the whole cube, anchored to it whatever the region."""
        return _tiles(self.cube, self.bundle, self.options)

    @property
    def output_tiles(self) -> TileGrid:
        """Tiles of the output's own chunk grid, in its own pixels, for who writes it."""
        return TileGrid(self.window.shape, self.tiles.tile, halo=0)

    @property
    def halo(self) -> int:
        """True pixels read around a tile."""
        return self.tiles.halo

    @property
    def frame(self) -> Frame:
        """How windows of the result are forecast from the cube."""
        return Frame(self.window, self.cube.door.flips, self.bundle.spec, self.request)

    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Name the arrays a window gives, with their leading shape."""
        ends = [f"{end}_{level:g}" for level in self.request.level for end in ("lo", "hi")]
        outputs: dict[str, tuple[int, ...]] = dict.fromkeys(["mean", *ends], (self.request.h,))
        if self.request.quantiles:
            outputs["quantile"] = (len(self.request.quantiles), self.request.h)
        if self.request.exceed:
            outputs["exceedance"] = (len(self.request.exceed), self.request.h)
        return {**outputs, "quality": ()}

    def dtype(self, output: str) -> np.dtype[Any]:
        """Tell the type of one output's pixels."""
        if output == "quality":
            return np.dtype("uint8")
        return np.dtype("float64" if self.request.precision == "float64" else "float32")

    def describe(self, arrays: Mapping[str, Any]) -> xr.Dataset:
        """Put names, coordinates and provenance around the arrays of the window.

        Parameters
        ----------
        arrays : mapping
            Dask arrays by output.
        """
        result = describe(dict(arrays), self.cube, self.window, self.bundle, self.options)
        result.attrs["hmx_provenance"] = provenance(**self.facts())
        return result

    def facts(self) -> dict[str, Any]:
        """Say how the result comes about, in JSON values."""
        whole = self.window == Window.of(self.cube.grid.shape)
        return {
            "bundle": self.bundle.digest,
            "data": self.cube.data.attrs.get("hmx_fingerprint"),
            "origin": self.cube.origin_label(),
            "h": self.options.h,
            "level": list(self.options.level),
            "quantiles": list(self.options.quantiles),
            "exceed": list(self.options.exceed),
            "region": None if whole else list(self.cube.grid.crop(self.window).bounds),
            "seed": self.bundle.training.get("seed"),
            "tile": self.options.tile,
            "halo": self.halo,
            "precision": self.request.precision,
        }


def _tiles(cube: Cube, bundle: Bundle, options: ForecastOptions) -> TileGrid:
    side = options.tile or CHUNK
    return TileGrid(
        cube.grid.shape,
        (side, side),
        halo=halo(bundle.spec, options.h),
        wraps=cube.grid.wraps,
    )


def _check(options: ForecastOptions, bundle: Bundle, cube: Cube) -> None:
    """Refuse early what a tile would only find out late."""
    bundle.spec.require_fits(cube)
    bundle.spec.require_leads(options.h)
    if options.level or options.quantiles:
        bundle.calibration.require()
    if cube.door.dataarray and (options.level or options.quantiles or options.exceed):
        raise BadArgument(
            "level=, quantiles= and exceed= give several variables, and a DataArray is one. "
            "Use a Dataset: da.to_dataset(name='hm').hm.forecast(..., level=80)."
        )
    choose_device(options.device)
    # a weight that does not fit is told here, not by the first tile
    for member in range(bundle.spec.members):
        Forecaster.load(bundle, member)


def sides(options: ForecastOptions) -> dict[str, int]:
    """Decide the sides of a tile and of an output chunk, px.

    Parameters
    ----------
    options : ForecastOptions
        With none, one or both of them given; a tile is a whole number of chunks.
    """
    tile, chunk = options.tile, options.chunk
    if tile is None:
        best = best_tile(choose_device(options.device).type)
        tile = best if chunk is None else chunk * max(1, best // chunk)
    if chunk is None:
        # the largest whole part of a tile that is no larger than a usual chunk
        fits = (side for side in range(min(CHUNK, tile), CHUNK // 4, -1) if tile % side == 0)
        chunk = next(fits, tile)
    return {"tile": tile, "chunk": chunk}
