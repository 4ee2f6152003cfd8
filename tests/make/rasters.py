"""Tiny rasters, and catalogs that name them."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from hmx.catalog import Catalog
from hmx.settings import parse

UTM = "EPSG:32632"
CORNER = Affine(100.0, 0.0, 500_000.0, 0.0, -100.0, 5_400_000.0)


def field(shape: tuple[int, int] = (40, 30), *, seed: int = 0) -> np.ndarray:
    """Draw values between 0 and 1, float32."""
    return np.random.default_rng(seed).random(shape, dtype="float32")


def write_tif(path: Path, values: np.ndarray, **profile: Any) -> Path:
    """Write bands or one band; crs, transform, nodata ... as in rasterio."""
    bands = values[None] if values.ndim == 2 else values
    how = {"crs": UTM, "transform": CORNER, "dtype": bands.dtype, **profile}
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    with rasterio.open(path, "w", "GTiff", width, height, count, **how) as file:
        file.write(bands)
    return path


def write_years(folder: Path, years: list[int], *, shape: tuple[int, int] = (40, 30)) -> np.ndarray:
    """Write HM_{year}.tif and give the values, shape (year, y, x)."""
    maps = np.stack([field(shape, seed=year) for year in years])
    for year, values in zip(years, maps, strict=True):
        write_tif(folder / f"HM_{year}.tif", values)
    return maps


def make_catalog(folder: Path, years: Any = None, *, hm: Any = None, **sources: Any) -> Catalog:
    """Write a catalog in memory: HM_{year}.tif by default, and other sources."""
    target = {"path": "HM_{year}.tif", "years": years or [1990, 1995, 2000]} if hm is None else hm
    raw = {
        "name": "tiny",
        "cube": {"path": "build/tiny.zarr", "sources": {"hm": target, **sources}},
    }
    return parse(Catalog, raw, context={"base": str(folder)})
