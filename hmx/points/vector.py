"""Tables of vector files, through GDAL (pyogrio): which layer is taken is chosen or named."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from hmx.errors import SourceError, did_you_mean
from hmx.points.options import PointsOptions
from hmx.points.tabular import Table, coordinates, crs_of

_MAY_HOLD_POINTS = ("Point", "MultiPoint", "Unknown", "GeometryCollection")


def read_vector(path: str, name: str, how: PointsOptions) -> Table:
    """Read a layer of a vector file.

    Parameters
    ----------
    path : str
        Path or URL that GDAL opens.
    name : str
        What messages call it.
    how : PointsOptions
        Layer and encoding.

    Raises
    ------
    SourceError
        If it cannot be read, or holds several layers of points and none is chosen.
    BadArgument
        If its geometries are no points.
    """
    try:
        import pyogrio
        from pyogrio.errors import DataLayerError, DataSourceError
    except ImportError:
        raise SourceError(
            f"reading {name} needs pyogrio, which is not installed. Type pip install pyogrio, or "
            "save the points as CSV."
        ) from None
    try:
        with warnings.catch_warnings():  # which layer is read is decided and named here
            warnings.simplefilter("ignore")
            layer, found = _layer(pyogrio.list_layers(path), path, name, how.layer)
            meta, _, geometry, fields = pyogrio.raw.read(
                path, layer=layer, force_2d=True, encoding=how.encoding
            )
    except SourceError:
        raise
    except (DataSourceError, DataLayerError, LookupError, UnicodeDecodeError) as error:
        raise SourceError(
            f"points cannot be read from {path!r} ({error}). Pass the path of a vector file or a "
            "CSV, and layer=... if it has several."
        ) from error
    columns = pd.DataFrame(dict(zip(meta["fields"], fields, strict=True)))
    if geometry is None:  # a table without geometry
        return Table(name, columns, found=found)
    xy = coordinates(geometry, name, str(meta["geometry_type"]))
    return Table(name, columns, xy, crs_of(meta["crs"]), found)


def _layer(
    listed: np.ndarray, path: str, name: str, chosen: str | None
) -> tuple[str | None, tuple[str, ...]]:
    """Choose the layer: the one asked for, the only one, or the only one with points."""
    names = [str(layer) for layer, _ in listed]
    if chosen is not None:
        if chosen not in names:
            raise SourceError(
                f"points cannot be read from {path!r}: it has no layer {chosen!r} (has: "
                f"{', '.join(names)}).{did_you_mean(chosen, names)} Pass layer=... with one of "
                "them; in a catalog, points.layer."
            )
        return chosen, ()
    if len(names) < 2:
        return None, ()
    dotted = [str(layer) for layer, kind in listed if _points(kind)]
    if len(dotted) == 1:
        return dotted[0], (f"its only layer of points, {dotted[0]!r} of {len(names)}",)
    what = "layers of points" if dotted else "layers, none of them of points"
    choice = dotted or names
    raise SourceError(
        f"{name} holds {len(choice)} {what}: {', '.join(choice)}. Name the one that is meant: "
        f"layer={choice[-1]!r}; in a catalog, points.layer: {choice[-1]}."
    )


def _points(kind: Any) -> bool:
    return kind is not None and str(kind).split(" ")[0] in _MAY_HOLD_POINTS
