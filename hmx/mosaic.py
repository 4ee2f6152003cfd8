"""Tiles and virtual rasters: many files as one, joined by GDAL, written nowhere.

A :class:`Tile` is the header of one raster. :func:`virtual` describes the mosaic
of several, or the void-free input of a warp, as GDAL's VRT in XML, which
``rasterio.open`` takes like a path. Gaps between tiles and missing pixels are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.dtypes import dtype_rev, typename_fwd
from rasterio.errors import RasterioError

from hmx.catalog import Source
from hmx.errors import CatalogError, GridMismatch, HmxError, MissingCRS, SourceError
from hmx.grid import Grid

_VSI = {"s3://": "/vsis3/", "gs://": "/vsigs/", "http://": "/vsicurl/http://"}
_VSI |= {"https://": "/vsicurl/https://", "az://": "/vsiaz/"}
_OFF_LATTICE_PX = 0.01  # as Grid: coordinates may be rounded, pixels may not be shared


@dataclass(frozen=True)
class Tile:
    """The header of one raster, oriented as stored.

    Parameters
    ----------
    file : str
        Path, URL or VRT as XML.
    band : int
        The band to read, from 1.
    grid : Grid
        As stored, perhaps south-up.
    dtype : str
        Of the pixels.
    blocks : tuple of int
        Rows and columns of a block, px.
    """

    file: str
    band: int
    grid: Grid
    dtype: str
    blocks: tuple[int, int]


def probe(file: str, variable: str | None) -> Tile:
    """Read the header of a raster.

    Parameters
    ----------
    file : str
        Path or URL.
    variable : str or None
        Number of the band, where there are several.

    Raises
    ------
    SourceError
        If the file cannot be opened.
    CatalogError
        If the band is not said, or is none.
    MissingCRS
        If the file has no CRS.
    """
    with reading(file), rasterio.open(file) as dataset:
        band = _band(file, dataset.count, variable)
        if dataset.crs is None:
            raise MissingCRS(
                f"{file} has no CRS, so its pixels have no place on Earth. "
                f"Write it: gdal_edit.py -a_srs EPSG:4326 {file} (with the raster's own code)."
            )
        crs = pyproj.CRS.from_wkt(dataset.crs.to_wkt(version="WKT2_2019"))
        grid = Grid(crs, dataset.transform, dataset.shape)
        return Tile(file, band, grid, dataset.dtypes[band - 1], dataset.block_shapes[band - 1])


def _band(file: str, count: int, variable: str | None) -> int:
    if variable is None and count == 1:
        return 1
    if variable is not None and variable.isdigit() and 1 <= int(variable) <= count:
        return int(variable)
    given = "no variable is named" if variable is None else f"variable is {variable!r}"
    raise CatalogError(
        f"{file} has {count} band{'s' * (count > 1)} and {given}: a raster's variable is the "
        f'number of a band, 1 to {count}. Write variable: "1".'
    )


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


def union(tiles: Sequence[Tile]) -> Grid:
    """Find the grid that covers all tiles, oriented as they are.

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


def _offset(tile: Tile, first: Tile) -> tuple[int, int]:
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


def virtual(tiles: Sequence[Tile], grid: Grid, source: Source) -> str:
    """Describe the raster that joins tiles, as XML of a GDAL VRT.

    Parameters
    ----------
    tiles : sequence of Tile
        Later ones cover earlier ones where they overlap.
    grid : Grid
        What :func:`union` found.
    source : Source
        If it aligns, what it calls missing is voided too, because after a warp
        such values are mixed into their neighbours.
    """
    exact = all(np.can_cast(tile.dtype, "float32", "safe") for tile in tiles)
    dtype = "float32" if exact else "float64"
    xml = _vrt(tiles, grid, dtype, "<UseMaskBand>true</UseMaskBand>")
    if source.align is None:
        return xml
    rules = []
    if source.nodata is not None:
        rules.append(f"<NODATA>{float(np.dtype(dtype).type(source.nodata))!r}</NODATA>")
    if source.valid_range is not None and source.scale:
        rules.append(f"<UseMaskBand>true</UseMaskBand><LUT>{_range_table(source)}</LUT>")
    for rule in rules:
        xml = _vrt([Tile(xml, 1, grid, dtype, (128, 128))], grid, dtype, rule)
    return xml


def _range_table(source: Source) -> str:
    """Write GDAL's lookup table that keeps the valid range and voids the rest."""
    limits = source.valid_range or ()
    low, high = sorted((limit - source.offset) / source.scale for limit in limits)
    slack = 1e-6 * (high - low)  # clean() cuts at the limit itself, after scaling
    low, high = low - slack, high + slack
    knots = [(low - slack, "nan"), (low, low), (high, high), (high + slack, "nan")]
    return ",".join(f"{x!r}:{y}" for x, y in [(-1e300, "nan"), *knots, (1e300, "nan")])


def _vrt(tiles: Sequence[Tile], grid: Grid, dtype: str, rule: str) -> str:
    corner = ", ".join(repr(float(number)) for number in grid.transform.to_gdal())
    inverse = ~grid.transform
    sources = []
    for tile in tiles:
        col, row = (round(n) for n in inverse * (tile.grid.transform * (0, 0)))
        size = f'xSize="{tile.grid.shape[1]}" ySize="{tile.grid.shape[0]}"'
        sources.append(
            f'<ComplexSource><SourceFilename relativeToVRT="0">{escape(_vsi(tile.file))}'
            f"</SourceFilename><SourceBand>{tile.band}</SourceBand>{_properties(tile)}"
            f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{col}" yOff="{row}" {size}/>'
            f"{rule}</ComplexSource>"
        )
    return (
        f'<VRTDataset rasterXSize="{grid.shape[1]}" rasterYSize="{grid.shape[0]}">'
        f"<SRS>{escape(grid.crs.to_wkt())}</SRS><GeoTransform>{corner}</GeoTransform>"
        f'<VRTRasterBand dataType="{_gdal_type(dtype)}" band="1"><NoDataValue>nan</NoDataValue>'
        f"{''.join(sources)}</VRTRasterBand></VRTDataset>"
    )


def _properties(tile: Tile) -> str:
    """Tell GDAL the shape of a tile, so that it opens it only when it is read."""
    return (
        f'<SourceProperties RasterXSize="{tile.grid.shape[1]}" RasterYSize="{tile.grid.shape[0]}" '
        f'DataType="{_gdal_type(tile.dtype)}" BlockXSize="{tile.blocks[1]}" '
        f'BlockYSize="{tile.blocks[0]}"/>'
    )


def _gdal_type(dtype: str) -> str:
    return str(typename_fwd[dtype_rev[dtype]])


def _vsi(file: str) -> str:
    """Spell a URL the way GDAL does inside a VRT."""
    scheme = next((s for s in _VSI if file.startswith(s)), None)
    return file if scheme is None else _VSI[scheme] + file.removeprefix(scheme)
