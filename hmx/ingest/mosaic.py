"""Tiles: the rasters that a map is made of, one or many, opened as headers.

A :class:`RasterTile` knows what its numbers mean and which of its pixels are void, so that
each is cleaned and unpacked by its own declarations before tiles are joined.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from hmx.cube.census import Census
from hmx.cube.grid import Grid, require_degrees
from hmx.cube.values import Rules
from hmx.errors import CatalogError, CubeError, GridMismatch, HmxError, MissingCRS, SourceError
from hmx.ingest.options import Source
from hmx.windows import Span, Window

_OFF_LATTICE_PX = 0.01  # as Grid: coordinates may be rounded, pixels may not be shared


@dataclass(frozen=True)
class RasterTile:
    """The header of one raster.

    Parameters
    ----------
    file : str
        Path or URL.
    band : int
        The band to read, from 1.
    grid : Grid
        North-up.
    flipped : bool
        Whether the file's first row is the southernmost.
    rules : Rules
        What the band's numbers mean.
    alpha : int, optional
        Band that is 0 where a pixel is void.
    masked : bool
        Whether the file has a mask of its own, beside nodata.
    notes : tuple of str
        What the user should know of it.
    """

    file: str
    band: int
    grid: Grid
    flipped: bool
    rules: Rules
    alpha: int | None = None
    masked: bool = False
    notes: tuple[str, ...] = ()

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (rows, columns)."""
        rows = window.y
        if self.flipped:
            rows = Span(self.grid.shape[0] - rows.stop, self.grid.shape[0] - rows.start)
        at = RasterWindow.from_slices(rows.slice, window.x.slice)
        with reading(self.file), opened(self.file) as dataset:
            raw = dataset.read(self.band, window=at)
            masked = np.zeros(raw.shape, bool) if self.masked or self.alpha else None
            if masked is not None and self.masked:
                masked |= dataset.read_masks(self.band, window=at) == 0
            if masked is not None and self.alpha:
                masked |= dataset.read(self.alpha, window=at) == 0
        values = self.rules.clean(raw, masked=masked, census=census)
        return values[::-1] if self.flipped else values


@contextmanager
def opened(file: str) -> Iterator[Any]:
    """Open a raster; what it lacks for a place is looked at, not warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(file) as dataset:
            yield dataset


def probe(file: str, source: Source, variable: str | None = None) -> RasterTile:
    """Read the header of a raster.

    Parameters
    ----------
    file : str
        Path or URL.
    source : Source
        Has its say on what the numbers mean.
    variable : str, optional
        Number of the band. Default: the source's, or the only one.

    Raises
    ------
    SourceError
        If the file cannot be opened.
    CatalogError
        If the band is not named, or is none.
    MissingCRS, CubeError
        If the file has no place on Earth, or no real numbers.
    """
    with reading(file), opened(file) as dataset:
        alphas = [i for i, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha]
        band = _band(file, dataset.count, variable or source.variable, alphas)
        flags = dataset.mask_flag_enums[band - 1]
        own = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        rules, notes = _rules(file, dataset, band, source)
        stored = _grid(file, dataset)
        grid = _north_up(stored, file)
        flipped = stored.transform.e > 0
        return RasterTile(file, band, grid, flipped, rules, next(iter(alphas), None), own, notes)


def band_names(file: str) -> list[str]:
    """List what a raster says of each of its bands; nothing is an empty text."""
    with reading(file), opened(file) as dataset:
        return [text or "" for text in dataset.descriptions]


def _band(file: str, count: int, variable: str | None, alphas: Sequence[int]) -> int:
    known = [band for band in range(1, count + 1) if band not in alphas]
    if variable is None and len(known) == 1:
        return known[0]
    if variable is not None and variable.isdigit() and int(variable) in known:
        return int(variable)
    given = "no variable is named" if variable is None else f"variable is {variable!r}"
    alpha = f" (band {alphas[0]} is alpha, a mask)" if alphas else ""
    raise CatalogError(
        f"{file} has {count} band{'s' * (count > 1)}{alpha} and {given}: a raster's variable is "
        f'the number of a band, 1 to {count}. Write variable: "1", or, if its bands are steps of '
        "time, bands: {start: 1990, step: 5}, bands: [1990, 1995, ...] or bands: description."
    )


def _grid(file: str, dataset: Any) -> Grid:
    """Return the grid of a raster as it is stored."""
    lost = dataset.transform in (Affine.identity(), Affine.scale(1, -1))
    if lost and (dataset.gcps[0] or dataset.rpcs):
        how, flag = ("ground control points", "") if dataset.gcps[0] else ("RPCs", "-rpc ")
        raise MissingCRS(
            f"{file} has {how} and no geotransform, so its pixels lie on no regular grid. "
            f"Warp it: gdalwarp {flag}-t_srs EPSG:4326 {file} warped.tif (with the code you want)."
        )
    if dataset.crs is None:
        raise MissingCRS(
            f"{file} has no CRS, so its pixels have no place on Earth. "
            f"Write it: gdal_edit.py -a_srs EPSG:4326 {file} (with the raster's own code)."
        )
    if lost:
        raise CubeError(
            f"{file} has a CRS and no geotransform (its transform counts pixels), so its "
            "place is unknown. Write it: gdal_edit.py -a_ullr WEST NORTH "
            f"EAST SOUTH {file}, or -a_gt with its six numbers."
        )
    crs = pyproj.CRS.from_wkt(dataset.crs.to_wkt(version="WKT2_2019"))
    grid = Grid(crs, dataset.transform, dataset.shape)
    require_degrees(grid, file)
    return grid


def _north_up(stored: Grid, name: str) -> Grid:
    """Turn a stored grid north-up, if a flip of rows does it."""
    at, (ny, nx) = stored.transform, stored.shape
    if at.b or at.d or at.a < 0:
        raise CubeError(
            f"{name} is rotated (transform {tuple(at)[:6]}), and rows of a cube run west to east. "
            f"Straighten it: gdalwarp {name} straight.tif"
        )
    if at.e < 0:
        return stored
    return Grid(stored.crs, Affine(at.a, 0.0, at.c, 0.0, -at.e, at.f + ny * at.e), (ny, nx))


def _rules(file: str, dataset: Any, band: int, source: Source) -> tuple[Rules, tuple[str, ...]]:
    """Read what a band's tags say of its numbers, and notes of what is unusual."""
    kind = dataset.dtypes[band - 1]
    if kind.startswith("complex"):
        raise CubeError(
            f"band {band} of {file} holds {kind} numbers, and a map holds real ones. Write the "
            f"part that counts: gdal_translate -ot Float32 {file} real.tif, or its modulus."
        )
    scale, offset = float(dataset.scales[band - 1]), float(dataset.offsets[band - 1])
    if not np.isfinite([scale, offset]).all() or scale == 0:
        raise CubeError(
            f"{file} has the tags scale {scale:g} and offset {offset:g}, which make no value of a "
            f"stored number. Write others: gdal_edit.py -scale 1 -offset 0 {file}."
        )
    nodata = dataset.nodatavals[band - 1]
    declared = () if nodata is None or np.isnan(nodata) else (float(nodata),)
    tagged = Rules(nodata=declared, scale=scale, offset=offset, name=file)
    rules = tagged.under(source, replaces=True)
    notes = []
    if (scale, offset) != (1.0, 0.0):
        tags = f"tags scale {scale:g} and offset {offset:g}"
        if (rules.scale, rules.offset) == (scale, offset):
            notes.append(f"{tags} are applied")
        else:
            notes.append(
                f"{tags} of the file differ from the catalog, which is followed: "
                f"scale {rules.scale:g}, offset {rules.offset:g}"
            )
    if dataset.colorinterp[band - 1] == ColorInterp.palette:
        notes.append("the file has a colour table: its numbers are read as they are, as classes")
    return rules, tuple(notes)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Say which file could not be read, whatever library stumbled."""
    try:
        yield
    except HmxError:
        raise
    except (RasterioError, OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        why = str(error.__cause__ or error).strip().rstrip(".")
        raise SourceError(
            f"{name} cannot be read ({why}). A source is a complete raster: get the file again, "
            f"then check it with: gdalinfo -checksum {name}"
        ) from error


def union(tiles: Sequence[RasterTile]) -> Grid:
    """Find the grid that covers all tiles.

    Raises
    ------
    GridMismatch
        If a tile is off the pixel lattice of the first.
    """
    first = tiles[0].grid
    corners = [(_offset(tile, tiles[0]), tile.grid.shape) for tile in tiles]
    row, col = (min(at[i] for at, _ in corners) for i in (0, 1))
    rows, cols = (max(at[i] + shape[i] for at, shape in corners) for i in (0, 1))
    moved = first.transform * Affine.translation(col, row)
    return Grid(first.crs, moved, (rows - row, cols - col))


def within(grid: Grid, tile: RasterTile) -> Window:
    """Return the part of a mosaic that a tile covers, in pixels of the mosaic."""
    row, col = (round(n) for n in grid.locate(*tile.grid.corner(0, 0)))
    rows, cols = tile.grid.shape
    return Window(Span(row, row + rows), Span(col, col + cols))


def _offset(tile: RasterTile, first: RasterTile) -> tuple[int, int]:
    """Row and column of a tile's corner on the lattice of the first."""
    ours, theirs = first.grid, tile.grid
    near = ~ours.transform * (theirs.transform * (0, 0))
    far = ~ours.transform * (theirs.transform * theirs.shape[::-1])
    span = np.subtract(far, near) - theirs.shape[::-1]
    off = np.abs([*(np.subtract(near, np.round(near))), *span]).max()
    if off > _OFF_LATTICE_PX or not ours.crs.equals(theirs.crs, ignore_axis_order=True):
        raise GridMismatch(
            f"{tile.file} is off the lattice of {first.file}: tiles of a mosaic share CRS, pixel "
            f"size and lattice (this one is {off:.3g} px off). Resample it: gdalwarp -tap -tr ..., "
            "or narrow the glob in the path."
        )
    return round(near[1]), round(near[0])
