"""Features: polygons with their properties, from whatever holds a layer of them.

GeoJSON as an object, a text or a file, GeoDataFrames, and files that GDAL and GeoParquet read.
Points and lines have no area and are refused; so is a choice among several layers of a file
that nobody made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from hmx.cube.geojson import crs_of, is_shapes, layer_of
from hmx.errors import BadArgument, SourceError, did_you_mean
from hmx.files.paths import absolute, is_url
from hmx.zones.cover import Ints

# what the readers of GDAL take beside those of every other part of hmx
_MORE = (".zip", ".kml", ".gml", ".gdb", ".geojsonl", ".geoparquet")
_LAYER = "|layername="  # as QGIS writes the path of a layer
_KEYS = ("name", "Name", "NAME", "zone", "label", "id")
_POSITION = "#"  # id='#' numbers the features


@dataclass(frozen=True)
class Feature:
    """A part of a layer as it was read."""

    number: int  # position in the layer, from 0
    properties: Mapping[str, Any]
    geometry: Mapping[str, Any]  # GeoJSON, in the CRS of the layer

    @property
    def default_name(self) -> str:
        """A name from the usual properties, else from the first text, else the position."""
        properties = self.properties
        keys = [*_KEYS, *(key for key, value in properties.items() if isinstance(value, str))]
        named = next((key for key in keys if not missing(properties.get(key))), None)
        return str(self.number) if named is None else as_name(properties[named])


def is_layer(given: Any) -> bool:
    """Return True for what :func:`read_features` reads, False for rasters."""
    if isinstance(given, str | Path):
        given = str(given).partition(_LAYER)[0]
        return is_shapes(given) or given.lower().rstrip("/").endswith(_MORE)
    return is_shapes(given)


def read_features(given: Any) -> tuple[list[Feature], pyproj.CRS]:
    """Read the features of a layer, and the CRS of their coordinates."""
    layer = layer_of(_one_layer(given), "zones")
    found = layer.get("features")
    listed: Sequence[Mapping[str, Any]] = [layer] if found is None else found
    if not listed:
        raise BadArgument(
            "zones has no features: a layer of zones holds at least one polygon. Pass another file "
            "or layer."
        )
    features = []
    for number, feature in enumerate(listed):
        shape = feature.get("geometry", feature if "type" in feature else None)
        if not isinstance(shape, Mapping) or shape.get("type") == "Feature":
            raise BadArgument(
                f"zones: feature {number} has no geometry. Pass GeoJSON with polygons."
            )
        features.append(Feature(number, feature.get("properties") or {}, shape))
    return features, crs_of(layer, "zones")


def _one_layer(given: Any) -> Any:
    """Choose the layer of a file that may have several: the one named, or the only one."""
    if not isinstance(given, str | Path) or str(given).strip().startswith("{"):
        return given
    text, _, chosen = str(given).partition(_LAYER)
    path = absolute(text)
    if path.lower().endswith((".geojson", ".json", ".parquet")):
        return path
    try:
        import geopandas  # type: ignore[import-untyped]
        import pyogrio
    except ImportError:
        raise BadArgument(
            f"zones {path!r} needs geopandas, which is not installed. Pass GeoJSON, or type: "
            "pip install geopandas"
        ) from None
    if not is_url(path) and not os.path.exists(path):
        raise SourceError(f"zones {path!r} does not exist. Pass the path of a layer of polygons.")
    try:
        if path.lower().endswith(".geoparquet"):
            return geopandas.read_parquet(path)
        layers = pyogrio.list_layers(path)
        names = [str(name) for name, kind in layers if kind is not None]
        if chosen and chosen not in names:
            raise BadArgument(
                f"zones: {path} has no layer {chosen!r} (has: {', '.join(names)})."
                f"{did_you_mean(chosen, names)} Pass '{text}{_LAYER}{names[-1] if names else ''}'."
            )
        flat = [str(n) for n, kind in layers if kind and ("Polygon" in kind or kind == "Unknown")]
        if not chosen and len(names) > 1 and len(flat) != 1:
            raise BadArgument(
                f"zones: {path} has {len(names)} layers ({', '.join(names)}), and "
                f"{len(flat) or 'none'} of them hold polygons. Name the one that is meant: "
                f"'{text}{_LAYER}{(flat or names)[-1]}'."
            )
        only = flat[0] if len(names) > 1 else None
        return geopandas.read_file(path, layer=chosen or only)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, BadArgument):
            raise
        raise SourceError(
            f"zones {path!r} cannot be read ({error}). Pass a layer of polygons."
        ) from None


def names_of(features: Sequence[Feature], column: str | None) -> tuple[str, ...]:
    """Name the zones by a property, else by the usual ones; names are unique."""
    if column is None:
        names = [feature.default_name for feature in features]
    elif column == _POSITION:
        return tuple(str(feature.number) for feature in features)
    else:
        names = _column(features, column)
    first: dict[str, int] = {}
    for feature, name in zip(features, names, strict=True):
        if name in first:
            raise BadArgument(
                f"zones: features {first[name]} and {feature.number} are both named {name!r}"
                f"{'' if column is None else f' by id={column!r}'}, and a zone has a name of its "
                f"own. {_instead(features)}; by= then adds up the zones of one value."
            )
        first[name] = feature.number
    return tuple(names)


def _column(features: Sequence[Feature], column: str) -> list[str]:
    known = columns_of([feature.properties for feature in features])
    if column not in known:
        raise BadArgument(
            f"id={column!r} is not a property of the zones (has: {', '.join(known) or 'none'})."
            f"{did_you_mean(column, known)} Pass one of them, or id='{_POSITION}' for numbers."
        )
    for feature in features:
        if missing(feature.properties.get(column)):
            raise BadArgument(
                f"zones: feature {feature.number} has no value of id={column!r}, and each zone "
                f"needs a name. {_instead(features)}."
            )
    return [as_name(feature.properties[column]) for feature in features]


def _instead(features: Sequence[Feature]) -> str:
    """Propose a property whose values are there and differ."""
    for key in columns_of([feature.properties for feature in features]):
        values = [feature.properties.get(key) for feature in features]
        texts = {as_name(value) for value in values if not missing(value)}
        if len(texts) == len(features) and all(isinstance(v, str | int) for v in values):
            return f"Pass id={key!r}, whose values differ"
    return f"No property has a value of its own for each: pass id='{_POSITION}', which numbers them"


def columns_of(properties: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the properties that some zone has, in the order of the layer."""
    return list(dict.fromkeys(str(key) for each in properties for key in each))


def as_name(value: Any) -> str:
    """Write a value as a name; whole numbers without a decimal point."""
    # a column of whole numbers with gaps is read as floats
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def missing(value: Any) -> bool:
    """Return True for a property without a value."""
    # NaN, NaT and NA are not equal to themselves
    return value is None or value == "" or bool(value != value)


@dataclass(frozen=True)
class Groups:
    """Groups of the zones of a layer, in the order in which the layer names them."""

    names: tuple[str, ...]
    members: tuple[Ints, ...]  # numbers of the zones of each group

    def matrix(self, zones: int) -> np.ndarray:
        """Return 1 where a zone is in a group, else 0, shape (groups, zones)."""
        found = np.zeros((len(self.names), zones), np.int64)
        for row, members in enumerate(self.members):
            found[row, members] = 1
        return found


def groups_of(properties: Sequence[Mapping[str, object]], by: str) -> Groups:
    """Group zones by a property; those without a value are a group of their own.

    Zones of a group may overlap, and then a total counts the pixels of both twice.
    """
    known = columns_of(properties)
    if by not in known:
        raise BadArgument(
            f"by={by!r} is not a property of the zones (has: {', '.join(known) or 'none'})."
            f"{did_you_mean(by, known)} Pass one of them."
        )
    found: dict[str, list[int]] = {}
    for number, each in enumerate(properties):
        value = each.get(by)
        found.setdefault(f"no {by}" if missing(value) else as_name(value), []).append(number)
    return Groups(tuple(found), tuple(np.array(each, np.int64) for each in found.values()))
