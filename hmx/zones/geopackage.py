"""GeoPackage: the polygons of zones with their figures, styled for QGIS."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hmx.errors import BadArgument, SourceError, did_you_mean
from hmx.files.durable import flush
from hmx.files.paths import absolute
from hmx.zones.features import is_layer, names_of, read_features
from hmx.zones.frames import columns_of, is_conservation, shares_of, times_of
from hmx.zones.qgis import style_of

LAYER = "zones"
MARK = "figures of zones, made by hmx"
_MOST_COLUMNS = 1990  # SQLite has 2,000
_FID = "fid"  # a column of this name is the number of the feature


def require_writer() -> None:
    """Raise :class:`BadArgument` without the libraries that write polygons."""
    try:
        import geopandas  # type: ignore[import-untyped]  # noqa: F401
        import pyogrio  # noqa: F401
    except ImportError as error:
        raise BadArgument(
            f"a GeoPackage needs {error.name}, which is not installed. Type pip install "
            "geopandas pyogrio, or write a .csv."
        ) from None


def is_ours(path: Path) -> bool:
    """Return True for a GeoPackage that hmx wrote."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            found = base.execute("SELECT description FROM gpkg_contents").fetchall()
    except sqlite3.Error:
        return False
    return any(MARK in str(text) for (text,) in found)


def wide_frame(table: xr.Dataset) -> pd.DataFrame:
    """Return one row for each zone, and a column for each figure and time: ``hm_2040``."""
    zones = table.isel(zone=table["kind"].values == "zone")
    times = times_of(table)
    columns: dict[str, Any] = {name: zones[name].values for name in ("zone", *shares_of(zones))}
    for name, plane in columns_of(zones):
        if "time" not in plane.dims:
            columns[name] = plane.values
            continue
        for at, time in enumerate(times):
            columns[f"{name}_{time}"] = plane.values[:, at]
    return pd.DataFrame(columns)


def column_of(table: xr.Dataset, figure: str | None, target: str) -> str:
    """Return the column that colours the zones: a figure at its time, or at the last one."""
    frame, last = wide_frame(table), times_of(table)[-1]
    numbers = [str(n) for n in frame.columns if n != "zone"]
    if figure is None:
        usual = [f"{target}_change", target, "percent_low"]
        if is_conservation(table):
            low = str(table["class"].values[0]).replace("< ", "below_")
            usual.insert(0, f"km2_{low}_lost")
        return next((f"{n}_{last}" for n in usual if f"{n}_{last}" in numbers), numbers[0])
    for name in (figure, f"{figure}_{last}"):
        if name in numbers:
            return name
    plain = list(dict.fromkeys(name for name, _ in columns_of(table)))
    raise BadArgument(
        f"figure={figure!r} is not in the table (has: {', '.join(plain)})."
        f"{did_you_mean(figure, plain)}"
    )


def geometries(given: object, id: str | None, names: list[str]) -> tuple[list[Any], list[Any], Any]:
    """Return geometry and properties of zones in the order of their names, and their CRS."""
    if not is_layer(given):
        at, crs = _outlines(given)
    else:
        features, crs = read_features(given)
        at = {
            name: (each.geometry, each.properties)
            for name, each in zip(names_of(features, id), features, strict=True)
        }
    for name in names:
        if name not in at:
            raise BadArgument(
                f"zone {name!r} of the table is not among the polygons (have: "
                f"{', '.join(list(at)[:10])}).{did_you_mean(name, at)} Pass the zones and the id= "
                "that the table was made with."
            )
    chosen = [at[name] for name in names]
    return [shape for shape, _ in chosen], [own for _, own in chosen], crs


def _outlines(given: object) -> tuple[dict[str, tuple[Any, Any]], Any]:
    """Draw the outlines of the zones of a raster, by name, with its CRS."""
    import rasterio
    from rasterio.features import shapes

    path = absolute(given) if isinstance(given, str | Path) else ""
    if not path or path.endswith(".npy"):
        raise BadArgument(
            "these zones are an array, and a GeoPackage is made of polygons. Pass the path of a "
            "raster that GDAL reads or of a layer of polygons as zones, or write a .csv."
        )
    parts: dict[str, list[Any]] = {}
    try:
        with rasterio.open(path) as file:
            if file.crs is None:
                raise BadArgument(f"zones {path!r} has no CRS. Write one: gdal_edit.py -a_srs.")
            band = rasterio.band(file, 1)
            if band.dtype not in ("uint8", "uint16", "int16", "int32", "uint32", "float32"):
                band = file.read(1, masked=True).astype("int32")  # types that GDAL follows
            for shape, value in shapes(band, transform=file.transform):
                parts.setdefault(str(int(value)), []).append(shape["coordinates"])
            crs = file.crs
    except rasterio.errors.RasterioIOError as error:
        raise SourceError(
            f"zones {path!r} cannot be read ({error}). Pass a raster or a layer of polygons."
        ) from None
    return {n: ({"type": "MultiPolygon", "coordinates": c}, {}) for n, c in parts.items()}, crs


def write_geopackage(
    table: xr.Dataset, path: Path, *, zones: object, id: str | None, column: str, about: str
) -> str:
    """Write polygons and figures, whole or not at all; return the style of the layer."""
    import geopandas
    import pyogrio
    import shapely  # type: ignore[import-untyped]

    figures = wide_frame(table)
    shapes, properties, crs = geometries(zones, id, list(figures["zone"]))
    ours = {name.casefold() for name in (*figures.columns, _FID, "geom")}  # SQLite ignores case
    kept = {
        str(key): [_plain(each.get(key)) for each in properties]
        for key in dict.fromkeys(key for each in properties for key in each)
        if str(key).casefold() not in ours
    }
    frame = geopandas.GeoDataFrame(
        pd.concat([figures, pd.DataFrame(kept, index=figures.index)], axis=1),
        geometry=[shapely.geometry.shape(shape) for shape in shapes],
        crs=crs,
    )
    if len(frame.columns) > _MOST_COLUMNS:
        raise BadArgument(
            f"this table has {len(frame.columns):,} columns as one row for each zone, and a "
            f"GeoPackage has room for {_MOST_COLUMNS:,}. Take fewer times, levels or classes, such "
            "as table.isel(time=[-1]), or write a .csv."
        )
    values = np.asarray(figures[column], "float64")
    style = style_of(column, values, title=column, about=about)
    draft = path.with_name(f".{path.stem}.draft.gpkg")
    draft.unlink(missing_ok=True)
    try:
        # the description marks the file as ours
        pyogrio.write_dataframe(
            frame, draft, layer=LAYER, driver="GPKG", layer_options={"DESCRIPTION": MARK}
        )
        # QGIS opens a layer with the default style of this table
        pyogrio.write_dataframe(
            _styles(column, style, about), draft, layer="layer_styles", driver="GPKG", append=True
        )
        flush(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return style


def _styles(column: str, style: str, about: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "f_table_catalog": [""],
            "f_table_schema": [""],
            "f_table_name": [LAYER],
            "f_geometry_column": ["geom"],
            "styleName": [column],
            "styleQML": [style],
            "styleSLD": [""],
            "useAsDefault": [True],
            "description": [about],
            "owner": [""],
            "ui": [""],
        }
    )


def _plain(value: Any) -> Any:
    """Return a property as a value of a column; lists and objects become texts."""
    return value if value is None or isinstance(value, str | int | float) else str(value)
