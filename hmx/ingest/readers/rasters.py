"""Rasters: anything that GDAL opens, one file or the tiles of a mosaic.

A :class:`RasterTile` is the header of one file with the rules of its numbers, so that each
file is cleaned and unpacked by its own declarations before tiles are joined.
"""

from __future__ import annotations

import html
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
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
from hmx.errors import CatalogError, CubeError, HmxError, MissingCRS, SourceError
from hmx.files.remote import explain, gdal_options
from hmx.ingest.mosaic import union, within
from hmx.ingest.sources import SourceOptions, reader
from hmx.windows import Span, Window

_VRT_SOURCE = re.compile(
    r"<(?:SourceFilename|SourceDataset)([^>]*)>([^<]*)</(?:SourceFilename|SourceDataset)>"
)


@dataclass(frozen=True)
class RasterTile:
    """The header of one raster."""

    file: str  # path or URL
    band: int  # from 1
    grid: Grid  # north-up
    flipped: bool  # whether the file's first row is the southernmost
    rules: Rules
    alpha: int | None = None  # band that is 0 where a pixel is void
    masked: bool = False  # whether the file has a mask of its own, in addition to nodata
    notes: tuple[str, ...] = ()

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (rows, columns)."""
        rows = window.y
        if self.flipped:
            # window rows run southward, the file's rows northward
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
    """Open a raster without rasterio's warning of a missing transform: `_grid` raises instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # settings of an Env that the user has opened win
        have = rasterio.env.getenv() if rasterio.env.hasenv() else {}
        options = {k: v for k, v in gdal_options(file).items() if k not in have}
        with rasterio.Env(**options) if options else nullcontext(), rasterio.open(file) as dataset:
            yield dataset


def probe(file: str, source: SourceOptions, variable: str | None = None) -> RasterTile:
    """Read the header of a raster; ``variable`` overrides the band that the source names."""
    with reading(file), opened(file) as dataset:
        alphas = [i for i, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha]
        band = _band(file, dataset.count, variable or source.variable, alphas)
        flags = dataset.mask_flag_enums[band - 1]
        # GDAL reports an alpha band as a mask too, and `alpha` covers that
        own = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        rules, notes = _rules(file, dataset, band, source)
        stored = _grid(file, dataset)
        grid = _north_up(stored, file)
        flipped = stored.transform.e > 0
        return RasterTile(file, band, grid, flipped, rules, next(iter(alphas), None), own, notes)


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
    # transforms that count pixels: GDAL gives the identity where a file has none
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


def _rules(
    file: str, dataset: Any, band: int, source: SourceOptions
) -> tuple[Rules, tuple[str, ...]]:
    """Read the rules of a band from its tags, and notes on unusual tags."""
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
    """Turn the errors of any library into a :class:`SourceError` that names the file."""
    try:
        yield
    except HmxError:
        raise
    except (RasterioError, OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        # rasterio's own error often hides the sentence of GDAL, its cause
        why = str(error.__cause__ or error).strip().rstrip(".")
        if (known := explain(name, _all_of(error))) is not None:
            raise SourceError(f"{name} cannot be read: {known}.") from error
        raise SourceError(
            f"{name} cannot be read ({why}). A source is a complete raster: get the file again, "
            f"then check it with: gdalinfo -checksum {name}"
        ) from error


def _all_of(error: BaseException) -> str:
    """Join the messages of an error and its causes: the last one may be of the server."""
    texts: list[str] = []
    at: BaseException | None = error
    while at is not None and len(texts) < 8:
        texts.append(str(at))
        at = at.__cause__ or at.__context__
    return "; ".join(dict.fromkeys(texts))


@dataclass(frozen=True)
class RasterPart:
    """One map: a raster, or the tiles of a mosaic, of which later ones cover earlier ones."""

    name: str
    grid: Grid  # covers all tiles
    tiles: tuple[RasterTile, ...]
    steps = 1
    time = None  # a raster has bands, which a catalog may declare to be steps

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on how the file is read."""
        return tuple(dict.fromkeys(note for tile in self.tiles for note in tile.notes))

    def at(self, indices: Sequence[int]) -> RasterPart:
        """Return the part itself: it is one step."""
        return self

    def read(self, window: Window, census: Census | None = None) -> np.ndarray:
        """Read a window: float32, NaN = missing, shape (1, rows, columns)."""
        if len(self.tiles) == 1:
            return self.tiles[0].read(window, census)[None]
        out = np.full(window.shape, np.nan, "float32")
        covered = np.zeros(window.shape, bool)
        for tile in self.tiles:
            area = within(self.grid, tile)
            part = window.clip(area)
            if not len(part.y) or not len(part.x):
                continue
            values, here = tile.read(part.within(area), census), part.within(window).slices
            # a void of a later tile must not erase data of an earlier one
            out[here] = np.where(np.isfinite(values), values, out[here])
            covered[here] = True
        if census is not None:
            census.gap("no tile", int(np.count_nonzero(~covered)))
        return out[None]


def band_names(file: str) -> list[str]:
    """List the description of each band; a band without one has an empty text."""
    with reading(file), opened(file) as dataset:
        return [text or "" for text in dataset.descriptions]


def sources_of_vrt(file: str) -> Iterator[str]:
    """List the files that a VRT is made of; none of any other raster."""
    if not file.lower().endswith(".vrt"):
        return
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    for attributes, name in _VRT_SOURCE.findall(text):
        source = html.unescape(name.strip())
        relative = re.search(r"relativeToVRT\s*=\s*[\"']1[\"']", attributes)
        yield os.path.join(os.path.dirname(file), source) if relative else source


@reader(
    ".tif",
    ".tiff",
    ".vrt",
    ".jp2",
    ".img",
    ".asc",
    ".hgt",
    "",
    bands=band_names,
    members=sources_of_vrt,
)
def open_rasters(source: SourceOptions, files: Sequence[str], name: str) -> RasterPart:
    """Open a raster, or the rasters of one mosaic."""
    tiles = tuple(probe(file, source) for file in files)
    return RasterPart(name, union(tiles), tiles)
