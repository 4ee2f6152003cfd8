"""Whatever form a cube is stored in, each pixel is read at its place and time, or as missing.

Every pixel carries its own number, so that any flip, shift or mix-up shows.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hmx
from hmx.cube.cube import as_cube
from hmx.ingest.ingest import ingest
from tests.make.rasters import make_catalog

YEARS = [2000, 2005, 2010]
PLACES = {
    "EPSG:32632": Affine(100.0, 0.0, 500_000.0, 0.0, -100.0, 5_400_000.0),
    "EPSG:4326": Affine(0.25, 0.0, 9.0, 0.0, -0.25, 48.0),
}
NAMES = [("y", "x"), ("lat", "lon"), ("latitude", "longitude"), ("northing", "easting")]


@dataclass(frozen=True)
class World:
    """What is true: numbers of pixels, some of them missing, north-up."""

    values: np.ndarray  # (time, y, x), NaN = missing
    crs: str

    @property
    def y(self) -> np.ndarray:
        at = PLACES[self.crs]
        return np.asarray(at.f + at.e * (np.arange(self.values.shape[1]) + 0.5))

    @property
    def x(self) -> np.ndarray:
        at = PLACES[self.crs]
        return np.asarray(at.c + at.a * (np.arange(self.values.shape[2]) + 0.5))


@dataclass(frozen=True)
class Packing:
    """How a value is stored, exactly."""

    dtype: str
    scale: float
    offset: float
    void: float

    def raw(self, values: np.ndarray) -> np.ndarray:
        stored = (values - self.offset) / self.scale
        return np.where(np.isnan(stored), self.void, stored).astype(self.dtype)


worlds = st.builds(
    lambda ny, nx, steps, share, crs, seed: World(_numbered(ny, nx, steps, share, seed), crs),
    st.integers(2, 9),
    st.integers(2, 9),
    st.integers(2, 3),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from(sorted(PLACES)),
    st.integers(0, 99),
)
packings = st.sampled_from(
    [
        Packing("float32", 1.0, 0.0, -9999.0),
        Packing("float32", 1.0, 0.0, float(np.finfo("float32").min)),
        Packing("float64", 1.0, 0.0, 1e20),
        Packing("int16", 1.0, 0.0, -32768),
        Packing("int16", 0.5, 0.0, -1),
        Packing("int32", 0.25, -10.0, -9999),
        Packing("uint16", 0.5, -3.0, 65535),
    ]
)


def _numbered(ny: int, nx: int, steps: int, share: float, seed: int) -> np.ndarray:
    values = np.arange(1.0, steps * ny * nx + 1).reshape(steps, ny, nx)
    lost = np.random.default_rng(seed).random(values.shape) < share
    lost[:, 0, 0] = False  # a map without any data is refused
    return np.where(lost, np.nan, values)


def check_ingested(world: World, folder: Path, source: dict[str, Any]) -> None:
    catalog = make_catalog(folder, hm=source)
    cube = hmx.open_cube(ingest(catalog))
    np.testing.assert_array_equal(cube["hm"].values, world.values.astype("float32"))
    np.testing.assert_allclose(cube["y"], world.y, rtol=1e-7)
    np.testing.assert_allclose(cube["x"], world.x, rtol=1e-7)
    assert cube["time"].dt.year.values.tolist() == YEARS[: len(world.values)]
    assert cube.rio.transform().almost_equals(cube.rio.transform(recalc=True), precision=1e-6)


def check_entered(world: World, data: xr.Dataset | xr.DataArray) -> None:
    cube = as_cube(data, target="hm", static=(), dynamic=())
    values = cube.rules["hm"].clean(cube.data["hm"].values)
    np.testing.assert_array_equal(values, world.values.astype("float32"))
    np.testing.assert_allclose(cube.grid.y, world.y, rtol=1e-7)
    np.testing.assert_allclose(cube.grid.x, world.x, rtol=1e-7)
    assert cube.grid.transform.e < 0 < cube.grid.transform.a
    assert cube.data["time"].dt.year.values.tolist() == YEARS[: len(world.values)]


def write(path: Path, bands: np.ndarray, crs: str, at: Affine, **profile: Any) -> None:
    tags = {key: profile.pop(key) for key in ("scale", "offset", "mask") if key in profile}
    count, ny, nx = bands.shape
    how = {"crs": crs, "transform": at, "dtype": bands.dtype, **profile}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", "GTiff", nx, ny, count, **how) as file,
    ):
        file.write(bands)
        if "scale" in tags:
            file.scales, file.offsets = [tags["scale"]] * count, [tags["offset"]] * count
        if "mask" in tags:
            file.write_mask(tags["mask"])


def cuts(size: int, draw: Any) -> list[tuple[int, int]]:
    """Cut an axis into one run or two, which may overlap by a pixel."""
    if size < 3 or not draw(st.booleans()):
        return [(0, size)]
    at, lap = draw(st.integers(1, size - 2)), draw(st.integers(0, 1))
    return [(0, at + lap), (at, size)]


def write_tiles(
    folder: Path, world: World, packing: Packing, draw: Any
) -> tuple[dict[str, Any], list[str]]:
    """Write the maps as GeoTIFFs, whole or cut; return the source and the names."""
    at, how = PLACES[world.crs], draw(st.sampled_from(["nodata", "catalog", "mask", "alpha"]))
    ny, nx = world.values.shape[1:]
    rows, columns, south_up = cuts(ny, draw), cuts(nx, draw), draw(st.booleans())
    names = []
    for year, values in zip(YEARS, world.values, strict=False):
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(columns):
                part = values[top:bottom, left:right]
                raw, known = packing.raw(part), np.isfinite(part)
                corner = at * Affine.translation(left, top)
                if south_up:
                    raw, known = raw[::-1], known[::-1]
                    corner = corner * Affine.translation(0, len(part)) * Affine.scale(1, -1)
                profile: dict[str, Any] = {"scale": packing.scale, "offset": packing.offset}
                bands = raw[None]
                if how == "nodata":
                    profile["nodata"] = packing.void
                elif how == "mask":
                    profile["mask"] = known
                elif how == "alpha":
                    alpha = np.where(known, np.iinfo("int16").max, 0).astype(packing.dtype)
                    bands = np.stack([raw, alpha])
                    profile["alpha"] = "YES"
                names.append(f"HM_{year}-{i}-{j}.tif")
                write(folder / names[-1], bands, world.crs, corner, **profile)
    source = {"path": "HM_{year}-*.tif", "years": YEARS[: len(world.values)]}
    return source | ({"nodata": packing.void} if how == "catalog" else {}), names


def dataset(world: World, values: np.ndarray, draw: Any) -> xr.Dataset:
    """Put values under any names, in any orientation and order of dims."""
    time = np.array([f"{year}-01-01" for year in YEARS[: len(values)]], "datetime64[ns]")
    coords = {"time": time, "y": world.y, "x": world.x}
    kind = draw(st.sampled_from(["float64", "float32"]))
    coords |= {dim: np.asarray(coords[dim], kind) for dim in ("y", "x")}
    data = xr.Dataset({"hm": (("time", "y", "x"), values)}, coords).rio.write_crs(world.crs)
    if draw(st.booleans()):
        data = data.rio.write_transform(PLACES[world.crs])
    for dim in ("y", "x"):
        if draw(st.booleans()):  # and a transform that was written goes stale
            data = data.isel({dim: slice(None, None, -1)})
    data = data.transpose(*draw(st.permutations(["time", "y", "x"])))
    names = draw(st.sampled_from(NAMES))
    return data.rename({"y": names[0], "x": names[1]})


def save(data: xr.Dataset, folder: Path, form: str) -> Path:
    path = folder / ("a.nc" if form == "netcdf" else "a.zarr")
    if form == "netcdf":
        data.to_netcdf(path)
    else:
        data.to_zarr(path, zarr_format=int(form[-1]), consolidated=False)
    return path


def encode(data: xr.Dataset, packing: Packing, key: str) -> xr.Dataset:
    """Have xarray store values as a packing says."""
    how: dict[str, Any] = {"dtype": packing.dtype, key: np.dtype(packing.dtype).type(packing.void)}
    if (packing.scale, packing.offset) != (1.0, 0.0):
        how |= {"scale_factor": packing.scale, "add_offset": packing.offset}
    data["hm"].encoding |= how
    return data


def opened(path: Path, form: str, **how: Any) -> xr.Dataset:
    if form != "netcdf":
        how |= {"engine": "zarr", "consolidated": False}
    return xr.open_dataset(path, decode_coords="all", **how)


def in_folder(check: Any) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        check(folder)
    finally:
        shutil.rmtree(folder)


def limited(examples: int) -> Any:
    checks: Sequence[HealthCheck] = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks)


@limited(20)
@given(worlds, packings, st.data())
def test_geotiffs_are_read_as_they_were_written(world: World, packing: Packing, data: Any) -> None:
    def check(folder: Path) -> None:
        source, names = write_tiles(folder, world, packing, data.draw)
        check_ingested(world, folder, source)
        with rasterio.open(folder / names[0]) as file:
            declared = file.nodata is not None  # rioxarray knows no mask and no alpha band
        if len(names) == len(world.values) and declared:
            masked = data.draw(st.sampled_from([{"masked": True}, {"mask_and_scale": True}, {}]))
            if masked == {"masked": True} and packing.scale != 1:
                return  # floats beside a scale factor are refused
            maps = [rioxarray.open_rasterio(folder / name, **masked).isel(band=0) for name in names]
            time = xr.DataArray([np.datetime64(f"{y}-01-01", "ns") for y in YEARS], dims="time")
            joined = xr.concat(maps, dim="time").assign_coords(time=time[: len(maps)])
            joined.encoding = maps[0].encoding
            check_entered(world, joined.rename("hm"))

    in_folder(check)


@limited(20)
@given(worlds, packings, st.sampled_from(["netcdf", "zarr2", "zarr3"]), st.data())
def test_netcdf_and_zarr_are_read_as_they_were_written(
    world: World, packing: Packing, form: str, data: Any
) -> None:
    def check(folder: Path) -> None:
        key = data.draw(st.sampled_from(["_FillValue", "missing_value"]))
        path = save(encode(dataset(world, world.values, data.draw), packing, key), folder, form)
        check_ingested(world, folder, {"path": path.name, "variable": "hm"})
        check_entered(world, opened(path, form))
        raw = opened(path, form, mask_and_scale=False)
        if packing.scale == 1 or raw["hm"].dtype.kind != "f":
            check_entered(world, raw)

    in_folder(check)


@limited(40)
@given(worlds, packings, st.data())
def test_arrays_in_memory_are_read_by_what_they_declare(
    world: World, packing: Packing, data: Any
) -> None:
    ds = dataset(world, packing.raw(world.values), data.draw)
    void = packing.void
    key = data.draw(st.sampled_from(["_FillValue", "missing_value", "nodata", "nodatavals"]))
    spelling = data.draw(st.sampled_from([void, [void], f"{void}", np.array([void])]))
    ds["hm"].attrs[key] = spelling
    if packing.scale != 1:
        ds["hm"].attrs |= {"scale_factor": packing.scale, "add_offset": packing.offset}
    check_entered(world, ds)
