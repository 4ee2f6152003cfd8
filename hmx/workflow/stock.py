"""Stock: carbon per area of a catalog's map, or of its samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmx.catalog import MapCatalog
from hmx.cube.cube import open_cube
from hmx.cube.store import attributes
from hmx.errors import BadArgument, CatalogError, MissingVariable, SourceError, did_you_mean
from hmx.files.paths import is_url
from hmx.ingest.manifest import find_files
from hmx.ingest.options import Source
from hmx.ingest.stamps import stamp
from hmx.points.units import factor_of
from hmx.progress import Progress
from hmx.provenance import fingerprint
from hmx.workflow.ensure import ensure_result, preflight
from hmx.workflow.steps import MapSteps

if TYPE_CHECKING:
    from hmx.cube.cube import Region

_PARTS = ("bulk_density", "coarse", "top", "bottom")
_STATE = "hmx_stock"  # attribute: what a store of stocks was made of


def ensure_stock(
    catalog: MapCatalog,
    progress: Progress = Progress(),
    *,
    region: Region = None,
    overwrite: bool = False,
) -> str:
    """Make the stock of the catalog's map, or of its samples; return the path.

    Maps first if need be. A stock that is current is kept.
    """
    section, path = catalog.stock, catalog.stock_path
    if section.bulk_density is None:
        raise BadArgument(
            "stock.bulk_density is not set, and a stock needs it. Pass --bulk-density 1.3, or the "
            "name of a source or column, or a raster; or write stock: {bulk_density: ...}."
        )
    if section.of == "points":
        return _table(catalog, path, progress)
    parts = _parts(catalog)
    _require_possible(catalog)
    preflight(catalog, {"stock.output": path})
    from hmx.exports.cog import local
    from hmx.exports.stores import require_ours, write_store
    from hmx.products.stock_maps import stock

    where = local(path)
    require_ours(where)  # before hours of work
    store = ensure_result(catalog, progress, region=region)
    state = fingerprint(
        {
            "map": attributes(store).get("hmx_provenance"),
            # stamps have the names of files: a folder that was moved stays current
            "parts": {name: _plain(part) for name, part in parts.items()},
            "stamps": [stamp(file)[:3] for part in parts.values() for file in _files(part)],
            "units": [section.density_units, section.coarse_units],
        }
    )
    if not overwrite and attributes(where).get(_STATE) == state:
        progress.note(f"stock: {path} exists and is current")
        return str(where)
    cube, soil = open_cube(catalog.cube.path), open_cube(store)
    parts = {name: _opened(part, cube) for name, part in parts.items()}
    made = stock(
        soil, **parts, density_units=section.density_units, coarse_units=section.coarse_units
    )
    if catalog.map.estimate != "mean":
        progress.note(
            f"stock: of the map's estimate ({catalog.map.estimate}); sums over land need "
            "map.estimate: mean"
        )
    if any("_lo_" in str(name) or "quantile" in str(name) for name in made):
        progress.note(
            "stock: intervals are those of the concentration: bulk density, coarse fragments and "
            "depth count as exact"
        )
    write_store(made.assign_attrs({_STATE: state}), where, "zarr", progress, what="stock")
    return str(where)


def _plain(part: Any) -> Any:
    """Describe a part in JSON values, without the path of a raster."""
    if isinstance(part, list):
        return [_plain(one) for one in part]
    if isinstance(part, Source):
        return part.model_dump(mode="json", exclude_defaults=True, exclude={"path"})
    return part


def _parts(catalog: MapCatalog) -> dict[str, Any]:
    """Return the parts of the formula for a map; refuse a name without a source."""
    parts = {name: getattr(catalog.stock, name) for name in _PARTS}
    known = catalog.cube.sources
    for name, given in parts.items():
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, str) and one not in known:
                raise CatalogError(
                    f"stock.{name} is {one!r}, and the cube has no source of that name (it has "
                    f"{', '.join(known)}).{did_you_mean(one, known)} A raster is written as "
                    f"{{path: {one}}}; a column of the points needs of: points."
                )
        for file, source in _sources(given):
            if not find_files(file):
                raise SourceError(f"stock.{name}: there is no file {source.path}.")
    return parts


def _require_possible(catalog: MapCatalog) -> None:
    """Refuse before hours of work what has no units or no depth."""
    units, section = catalog.points.units, catalog.stock
    if units is None:
        raise BadArgument(
            f"points.units is not set, so the stock of {catalog.points.target} is unknown. Write "
            "points: {units: g/kg}."
        )
    factor_of(units, "g/kg")
    if section.bottom is None and catalog.points.top is None:
        raise BadArgument(
            "a stock is of a layer, and its lower end is unknown. Pass --bottom 30, cm, or write "
            "stock: {top: 0, bottom: 30}."
        )


def _sources(given: Any) -> list[tuple[str, Source]]:
    several = given if isinstance(given, list) else [given]
    return [(one.path, one) for one in several if isinstance(one, Source)]


def _files(given: Any) -> list[str]:
    return [
        file
        for path, _ in _sources(given)
        for file in find_files(path)
        if is_url(file) or Path(file).exists()
    ]


def _opened(given: Any, cube: Any) -> Any:
    """Replace names of sources by their variables of the cube."""
    if isinstance(given, list):
        return [_opened(one, cube) for one in given]
    return cube[given] if isinstance(given, str) else given


def _table(catalog: MapCatalog, path: str, progress: Progress) -> str:
    """Write the table of the samples with their stocks."""
    from hmx.mapping.predict import require_free, write_predictions
    from hmx.products.stock import stock_table

    section = catalog.stock
    parts = {name: getattr(section, name) for name in _PARTS}
    for name, given in parts.items():
        if isinstance(given, list | Source):
            raise CatalogError(
                f"stock.{name} is a raster or a list, and of: points takes numbers and columns. "
                "Name a column, or leave out of: points, which makes a map."
            )
    preflight(catalog, {"stock.output": path})
    require_free(path, key="stock.output", what="stocks of points")
    points = MapSteps(catalog).points()
    try:
        table = stock_table(
            points,
            parts,
            missing=catalog.points.missing,
            density_units=section.density_units,
            coarse_units=section.coarse_units,
        )
    except MissingVariable as error:
        raise CatalogError(f"stock: {error}") from None
    known = int(table[f"{points.target}_stock"].notna().sum())
    progress.note(f"stock: {known:,} of {points.rows:,} rows of {points.name} have a stock")
    return write_predictions(table, path, key="stock.output", what="stocks of points")
