"""Rings: outer and inner borders of polygons; those that cross themselves are repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hmx.errors import BadArgument
from hmx.zones.features import Feature
from hmx.zones.projecting import Rings


def rings_of(feature: Feature, name: str) -> Rings:
    """Return the closed rings of the polygons of a feature."""
    rings: Rings = []
    for polygon in _polygons(feature.geometry, feature, name):
        for number, positions in enumerate(polygon):
            ring = _ring(positions, name)
            if len(ring) > 3:
                rings.append((ring, number == 0))
    if not rings:
        raise BadArgument(
            f"zone {name!r} (feature {feature.number}) is empty or has fewer than three corners. "
            "Pass polygons that cover some area, or drop it."
        )
    return rings


def _ring(positions: Any, name: str) -> np.ndarray:
    # a third number of a position is its height
    xy = np.array([position[:2] for position in positions], "float64").reshape(-1, 2)
    if not np.isfinite(xy).all():
        raise BadArgument(f"zone {name!r} has a corner that is not a number. Mend or drop it.")
    return xy if len(xy) and (xy[0] == xy[-1]).all() else np.concatenate([xy, xy[:1]])


def _polygons(shape: Mapping[str, Any], feature: Feature, name: str) -> Iterator[Any]:
    kind = shape.get("type")
    if kind == "Polygon":
        yield shape["coordinates"]
    elif kind == "MultiPolygon":
        yield from shape["coordinates"]
    elif kind == "GeometryCollection":
        for part in shape["geometries"]:
            yield from _polygons(part, feature, name)
    else:
        raise BadArgument(
            f"zone {name!r} (feature {feature.number}) is a {kind}, which has no area. Pass "
            "polygons, such as layer.to_crs('EPSG:32632').buffer(100) around points or lines."
        )


def repaired(rings: Rings) -> tuple[Rings, bool]:
    """Return valid rings, and whether those given crossed or overlapped; needs shapely.

    Where shapely is not installed the rings stay as they are.
    """
    try:
        import shapely  # type: ignore[import-untyped]
    except ImportError:
        return rings, False
    outers: list[tuple[np.ndarray, list[np.ndarray]]] = []
    for ring, outer in rings:
        if outer:
            outers.append((ring, []))
        else:
            outers[-1][1].append(ring)
    shapes = [shapely.Polygon(outer, holes) for outer, holes in outers]
    shape = shapely.MultiPolygon(shapes) if len(shapes) > 1 else shapes[0]
    if shape.is_valid:
        return rings, False
    # by structure, because the other method lets parts that overlap cancel out
    whole = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    parts = [part for part in _flat(whole) if part.geom_type == "Polygon" and not part.is_empty]
    return [
        (np.asarray(ring.coords), number == 0)
        for part in parts
        for number, ring in enumerate([part.exterior, *part.interiors])
    ], True


def _flat(shape: Any) -> Iterator[Any]:
    for part in getattr(shape, "geoms", [shape]):
        if hasattr(part, "geoms"):
            yield from _flat(part)
        else:
            yield part
