"""COG: maps and forecasts as Cloud Optimised GeoTIFFs, for QGIS and every other GIS.

One file for each variable and step of time, with overviews, statistics, tags of its content
and its provenance, and a style for QGIS beside it. A raster is written in squares and then
rewritten by GDAL's COG driver, so memory does not grow with its size. All files of an export are
complete before the first takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import rasterio
import rasterio.shutil
import xarray as xr
from rasterio.windows import Window as RasterWindow

from hmx.cube.cube import Cubelike, open_cube
from hmx.cube.grid import Grid, north_up
from hmx.cube.names import file_stems
from hmx.cube.store import claim, discard
from hmx.errors import BadArgument, CubeError, OutputExists
from hmx.exports import stac as catalogue
from hmx.exports.choice import chosen
from hmx.exports.layers import MARK, ExportLayer, Statistics, Written, layers_of
from hmx.exports.options import Exporting, ExportOptions
from hmx.exports.style import MARK as STYLE
from hmx.exports.style import limits_of, style_of
from hmx.files.durable import Folder, flush
from hmx.files.lock import building, followed
from hmx.files.paths import absolute, is_url
from hmx.files.qml import has_mark
from hmx.independent import independent
from hmx.progress import OnStep, Progress
from hmx.settings import parse
from hmx.windows import TileGrid

SQUARE = 1024  # side, px, of the part in memory
BLOCK = 512  # side of a block in the files, px
_CACHE = 64  # MiB that GDAL may keep
_SHARED = {"BIGTIFF": "IF_SAFER", "COMPRESS": "DEFLATE"}


@independent
def export_cog(
    source: Cubelike | str | Path,
    folder: str | Path,
    *,
    progress: Progress | OnStep | None = None,
    **options: Unpack[Exporting],
) -> list[Path]:
    """Write a map, a forecast or a cube as Cloud Optimised GeoTIFFs.

    Beside each file lies a ``.qml``, which QGIS takes as its style, and with ``stac`` a STAC
    collection with an item for each step describes them all.

    Parameters
    ----------
    source : Dataset, DataArray or path
        A store that a job wrote, or an object in memory; a lazy one is computed
        once for each file, so store it first.
    folder : str or Path
        Gets ``soc.tif``, ``soc_lo_90.tif`` ... or ``hm_2025.tif`` ...; exported files of
        the same names are replaced, once all new ones are complete.
    progress : Progress or callable, optional
        A plain callable gets (squares done, squares, text).
    **options
        ``variable`` and ``year`` (one or more; default: all), ``region`` (as in
        ``ds.hm.forecast``), ``past`` (the cube of a forecast, for the change from its last
        map; default: the one it was made from, if it is there) and ``stac`` (default: if
        pystac is installed).

    Returns
    -------
    list of Path
        The GeoTIFFs, in the order of variables and time.

    Raises
    ------
    CubeError
        If there is no raster, no CRS, or no regular grid.
    MissingVariable, BadArgument
        If a variable, step or region is not in the product.
    OutputExists
        If a file of another origin has one of the names.
    SourceError
        If there is no store.

    Examples
    --------
    >>> fc.hm.to_cog("build/maps", variable=["hm", "hm_change"], year=2040)  # doctest: +SKIP
    """
    progress = Progress.of(progress)
    region, past = options.pop("region", None), options.pop("past", None)
    given = parse(ExportOptions, dict(options))
    with_stac = catalogue.wanted(given.stac, progress)
    data = product_of(source)
    data = north_up(chosen(data, given, region=region, past=past))
    grid, folder = Grid.from_xarray(data), local(folder)
    layers = list(layers_of(data))
    if not layers:
        raise CubeError(
            f"there is no raster among {', '.join(map(str, data.data_vars)) or 'nothing'}: a "
            "GeoTIFF holds a variable with rows and columns. Pass the store of a map or forecast."
        )
    paths = [folder / f"{stem}.tif" for stem in file_stems(layer.name for layer in layers)]
    with building(folder), work_folder(folder) as work:
        for path in paths:
            _require_ours(path)
        if with_stac:
            catalogue.require_ours(folder)
        written = _write_all(layers, paths, work, grid=grid, attrs=data.attrs, progress=progress)
        for each in written:
            (work / each.path.name).replace(each.path)
        _write_styles(written, work)
        if with_stac:
            catalogue.write(written, folder, work, grid=grid, data=data)
        flush(folder)
    return paths


def to_cog(
    obj: Cubelike,
    folder: str | Path,
    *,
    progress: Progress = Progress(),
    **options: Unpack[Exporting],
) -> list[Path]:
    """Write this forecast, map or cube as Cloud Optimised GeoTIFFs with styles for QGIS.

    Parameters
    ----------
    obj : Dataset or DataArray
        What to write; a lazy forecast is computed for each file, so store it first.
    folder : str or Path
        Gets ``hm_2025.tif``, ``hm_lo_80_2025.tif``, ``hm_change_2025.tif`` ...
    progress : Progress
        Where progress goes. Default: standard error from ``fc.hm``, else nowhere.
    **options
        ``variable``, ``year``, ``region``, ``past`` and ``stac``, as in
        :func:`hmx.exports.cog.export_cog`.

    Returns
    -------
    list of Path
        The GeoTIFFs.

    Raises
    ------
    BadArgument, CubeError, MissingVariable, OutputExists
        With what was given, the rule and what to type.

    Examples
    --------
    >>> fc.hm.to_cog("build/maps", year=[2030, 2040])  # doctest: +SKIP
    """
    return export_cog(obj, folder, progress=progress, **options)


def product_of(source: Cubelike | str | Path) -> xr.Dataset:
    """Open a product, or take what is in memory, as a Dataset."""
    if isinstance(source, str | Path):
        return open_cube(source)
    if isinstance(source, xr.Dataset):
        return source
    return source.to_dataset(name=source.name if source.name is not None else "values")


def local(path: str | Path) -> Path:
    """Return a path of this machine; a URL is refused."""
    where = absolute(path)
    if is_url(where):
        raise BadArgument(
            f"{where} is a URL, and exports are files of this machine. Choose a folder here, and "
            "copy it."
        )
    return Path(where)


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Yield a private folder for incomplete files, whatever GDAL calls them."""
    followed(folder).mkdir(parents=True, exist_ok=True)
    work = folder / ".export"
    claim(work)
    try:
        yield work
    finally:
        discard(work)


def _write_all(
    layers: Sequence[ExportLayer],
    paths: Sequence[Path],
    work: Path,
    *,
    grid: Grid,
    attrs: Mapping[Any, Any],
    progress: Progress,
) -> list[Written]:
    """Write every layer into the private folder."""
    squares = len(list(TileGrid(grid.shape, (SQUARE, SQUARE), halo=0)))
    written = []
    for number, (layer, path) in enumerate(zip(layers, paths, strict=True)):

        def step(done: int, layer: ExportLayer = layer, before: int = number * squares) -> None:
            progress.step(before + done, len(layers) * squares, f"export: {layer.name}")

        step(0)
        target = work / path.name
        own = write_cog(layer, target, work, grid=grid, tags=layer.tags(attrs), step=step)
        written.append(Written(layer, path, own))
    progress.step(len(layers) * squares, len(layers) * squares, "export: done")
    return written


def _require_ours(path: Path) -> None:
    """Raise :class:`OutputExists` unless file and style are free or exported ones."""
    style, foreign = path.with_suffix(".qml"), []
    if path.exists():
        try:
            with rasterio.open(path) as file:
                foreign += [] if MARK in file.tags() else [path]
        except rasterio.errors.RasterioIOError:
            foreign.append(path)
    if style.exists() and not (style.is_file() and has_mark(style, STYLE)):
        foreign.append(style)
    if foreign:
        raise OutputExists(
            f"{foreign[0]} is not a file that hmx exported, so it is left alone. Choose another "
            "folder."
        )


def _write_styles(written: Sequence[Written], work: Path) -> None:
    """Write the style of each layer beside its file; families of layers have one scale."""
    families: dict[tuple[str, str], list[Statistics]] = {}
    for each in written:
        families.setdefault(each.layer.family, []).append(each.statistics)
    for each in written:
        limits = limits_of(each.layer.kind, families[each.layer.family])
        text = style_of(each.layer, each.statistics, limits)
        place = each.path.with_suffix(".qml")
        # a file that was being written as a process died is swept away with the work folder
        Folder(str(work)).write(place.name, text.encode())
        (work / place.name).replace(place)


def write_cog(
    layer: ExportLayer,
    path: Path,
    work: Path,
    *,
    grid: Grid,
    tags: Mapping[str, str],
    step: Any = lambda done: None,
) -> Statistics:
    """Write one plane, square by square; the file appears whole, or not at all."""
    plain, draft = work / "plain.tif", work / "draft.tif"
    profile = {
        "driver": "GTiff",
        "height": grid.shape[0],
        "width": grid.shape[1],
        "count": 1,
        "dtype": layer.plane.dtype,
        "crs": rasterio.CRS.from_wkt(grid.crs.to_wkt()),
        "transform": grid.transform,
        "nodata": layer.nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "sparse_ok": True,
    }
    own = Statistics(grid.shape, layer.nodata)
    with rasterio.Env(GDAL_CACHEMAX=_CACHE):
        with rasterio.open(plain, "w", **profile, **_SHARED) as file:
            file.update_tags(**tags)
            file.set_band_description(1, layer.description)
            if layer.units is not None:
                file.set_band_unit(1, layer.units)
            for done, tile in enumerate(TileGrid(grid.shape, (SQUARE, SQUARE), halo=0), start=1):
                rows, columns = tile.core.slices
                square = layer.plane.isel(y=rows, x=columns).values
                file.write(square, 1, window=RasterWindow.from_slices(rows, columns))
                own.add(square, rows.start, columns.start)
                step(done)
            file.update_tags(1, **own.tags())
        # the COG driver needs a whole raster: it cannot write squares
        rasterio.shutil.copy(
            plain,
            draft,
            driver="COG",
            BLOCKSIZE=BLOCK,
            PREDICTOR=layer.kind.predictor,
            OVERVIEW_RESAMPLING=layer.kind.overviews,
            **_SHARED,
        )
    flush(draft)
    draft.replace(path)
    plain.unlink()
    return own
