"""Grids and layers of zones in one line."""

import json

import numpy as np
import pyproj
import shapely
from affine import Affine

from hmx.cube.grid import Grid
from hmx.windows import Window


def grid_of(shape, *, pixel=30.0, corner=(500_000.0, 5_300_000.0), crs="EPSG:32632"):
    """A north-up grid."""
    at = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    return Grid(pyproj.CRS.from_user_input(crs), at, shape)


def degrees(pixel, west=-180.0, *, north=90.0, rows=None):
    """A grid round the globe."""
    shape = (rows or round(180 / pixel), round(360 / pixel))
    return grid_of(shape, pixel=pixel, corner=(west, north), crs="EPSG:4326")


def layer_of(shapes, crs="EPSG:32632", **properties):
    """GeoJSON of named geometries; other properties are lists."""
    features = [
        {
            "type": "Feature",
            "properties": {"name": name} | {key: v[n] for key, v in properties.items()},
            "geometry": json.loads(shapely.to_geojson(shape)),
        }
        for n, (name, shape) in enumerate(shapes.items())
    ]
    member = {"type": "name", "properties": {"name": crs}}
    return {"type": "FeatureCollection", "crs": member, "features": features}


def shares(layer, window=None):
    """Share of each pixel that each zone covers, (zone, y, x)."""
    window = window or Window.of(layer.grid.shape)
    cover = layer.cover(window)
    assert (
        np.diff(cover.zone.astype(np.int64) * 10**9 + cover.pixel) > 0
    ).all()  # sorted, each pixel once
    found = np.zeros((len(layer), window.shape[0] * window.shape[1]))
    found[cover.zone, cover.pixel] = cover.share
    return found.reshape(len(layer), *window.shape)
