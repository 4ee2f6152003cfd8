"""A land with soil samples: points, options of a fit of seconds, and a catalog of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import yaml

from tests.make.cubes import write_raster
from tests.make.mapworlds import make_covariates

UTM = "EPSG:32632"
TINY_NETWORK: dict[str, Any] = {"window": 3, "widths": (4, 6), "hidden": 4}
TINY_FIT: dict[str, Any] = {"runs": 2, "epochs": 2, "batch": 32, "inner": 2, "device": "cpu"}
TINY_SPLIT: dict[str, Any] = {"method": "blocks", "block_km": 2, "folds": 3}
TINY: dict[str, Any] = {**TINY_NETWORK, **TINY_FIT, "split": TINY_SPLIT}


def make_points(ds: xr.Dataset, n: int = 90, *, seed: int = 0) -> pd.DataFrame:
    """Samples at pixels' centres; soil carbon follows the last step of lst and elevation."""
    rng = np.random.default_rng(seed)
    row, column = rng.integers(ds.sizes["y"], size=n), rng.integers(ds.sizes["x"], size=n)
    at = {"y": xr.DataArray(row), "x": xr.DataArray(column)}
    lst, height = ds["lst"].isel(time=-1, **at).values, ds["elevation"].isel(**at).values
    soc = np.exp(1 + 0.05 * (lst - 280) + 0.001 * (height - 600) + 0.1 * rng.normal(size=n))
    return pd.DataFrame(
        {
            "x": ds["x"].values[column],
            "y": ds["y"].values[row],
            "soc": np.nan_to_num(soc, nan=3.0).round(4),
            "year": rng.integers(2012, 2015, size=n),
            "region": np.where(column < ds.sizes["x"] // 2, "west", "east"),
        }
    )


def write_map_catalog(
    folder: Path, ds: xr.Dataset | None = None, table: pd.DataFrame | None = None, **sections: Any
) -> Path:
    """Rasters of covariates, a CSV of points and a catalog that trains in seconds."""
    ds = make_covariates((32, 36)) if ds is None else ds
    table = make_points(ds) if table is None else table
    months = ds["time"].values.dtype.kind in "iu"
    labels = [int(str(label)[:4]) for label in ds["time"].values]
    sources: dict[str, Any] = {}
    for name, variable in ds.data_vars.items():
        how = {"nodata": np.nan, "pixel": 250.0}
        if "time" in variable.dims:
            for label, plane in zip(labels, variable.values, strict=True):
                write_raster(folder / f"{name}_{label:02d}.tif", plane, **how)
            axis = "month" if months else "year"
            sources[name] = {"path": f"{name}_{{{axis}}}.tif", f"{axis}s": labels}
        else:
            write_raster(folder / f"{name}.tif", variable.values, **how)
            sources[name] = {"path": f"{name}.tif"}
    table.to_csv(folder / "points.csv", index=False)
    catalog: dict[str, Any] = {
        "hmx": 1,
        "name": "soils",
        "cube": {"path": "soils.zarr", "sources": sources},
        "points": {"path": "points.csv", "crs": UTM, "units": "g/kg"},
        "model": {**TINY_NETWORK, "widths": list(TINY_NETWORK["widths"])},
        "train": {**TINY_FIT, "split": TINY_SPLIT},
        "map": {"level": [80], "tile": 16},
    }
    for section, values in sections.items():
        catalog[section] = {**catalog.get(section, {}), **values}
    path = folder / "soils.yaml"
    path.write_text(yaml.safe_dump(catalog, sort_keys=False), encoding="utf-8")
    return path
