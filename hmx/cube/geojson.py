"""GeoJSON: shapes and the CRS of their coordinates, from objects, texts and files.

RFC 7946 allows longitude and latitude alone; many files have the ``crs`` member of its
predecessor, and a GeoDataFrame has its own CRS. Coordinates that cannot be degrees and have
no CRS are refused, because any guess would move them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from hmx.errors import BadArgument, SourceError
from hmx.files.paths import absolute, is_url

Box = tuple[float, float, float, float]

VECTORS = (".geojson", ".json", ".gpkg", ".shp", ".fgb", ".parquet")
_LONLAT = "OGC:CRS84"


def is_shapes(given: object) -> bool:
    """Return True for GeoJSON as an object or a text, for frames, and for paths of vectors."""
    if isinstance(given, str | Path):
        text = str(given).strip()
        return text.startswith("{") or text.lower().endswith(VECTORS)
    return isinstance(given, Mapping) or hasattr(given, "__geo_interface__")


def layer_of(given: Any, what: str) -> dict[str, Any]:
    """Read shapes as a GeoJSON object, whose ``crs`` member names theirs if it is not lon/lat."""
    if isinstance(given, str | Path):
        given = _parsed(str(given), what)
    if hasattr(given, "to_crs") and hasattr(given, "__geo_interface__"):
        if given.crs is None:
            raise BadArgument(f"{what} has no CRS. Write one: {what}.set_crs('EPSG:4326').")
        name = pyproj.CRS.from_user_input(given.crs).to_wkt()
        return {**given.__geo_interface__, "crs": {"type": "name", "properties": {"name": name}}}
    layer = getattr(given, "__geo_interface__", given)
    if not isinstance(layer, Mapping) or "type" not in layer:
        raise BadArgument(f"{what} is not a GeoJSON object. Pass one with a type and coordinates.")
    return dict(layer)


def _parsed(text: str, what: str) -> Any:
    """Read GeoJSON from a text, or shapes from a file."""
    inline = text.strip().startswith("{")
    path = "" if inline else absolute(text)
    try:
        if inline:
            return json.loads(text)
        if path.lower().endswith((".geojson", ".json")):
            # utf-8-sig reads files with and without a byte order mark
            return json.loads(_bytes(path).decode("utf-8-sig"))
        import geopandas  # type: ignore[import-untyped]

        reader = geopandas.read_parquet if path.endswith(".parquet") else geopandas.read_file
        return reader(path)
    except ImportError:
        raise BadArgument(
            f"{what} {path!r} needs geopandas, which is not installed. Pass GeoJSON, or type: "
            "pip install geopandas"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(
            f"{what} {path or text[:40]!r} cannot be read ({error}). Pass a GeoJSON file."
        ) from None


def _bytes(path: str) -> bytes:
    if not is_url(path):
        return Path(path).read_bytes()
    import fsspec

    with fsspec.open(path) as file:
        return bytes(file.read())


def crs_of(layer: Mapping[str, Any], what: str) -> pyproj.CRS:
    """Return the CRS that the coordinates of a GeoJSON object are in."""
    member = layer.get("crs")
    if member is None:
        west, south, east, north = bounds_of(layer, what)
        # longitudes may be counted from 0 to 360
        if max(abs(west), abs(east)) > 360 or max(abs(south), abs(north)) > 90:
            raise BadArgument(
                f"{what} reaches from {west:.10g}, {south:.10g} to {east:.10g}, {north:.10g}, "
                "which are not degrees, and GeoJSON without a crs member is longitude and "
                "latitude. Add 'crs': {'type': 'name', 'properties': {'name': 'EPSG:32632'}}, or "
                "pass a GeoDataFrame with its CRS."
            )
        return pyproj.CRS(_LONLAT)
    properties = member.get("properties") or {} if isinstance(member, Mapping) else {"name": member}
    name: Any = properties.get("name", properties.get("code"))
    try:
        return pyproj.CRS.from_user_input(int(name) if str(name).isdigit() else name)
    except (pyproj.exceptions.CRSError, TypeError):
        raise BadArgument(
            f"{what} has the crs member {member!r}, which names no known CRS. Write "
            "{'type': 'name', 'properties': {'name': 'EPSG:32632'}}, or leave it out for "
            "longitude and latitude."
        ) from None


def bounds_of(layer: Mapping[str, Any], what: str) -> Box:
    """Return west, south, east and north of all coordinates, in their CRS."""
    points = np.array(list(_points(layer)), dtype="float64").reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        raise BadArgument(f"{what} has no coordinates. Pass a geometry that covers some pixels.")
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
    return float(west), float(south), float(east), float(north)


def _points(shape: Any) -> Iterator[tuple[float, float]]:
    """Yield every position of a geometry, a feature or a collection of these."""
    if isinstance(shape, Mapping):
        for part in (*shape.get("features", ()), *shape.get("geometries", ())):
            yield from _points(part)
        yield from _points(shape.get("geometry"))
        yield from _points(shape.get("coordinates"))
    elif isinstance(shape, list | tuple) and shape:
        # a third number of a position is its height
        if all(isinstance(number, int | float | np.number) for number in shape[:2]):
            yield float(shape[0]), float(shape[1])
        else:
            for part in shape:
                yield from _points(part)
