"""STAC: a collection of the exported files, with an item for each step of time.

STAC 1.1 with the extensions ``proj`` 2.0, ``raster`` 2.0 and ``forecast`` 0.2. Layers without a
date, such as the quality of a forecast, are assets of the collection. Links are relative: the
folder can be moved, and served as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr

from hmx.cube.dates import time_label
from hmx.cube.grid import Grid
from hmx.errors import BadArgument, OutputExists
from hmx.exports.layers import ExportLayer, Written, span_of
from hmx.files.durable import Folder
from hmx.files.jsontext import as_json
from hmx.progress import Progress

if TYPE_CHECKING:
    import pystac

COLLECTION = "collection.json"
_MARK = "hmx:export"  # member of every document of ours
_EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/v{version}/schema.json"
    for name, version in (("projection", "2.0.0"), ("raster", "2.0.0"), ("forecast", "0.2.0"))
}
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def wanted(asked: bool | None, progress: Progress) -> bool:
    """Return whether a collection is written; raise if it is asked for and cannot be."""
    installed = find_spec("pystac") is not None
    if asked and not installed:
        raise BadArgument(
            "stac=True needs pystac, which is not installed. Type pip install 'hmx[stac]', or "
            "leave it out."
        )
    if asked is None and not installed:
        progress.note("export: no STAC collection, for pystac is not installed (hmx[stac])")
    return installed if asked is None else asked


def require_ours(folder: Path) -> None:
    """Raise :class:`OutputExists` if another collection is in the folder."""
    path = folder / COLLECTION
    if not path.exists():
        return
    try:
        ours = _MARK in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise OutputExists(
            f"{path} is not a collection that hmx exported, so it is left alone. Choose another "
            "folder, or leave STAC out: --no-stac."
        )


def write(
    written: Sequence[Written], folder: Path, work: Path, *, grid: Grid, data: xr.Dataset
) -> None:
    """Write the collection and its items, each file whole; the collection last."""
    import pystac

    steps: dict[str, list[Written]] = {}
    timeless: list[Written] = []
    for each in written:
        if each.layer.dates is None:
            timeless.append(each)
        else:
            label = time_label(each.layer.plane["time"].values[()]).replace(":", "")
            steps.setdefault(label.removesuffix("-01-01"), []).append(each)
    items = [
        _item(f"{folder.name}_{label}", members, grid, data) for label, members in steps.items()
    ]
    used = _extensions(data, timeless) if timeless else [_EXTENSIONS["projection"]]
    box = grid_degrees(grid)
    spans = [each.layer.dates for each in written if each.layer.dates is not None]
    interval: list[datetime | None] = [None, None]
    if spans:
        interval = [_when(min(begin for begin, _ in spans)), _when(max(end for _, end in spans))]
    collection = pystac.Collection(
        id=folder.name,
        title=str(data.attrs.get("title", folder.name)),
        description=_about(data),
        extent=pystac.Extent(pystac.SpatialExtent([list(box)]), pystac.TemporalExtent([interval])),
        license="other",
        stac_extensions=used,
        extra_fields={_MARK: "collection"},
        catalog_type=pystac.CatalogType.SELF_CONTAINED,
    )
    for each in timeless:
        collection.add_asset(each.path.stem, _asset(each, grid, where=True))
    _save(collection, items, folder, work)


def _save(
    collection: pystac.Collection, items: Sequence[pystac.Item], folder: Path, work: Path
) -> None:
    """Write documents with relative links, each whole in the work folder first."""
    files = Folder(str(work))
    for item in items:
        collection.add_item(item)
    # after that: pystac would move the files of an item, which it thinks are in a folder of its own
    collection.set_self_href(str(folder / COLLECTION))
    for item in items:
        item.set_self_href(str(folder / f"{item.id}.json"))
    for item in items:
        files.write(f"{item.id}.json", _text(item.to_dict(include_self_link=False)))
    files.write(COLLECTION, _text(collection.to_dict(include_self_link=False)))
    for name in (*(f"{item.id}.json" for item in items), COLLECTION):
        (work / name).replace(folder / name)


def _text(document: dict[str, Any]) -> bytes:
    return (as_json(document, indent=2) + "\n").encode()


def _item(name: str, members: Sequence[Written], grid: Grid, data: xr.Dataset) -> pystac.Item:
    """Describe the files of one step."""
    import pystac

    first = members[0].layer
    begin, end = first.dates or ("", "")
    west, south, east, north = grid_degrees(grid)
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(
        id=name,
        geometry={"type": "Polygon", "coordinates": [corners]},
        bbox=[west, south, east, north],
        datetime=_when(begin),
        start_datetime=_when(begin),
        end_datetime=_when(end),
        properties={**_location(grid), **_forecast(first)},
        stac_extensions=_extensions(data, members),
    )
    for each in members:
        item.add_asset(each.path.stem, _asset(each, grid))
    return item


def _extensions(data: xr.Dataset, members: Sequence[Written]) -> list[str]:
    names = ["projection", "raster"]
    if any(_forecast(each.layer) for each in members):
        names.append("forecast")
    return [_EXTENSIONS[name] for name in names]


def _asset(each: Written, grid: Grid, *, where: bool = False) -> pystac.Asset:
    """Describe one file: its band, values and statistics."""
    import pystac

    layer, own = each.layer, each.statistics
    band: dict[str, Any] = {
        "name": str(layer.plane.name),
        "description": layer.description,
        "data_type": str(layer.plane.dtype),
        "raster:sampling": "area",
        "raster:spatial_resolution": float(f"{np.mean(grid.pixel_size_m):.6g}"),
    }
    if layer.units is not None:
        band["unit"] = layer.units
    if layer.nodata is not None:
        band["nodata"] = "nan" if math.isnan(layer.nodata) else layer.nodata
    if own.count:
        band["statistics"] = {
            "minimum": own.low,
            "maximum": own.high,
            "mean": own.mean,
            "stddev": own.deviation,
            "count": own.count,
            "valid_percent": own.valid_percent,
        }
    return pystac.Asset(
        href=f"./{each.path.name}",
        title=layer.description,
        media_type=_COG,
        roles=["data"],
        extra_fields={"bands": [band], **(_location(grid) if where else {})},
    )


def _location(grid: Grid) -> dict[str, Any]:
    """Return the members of the extension ``proj``."""
    authority = grid.crs.to_authority()
    return {
        "proj:code": ":".join(authority) if authority else None,
        **({} if authority else {"proj:wkt2": grid.crs.to_wkt()}),
        "proj:shape": list(grid.shape),
        "proj:transform": list(grid.transform)[:6],
        "proj:bbox": list(grid.bounds),
    }


def _forecast(layer: ExportLayer) -> dict[str, Any]:
    """Return the members of the extension ``forecast``: reference time and horizon."""
    plane = layer.plane
    if not {"forecast_reference_time", "time"} <= set(plane.coords):
        return {}
    reference = span_of(plane["forecast_reference_time"].values[()], None)
    if reference is None or layer.dates is None:
        return {}
    start, ahead = _when(reference[0]), _when(layer.dates[0])
    years, months = divmod((ahead.year - start.year) * 12 + ahead.month - start.month, 12)
    horizon = f"P{(ahead - start).days}D"
    if (ahead.day, ahead.time()) == (start.day, start.time()):  # whole months
        horizon = "P" + (f"{years}Y" if years else "") + (f"{months}M" if months else "")
    return {"forecast:reference_datetime": reference[0], "forecast:horizon": horizon}


def _when(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _about(data: xr.Dataset) -> str:
    """Describe the product in a sentence."""
    names = ", ".join(str(name) for name, v in data.data_vars.items() if v.ndim >= 2)
    kind = "forecast" if "forecast_reference_time" in data.coords else "maps"
    return f"{data.attrs.get('title', 'hmx')!s}: {kind} of {names}, exported by hmx."


def grid_degrees(grid: Grid) -> tuple[float, float, float, float]:
    """Return the bounds of a grid in degrees: west, south, east, north."""
    if grid.crs.is_geographic:
        west, south, east, north = grid.bounds
    else:
        to_degrees = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
        west, south, east, north = to_degrees.transform_bounds(*grid.bounds, densify_pts=21)
    rounded = [round(float(edge), 7) for edge in (west, south, east, north)]
    return rounded[0], max(-90.0, rounded[1]), rounded[2], min(90.0, rounded[3])
