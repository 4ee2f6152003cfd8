"""Folders of rasters as strangers have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from affine import Affine

from tests.make.rasters import CORNER, UTM, field, write_tif

YEARS = [1990, 1995, 2000, 2005, 2010, 2015, 2020]
SHAPE = (40, 30)


def _put(folder: Path, name: str, values: np.ndarray, **profile: object) -> None:
    write_tif(folder / name, values.astype("float32"), **profile)


def mixed_nodata(folder: Path) -> Path:
    """A series whose files declare other nodata, or none, next to an elevation without it."""
    nodata = [-9999.0, 255.0, None, float("nan"), -3.4028234663852886e38, None, -9999.0]
    for year, code in zip(YEARS, nodata, strict=True):
        values = field(SHAPE, seed=year)
        values[:6] = -9999.0 if code is None else code
        _put(folder, f"HM_{year}.tif", values, nodata=code)
    height = 900 * field(SHAPE, seed=1)
    height[:3] = -32768
    write_tif(folder / "elevation.tif", height.astype("int16"))
    return folder


def mixed_grids(folder: Path) -> Path:
    """A series, a coarse and a fine covariate, one in degrees, one elsewhere, one of classes."""
    for year in YEARS:
        _put(folder, f"hm{year}.tif", field(SHAPE, seed=year))
        _put(folder / "pop", f"population_{year}.tif", 1e4 * field((8, 6), seed=year),
             transform=Affine(500, 0, 500_000, 0, -500, 5_400_000))  # fmt: skip
    _put(folder, "slope.tif", 40 * field((160, 120)), transform=CORNER @ Affine.scale(0.25))
    _put(folder, "roads_deg.tif", field((60, 60)), crs="EPSG:4326",
         transform=Affine(0.001, 0, 8.99, 0, -0.001, 48.77))  # fmt: skip
    _put(folder, "far.tif", field(SHAPE), transform=CORNER @ Affine.translation(9999, 0))
    codes = np.random.default_rng(0).choice([11, 112, 311, 512], (160, 120)).astype("int16")
    write_tif(folder / "landcover.tif", codes, transform=CORNER @ Affine.scale(0.25))
    return folder


def bands(folder: Path) -> Path:
    """A stack of years in bands, one of months, and images of three bands for each year."""
    maps = np.stack([field(SHAPE, seed=year) for year in YEARS])
    write_tif(folder / "HM_1990_2020.tif", maps)
    write_tif(folder / "rain.tif", np.stack([field(SHAPE, seed=m) for m in range(12)]))
    for year in YEARS:
        image = write_tif(folder / f"landsat_{year}.tif", maps[:3] + year / 1e4)
        with rasterio.open(image, "r+") as file:
            file.descriptions = ("red", "nir", "swir 1")
    return folder


def dates(folder: Path) -> Path:
    """Dates that are not ISO, an irregular year, a stray name, a file without a CRS."""
    for month in range(1, 13):
        _put(folder, f"ndvi_2001_{month:02d}.tif", field(SHAPE, seed=month))
    for year in [*YEARS, 2017]:
        _put(folder, f"hm_{year}.tif", field(SHAPE, seed=year))
    _put(folder, "hm_2010_old.tif", field(SHAPE, seed=9))
    _put(folder, "slope.tif", field(SHAPE), crs=None)
    return folder


def tiles(folder: Path) -> Path:
    """A mosaic of two tiles for each year, as Earth Engine exports them."""
    for year in YEARS:
        for at in (0, 30):
            _put(folder, f"HM_{year}-0000000000-{at:010d}.tif", field(SHAPE, seed=year + at),
                 transform=CORNER @ Affine.translation(at, 0))  # fmt: skip
    return folder


def arrays(folder: Path) -> Path:
    """A NetCDF file with a time axis of its own and a map without time."""
    y, x = CORNER.f - 100 * (np.arange(40) + 0.5), CORNER.c + 100 * (np.arange(30) + 0.5)
    time = np.array([f"{year}-01-01" for year in YEARS], "datetime64[ns]")
    maps = np.stack([field(SHAPE, seed=year) for year in YEARS])
    ds = xr.Dataset(
        {"hm": (("time", "y", "x"), maps), "slope": (("y", "x"), field(SHAPE))},
        coords={"time": time, "y": y, "x": x},
    ).rio.write_crs(UTM)
    folder.mkdir(parents=True, exist_ok=True)
    ds.to_netcdf(folder / "series.nc")
    return folder


def samples(folder: Path, *, dated: bool, undeclared: bool = False) -> Path:
    """Yearly covariates, a month of each, and a table of samples with coordinates of its own."""
    rng = np.random.default_rng(0)
    for year in range(2015, 2019):
        _put(folder, f"ndvi_{year}.tif", field(SHAPE, seed=year))
        _put(folder, f"lst_{year}.tif", 20 + field(SHAPE, seed=-year % 99))
    for month in range(1, 13):
        _put(folder, f"rain_{month}.tif", 90 * field(SHAPE, seed=month))
    _put(folder, "soc_old.tif", field(SHAPE))
    n = 80
    x, y = 500_000 + rng.uniform(200, 2800, n), 5_400_000 - rng.uniform(200, 3800, n)
    value = np.exp(rng.normal(3, 0.5, n)).round(2)
    if undeclared:
        value[:4] = -999
    rows = ["profile_id;easting;northing;clay;soc" + ";date" * dated]
    rows += [
        f"P{i};{x[i]:.1f};{y[i]:.1f};{20 + i % 9};{value[i]}" + f";{2015 + i % 4}" * dated
        for i in range(n)
    ]
    (folder / "soil.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def unknown(folder: Path) -> Path:
    """A stack of seven bands without dates."""
    write_tif(folder / "stack.tif", np.stack([field(SHAPE, seed=s) for s in range(7)]))
    return folder
