"""Laws of the cube on disk: values, layout, time, and what a run may replace."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
import zarr
from affine import Affine

import hmx.cube.store
import hmx.ingest.ingest
import hmx.ingest.sources
from hmx.catalog import Catalog
from hmx.cube.cube import as_cube
from hmx.cube.store import attributes
from hmx.errors import (
    BadArgument,
    CatalogError,
    GridMismatch,
    HmxError,
    IrregularTime,
    MissingCRS,
    NotEnoughData,
    OutputExists,
    SourceError,
)
from hmx.ingest.ingest import ingest
from hmx.ingest.manifest import is_current
from tests.make.rasters import CORNER, UTM, field, make_catalog, write_tif, write_years

YEARS = [1990, 1995, 2000]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files that are opened as rasters."""
    names: list[str] = []
    real = rasterio.open

    def spy(path: Any, *args: Any, **how: Any) -> Any:
        names.append(Path(str(path)).name)
        return real(path, *args, **how)

    monkeypatch.setattr(rasterio, "open", spy)
    return names


def leftovers(catalog: Catalog) -> list[str]:
    return sorted(path.name for path in Path(catalog.cube.path).parent.glob("*"))


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Assert equal values, coordinates and attributes, but for the stamps of files."""
    xr.testing.assert_equal(one, other)
    for name in one.variables:
        assert one[name].attrs == other[name].attrs
    stamps = {"hmx_fingerprint", "hmx_sources"}
    assert all(one.attrs[k] == other.attrs[k] for k in one.attrs.keys() - stamps)


def test_the_cube_holds_the_rasters_values_times_and_places(tmp_path: Path) -> None:
    maps = write_years(tmp_path, YEARS)
    write_tif(tmp_path / "elevation.tif", (field() * 900).astype("int16"))
    source = {"path": "elevation.tif", "units": "m", "valid_range": [0, 1000]}
    path = ingest(make_catalog(tmp_path, elevation=source))
    ds = xr.open_zarr(path)
    np.testing.assert_array_equal(ds["hm"], maps)
    np.testing.assert_array_equal(ds["elevation"], (field() * 900).astype("int16"))
    assert ds["hm"].dims == ("time", "y", "x")
    assert {v.dtype for v in ds.data_vars.values()} == {np.dtype("float32")}
    assert ds["time"].dtype == "datetime64[ns]"
    assert [str(t)[:10] for t in ds["time"].values] == ["1990-01-01", "1995-01-01", "2000-01-01"]
    np.testing.assert_allclose(ds["x"], CORNER.c + 100 * (np.arange(30) + 0.5))
    np.testing.assert_allclose(ds["y"], CORNER.f - 100 * (np.arange(40) + 0.5))
    assert ds["elevation"].attrs["units"] == "m"
    assert ds["elevation"].attrs["valid_range"] == [0, 1000]


def test_the_cube_says_what_it_is(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    write_tif(tmp_path / "elevation.tif", field())
    for year in YEARS:
        write_tif(tmp_path / f"pop_{year}.tif", field())
    pop = {"path": "pop_{year}.tif", "years": YEARS}
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, elevation={"path": "elevation.tif"}, pop=pop)))
    assert {name: v.attrs["hmx_role"] for name, v in ds.data_vars.items()} == {
        "hm": "target",
        "pop": "dynamic",
        "elevation": "static",
    }
    assert ds.attrs["hmx_status"] == "complete"
    assert ds.attrs["Conventions"] == "CF-1.11"
    assert ds.attrs["title"] == "tiny"
    files = json.loads(ds.attrs["hmx_sources"])["sources"]["hm"]["files"]
    assert [stamp[0] for stamps in files.values() for stamp in stamps] == [
        f"HM_{year}.tif" for year in YEARS
    ]
    inner = as_cube(ds)
    assert (inner.target, inner.dynamic, inner.static) == ("hm", ("pop",), ("elevation",))


@pytest.mark.parametrize("crs", ["EPSG:31976", "ESRI:54009", "EPSG:4326"])
def test_a_plain_open_zarr_has_the_crs(tmp_path: Path, crs: str) -> None:
    corner = Affine(0.01, 0, 10, 0, -0.01, 50) if crs == "EPSG:4326" else CORNER
    for year in YEARS:
        write_tif(tmp_path / f"HM_{year}.tif", field(), crs=crs, transform=corner)
    ds = xr.open_zarr(ingest(make_catalog(tmp_path)))
    assert ds.rio.crs == rasterio.crs.CRS.from_user_input(crs)
    assert ds["hm"].rio.crs == ds.rio.crs
    assert ds["hm"].rio.transform() == corner
    ensure_saved = zarr.open_array(Path(make_catalog(tmp_path).cube.path) / "hm", mode="r").attrs
    assert ensure_saved["grid_mapping"] == ensure_saved["coordinates"] == "spatial_ref"
    assert ds.attrs["proj:code"] == crs
    assert ds.attrs["spatial:transform"] == list(corner)[:6]
    assert "_CRS" not in ds["hm"].attrs  # an object, which NetCDF cannot hold


def test_chunks_hold_all_times_of_512_px_unsharded(tmp_path: Path) -> None:
    for year in YEARS:
        write_tif(tmp_path / f"HM_{year}.tif", field((600, 530), seed=year))
    write_tif(tmp_path / "elevation.tif", field((600, 530)))
    path = ingest(make_catalog(tmp_path, elevation={"path": "elevation.tif"}))
    group = zarr.open_group(path, mode="r")
    assert group["hm"].chunks == (3, 512, 512)
    assert group["elevation"].chunks == (512, 512)
    for name in ("hm", "elevation"):
        assert group[name].shards is None
        assert np.isnan(group[name].fill_value)
    assert group["time"].dtype == "int64"
    np.testing.assert_array_equal(xr.open_zarr(path)["hm"][1], field((600, 530), seed=1995))


def test_the_cube_does_not_depend_on_the_byte_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = [field((600, 1100), seed=year) for year in YEARS]
    for year, values in zip(YEARS, maps, strict=True):
        write_tif(tmp_path / f"HM_{year}.tif", values)
    seen: list[tuple[int, int, str]] = []
    monkeypatch.setattr(hmx.ingest.ingest, "_BLOCK_BYTES", 1)
    path = ingest(make_catalog(tmp_path), progress=lambda *said: seen.append(said))
    assert [done for done, _, _ in seen] == [1, 2, 3, 4, 5, 6]  # 2 x 3 chunks
    assert {(total, text) for _, total, text in seen} == {(6, "ingest: hm")}
    np.testing.assert_array_equal(xr.open_zarr(path)["hm"], maps)


def test_a_cube_round_trips_through_zarr_lazily(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    write_tif(tmp_path / "elevation.tif", field())
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, elevation={"path": "elevation.tif"})))
    for number, cube in enumerate((ds, ds["hm"].assign_coords(elevation=ds["elevation"]))):
        copy = tmp_path / f"copy{number}.zarr"
        cube.to_zarr(copy, zarr_format=3, consolidated=False)
        how: dict[str, Any] = {"engine": "zarr", "chunks": {}, "consolidated": False}
        back = xr.open_dataset(copy, **how) if cube is ds else xr.open_dataarray(copy, **how)
        assert back.chunks
        assert set(back.coords) == set(cube.coords)
        assert back.rio.crs == ds.rio.crs
        xr.testing.assert_equal(back, cube)


def test_months_become_a_climatology_axis(tmp_path: Path) -> None:
    for month in range(1, 13):
        write_tif(tmp_path / f"HM_{month:02d}.tif", field(seed=month))
    hm = {"path": "HM_{month}.tif", "months": {"start": 1, "stop": 12}}
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, hm=hm)))
    np.testing.assert_array_equal(ds["time"], range(1, 13))
    assert ds["time"].attrs["long_name"] == "month of year"
    np.testing.assert_array_equal(ds["hm"][9], field(seed=10))


def test_times_are_parsed_and_sorted(tmp_path: Path) -> None:
    days = ["2020-03-01", "2020-01-01", "2020-02-01"]
    for day in days:
        write_tif(tmp_path / f"HM_{day}.tif", field(seed=int(day[5:7])))
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, hm={"path": "HM_{time}.tif", "times": days})))
    assert [str(t)[:10] for t in ds["time"].values] == sorted(days)
    np.testing.assert_array_equal(ds["hm"][2], field(seed=3))


@pytest.mark.parametrize("wrong", [{"years": [990, 995]}, {"times": ["2020-01-01", "soon"]}])
def test_a_step_that_is_no_date_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    mark = "year" if "years" in wrong else "time"
    text = r"990 in years or times is not a date|'soon' is not an ISO date"
    with pytest.raises((BadArgument, CatalogError), match=text):
        ingest(make_catalog(tmp_path, hm={"path": f"HM_{{{mark}}}.tif", **wrong}))


def save_series(folder: Path, years: list[int], suffix: str) -> Path:
    time = np.array([f"{year}-01-01" for year in years], "datetime64[ns]")
    data = xr.Dataset(
        {"hm": (("time", "lat", "lon"), np.stack([field(seed=year) for year in years]))},
        {"time": time, "lat": 45 + 0.1 * np.arange(40.0), "lon": 9 + 0.1 * np.arange(30.0)},
    )
    data = data.rename(lat="y", lon="x").rio.write_crs("EPSG:4326").rename(y="lat", x="lon")
    path = folder / f"series{suffix}"
    if suffix == ".nc":
        data.to_netcdf(path)
    else:
        data.to_zarr(path, zarr_format=3, consolidated=False)
    return path


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_file_with_its_own_time_axis_is_a_series(tmp_path: Path, suffix: str) -> None:
    save_series(tmp_path, YEARS, suffix)
    hm = {"path": f"series{suffix}", "variable": "hm"}
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, hm=hm)))
    np.testing.assert_array_equal(ds["hm"], [field(seed=year)[::-1] for year in YEARS])
    assert ds["hm"].attrs["hmx_role"] == "target"
    assert ds["time"].dt.year.values.tolist() == YEARS


def test_one_netcdf_per_year_equals_the_geotiffs(tmp_path: Path) -> None:
    maps = write_years(tmp_path, YEARS)
    for year, values in zip(YEARS, maps, strict=True):
        x, y = CORNER.c + 100 * np.arange(0.5, 30), CORNER.f - 100 * np.arange(0.5, 40)
        data = xr.Dataset({"hm": (("y", "x"), values)}, {"y": y, "x": x}).rio.write_crs(UTM)
        data.expand_dims(time=[year]).to_netcdf(tmp_path / f"HM_{year}.nc")
    tif = xr.open_zarr(ingest(make_catalog(tmp_path))).load()
    netcdf = make_catalog(tmp_path, hm={"path": "HM_{year}.nc", "years": YEARS})
    same(xr.open_zarr(ingest(netcdf)), tif)


def test_a_dynamic_source_may_have_more_steps_but_not_fewer(tmp_path: Path) -> None:
    save_series(tmp_path, YEARS, ".nc")
    corner = Affine(0.1, 0, 8.95, 0, -0.1, 48.95)
    for year in (1985, *YEARS):
        write_tif(tmp_path / f"pop_{year}.tif", field(seed=year), crs="EPSG:4326", transform=corner)
    pop = {"path": "pop_{year}.tif", "years": [1985, *YEARS]}
    hm = {"path": "series.nc"}
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, hm=hm, pop=pop)))
    np.testing.assert_array_equal(ds["pop"], [field(seed=year) for year in YEARS])
    assert ds["pop"].attrs["hmx_role"] == "dynamic"
    pop["years"] = [1985, 1990]
    with pytest.raises(SourceError, match=r"pop has no 1995, 2000 \(it has 1985, 1990\)"):
        ingest(make_catalog(tmp_path, hm=hm, pop=pop))


def test_a_file_of_many_times_cannot_stand_for_one(tmp_path: Path) -> None:
    for year in YEARS:
        save_series(tmp_path, YEARS, ".nc").rename(tmp_path / f"HM_{year}.nc")
    with pytest.raises(CatalogError, match=r"HM_1990\.nc holds 3 times, and stands for one"):
        ingest(make_catalog(tmp_path, hm={"path": "HM_{year}.nc", "years": YEARS}))


def test_missing_files_are_all_named_before_anything_is_written(tmp_path: Path) -> None:
    write_years(tmp_path, [1990, 2000])
    catalog = make_catalog(tmp_path, [1985, *YEARS], elevation={"path": "elevation.tif"})
    with pytest.raises(SourceError) as error:
        ingest(catalog)
    first, second = str(error.value).splitlines()
    assert "hm has no file for 1985, 1995:" in first
    assert "HM_1985.tif" in first
    assert "HM_1995.tif" in first
    assert "sources.hm" in first
    assert "elevation has no file: " in second
    assert leftovers(catalog) == []


def test_irregular_years_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_years(tmp_path, [1990, 1995, 2005])
    catalog = make_catalog(tmp_path, [1990, 1995, 2005])
    with pytest.raises(IrregularTime, match="1995-01-01 to 2005-01-01"):
        ingest(catalog)
    assert leftovers(catalog) == []


def test_a_target_without_time_is_refused(tmp_path: Path) -> None:
    write_tif(tmp_path / "hm.tif", field())
    with pytest.raises(NotEnoughData, match=r"'hm' has no time.*hm\.tif.*HM_\{year\}"):
        ingest(make_catalog(tmp_path, hm={"path": "hm.tif"}))


@pytest.mark.parametrize(
    ("odd", "error", "says"),
    [
        ({"crs": "EPSG:32633"}, GridMismatch, "CRS EPSG:32633 is not EPSG:32632"),
        ({"transform": CORNER * Affine.translation(1, 0)}, GridMismatch, "bounds .* are not"),
        ({"values": field((40, 31))}, GridMismatch, r"shape \(40, 31\).* is not \(40, 30\)"),
        ({"crs": None}, MissingCRS, "has no CRS"),
    ],
)
@pytest.mark.parametrize("file", ["HM_1995.tif", "elevation.tif"])
def test_a_raster_on_another_grid_is_named(
    tmp_path: Path, odd: dict[str, Any], error: type[HmxError], says: str, file: str
) -> None:
    write_years(tmp_path, YEARS)
    write_tif(tmp_path / "elevation.tif", field())
    write_tif(tmp_path / file, **{"values": field(), **odd})
    catalog = make_catalog(tmp_path, elevation={"path": "elevation.tif"})
    with pytest.raises(error, match=says) as raised:
        ingest(catalog, progress=lambda *_: pytest.fail("wrote before it checked"))
    assert file in str(raised.value)
    assert leftovers(catalog) == []


def test_a_coarser_covariate_is_aligned_to_the_target(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    coarse = field((8, 6))
    write_tif(tmp_path / "elevation.tif", coarse, transform=CORNER * Affine.scale(5))
    source = {"path": "elevation.tif", "align": "nearest"}
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, elevation=source)))
    np.testing.assert_array_equal(ds["elevation"], np.kron(coarse, np.ones((5, 5))))


def test_a_netcdf_is_aligned_and_leaves_no_scratch(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    x, y = CORNER.c + 500 * np.arange(0.5, 6), CORNER.f - 500 * np.arange(0.5, 8)
    coarse = xr.Dataset({"z": (("y", "x"), field((8, 6)))}, {"y": y, "x": x}).rio.write_crs(UTM)
    coarse.to_netcdf(tmp_path / "z.nc")
    source = {"path": "z.nc", "align": "nearest"}
    path = ingest(make_catalog(tmp_path, elevation=source))
    np.testing.assert_array_equal(
        xr.open_zarr(path)["elevation"], np.kron(field((8, 6)), np.ones((5, 5)))
    )
    assert {p.name for p in path.iterdir()} == {
        *("zarr.json", "hmx_seal", "hm", "elevation", "time", "y", "x", "spatial_ref")
    }


def test_a_glob_of_tiles_equals_the_single_rasters(tmp_path: Path) -> None:
    maps = write_years(tmp_path / "one", YEARS)
    for year, values in zip(YEARS, maps, strict=True):
        for col in (0, 16):
            tile = values[:, col : col + 16]
            at = CORNER * Affine.translation(col, 0)
            write_tif(tmp_path / "tiles" / f"HM_{year}-{col:04d}.tif", tile, transform=at)
    hm = {"path": "tiles/HM_{year}-*.tif", "years": YEARS}
    tiled = xr.open_zarr(ingest(make_catalog(tmp_path, hm=hm)))
    same(tiled, xr.open_zarr(ingest(make_catalog(tmp_path / "one"))))


@pytest.mark.parametrize("lost", [["HM_1995.tif"], [f"HM_{year}.tif" for year in YEARS]])
def test_a_map_without_a_valid_pixel_is_named(tmp_path: Path, lost: list[str]) -> None:
    write_years(tmp_path, YEARS)
    for file in lost:
        write_tif(tmp_path / file, np.full((40, 30), 3.4e38, "float32"))
    hm = {"path": "HM_{year}.tif", "years": YEARS, "valid_range": [0, 1]}
    catalog = make_catalog(tmp_path, hm=hm)
    where = r"1995 \(.*HM_1995\.tif\)" if len(lost) == 1 else r"any file \(.*HM_1990\.tif, \.\.\.\)"
    with pytest.raises(NotEnoughData, match=f"hm has no valid pixel in {where}.*sources.hm"):
        ingest(catalog)
    assert leftovers(catalog) == []


def test_a_truncated_raster_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS, shape=(300, 300))
    torn = tmp_path / "HM_1995.tif"
    torn.write_bytes(torn.read_bytes()[:200_000])
    catalog = make_catalog(tmp_path)
    with pytest.raises(SourceError, match=r"HM_1995\.tif cannot be read"):
        ingest(catalog)
    assert leftovers(catalog) == []
    assert not is_current(catalog)


def stop(done: int, total: int, text: str) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_run_leaves_no_cube_and_the_next_succeeds(tmp_path: Path) -> None:
    maps = write_years(tmp_path, YEARS)
    catalog = make_catalog(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ingest(catalog, progress=stop)
    assert leftovers(catalog) == []
    np.testing.assert_array_equal(xr.open_zarr(ingest(catalog))["hm"], maps)


def test_an_interrupted_rebuild_leaves_the_old_cube(tmp_path: Path) -> None:
    maps = write_years(tmp_path, YEARS)
    catalog = make_catalog(tmp_path)
    ingest(catalog)
    with pytest.raises(KeyboardInterrupt):
        ingest(catalog, overwrite=True, progress=stop)
    np.testing.assert_array_equal(xr.open_zarr(catalog.cube.path)["hm"], maps)
    assert is_current(catalog)


def test_the_draft_of_a_killed_run_says_incomplete_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_years(tmp_path, YEARS)
    catalog = make_catalog(tmp_path)
    monkeypatch.setattr(hmx.cube.store, "discard", lambda folder: None)
    with pytest.raises(KeyboardInterrupt):
        ingest(catalog, progress=stop)
    monkeypatch.undo()
    (draft,) = Path(catalog.cube.path).parent.iterdir()
    assert draft.name == ".tiny.zarr.draft"
    assert attributes(draft / "new")["hmx_status"] == "incomplete"
    ingest(catalog)
    assert leftovers(catalog) == ["tiny.zarr"]


def test_a_swap_that_died_between_its_renames_is_undone(tmp_path: Path) -> None:
    maps = write_years(tmp_path, YEARS)
    path = ingest(make_catalog(tmp_path))
    path.rename(path.with_name(".tiny.zarr.old"))
    said: list[Any] = []
    ingest(make_catalog(tmp_path), progress=lambda *a: said.append(a))
    assert said == []
    np.testing.assert_array_equal(xr.open_zarr(path)["hm"], maps)


def make_foreign(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
        (path / "thesis.txt").write_text("mine")
    else:
        xr.Dataset({"hm": ("x", [1.0])}).to_zarr(path, zarr_format=3, consolidated=False)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder", "zarr"])
@pytest.mark.parametrize("place", ["tiny.zarr", ".tiny.zarr.draft"])
def test_what_hmx_did_not_write_is_never_touched(
    tmp_path: Path, overwrite: bool, kind: str, place: str
) -> None:
    write_years(tmp_path, YEARS)
    foreign = tmp_path / "build" / place
    make_foreign(foreign, kind)
    before = sorted((p, p.stat().st_mtime_ns) for p in (foreign, *foreign.rglob("*")))
    with pytest.raises(OutputExists, match=r"did not write.*Move it away"):
        ingest(make_catalog(tmp_path), overwrite=overwrite)
    assert sorted((p, p.stat().st_mtime_ns) for p in (foreign, *foreign.rglob("*"))) == before


def test_a_current_cube_is_reused_without_opening_a_raster(
    tmp_path: Path, opened: list[str]
) -> None:
    write_years(tmp_path, YEARS)
    catalog = make_catalog(tmp_path)
    assert not is_current(catalog)
    path = ingest(catalog)
    before = path.stat().st_ino
    opened.clear()
    assert is_current(catalog)
    assert ingest(catalog) == path
    assert opened == []
    assert path.stat().st_ino == before


def test_rasters_may_be_archived_once_they_are_in_the_cube(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    ingest(make_catalog(tmp_path))
    for year in YEARS:
        (tmp_path / f"HM_{year}.tif").unlink()
    assert is_current(make_catalog(tmp_path))
    with pytest.raises(SourceError, match="no file for 1990, 1995, 2000"):
        ingest(make_catalog(tmp_path), overwrite=True)
    write_tif(tmp_path / "elevation.tif", field())
    with pytest.raises(SourceError, match="no file for 1990, 1995, 2000"):
        ingest(make_catalog(tmp_path, elevation={"path": "elevation.tif"}))


@pytest.mark.parametrize("change", ["pixels", "options", "sources"])
def test_a_changed_source_rebuilds_the_cube(tmp_path: Path, change: str) -> None:
    maps = write_years(tmp_path, YEARS)
    path = ingest(make_catalog(tmp_path))
    catalog = make_catalog(tmp_path)
    if change == "pixels":
        write_tif(tmp_path / "HM_1995.tif", maps[0])
        os.utime(tmp_path / "HM_1995.tif", (1, 1))  # of the same size, and no newer
        maps[1] = maps[0]
    elif change == "options":
        hm = {"path": "HM_{year}.tif", "years": YEARS, "scale": 2.0}
        catalog, maps = make_catalog(tmp_path, hm=hm), maps * 2
    else:
        write_tif(tmp_path / "elevation.tif", field())
        catalog = make_catalog(tmp_path, elevation={"path": "elevation.tif"})
    assert not is_current(catalog)
    ingest(catalog)
    ds = xr.open_zarr(path)
    np.testing.assert_array_equal(ds["hm"], maps)
    assert ("elevation" in ds) == (change == "sources")
    assert leftovers(catalog) == ["tiny.zarr"]


def with_covariates(folder: Path, years: list[int]) -> Catalog:
    return make_catalog(
        folder,
        years,
        elevation={"path": "elevation.tif", "nodata": -1, "scale": 2, "units": "m"},
        pop={"path": "pop_{year}.tif", "years": years, "scale": 0.5, "valid_range": [0, 100]},
    )


def test_an_added_year_reads_only_the_new_files_and_equals_a_fresh_cube(
    tmp_path: Path, opened: list[str]
) -> None:
    grown = with_covariates(tmp_path, [*YEARS, 2005])
    write_years(tmp_path, [*YEARS, 2005])
    write_tif(tmp_path / "elevation.tif", field() * 1000)
    for year in [*YEARS, 2005]:
        write_tif(tmp_path / f"pop_{year}.tif", field(seed=3 * year) * 300)
    path = ingest(with_covariates(tmp_path, YEARS))
    opened.clear()
    ingest(grown)
    assert set(opened) == {"HM_2005.tif", "pop_2005.tif"}
    assert is_current(grown)
    assert zarr.open_group(path, mode="r")["hm"].chunks == (4, 40, 30)
    appended = xr.open_zarr(path).load()
    fresh = xr.open_zarr(ingest(grown, overwrite=True))
    same(appended, fresh)
    assert leftovers(grown) == ["tiny.zarr"]


def test_a_year_can_be_added_after_the_old_rasters_are_gone(tmp_path: Path) -> None:
    maps = write_years(tmp_path, YEARS)
    ingest(make_catalog(tmp_path))
    for year in YEARS:
        (tmp_path / f"HM_{year}.tif").unlink()
    new = write_years(tmp_path, [2005])
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, [*YEARS, 2005])))
    np.testing.assert_array_equal(ds["hm"], np.concatenate([maps, new]))


def test_a_year_added_before_the_first_rebuilds_the_cube(tmp_path: Path, opened: list[str]) -> None:
    maps = write_years(tmp_path, [1985, *YEARS])
    ingest(make_catalog(tmp_path))
    opened.clear()
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, [1985, *YEARS])))
    assert len(set(opened)) == 4
    np.testing.assert_array_equal(ds["hm"], maps)


def test_an_added_year_must_continue_the_cadence_and_the_grid(tmp_path: Path) -> None:
    maps = write_years(tmp_path, YEARS)
    path = ingest(make_catalog(tmp_path))
    write_tif(tmp_path / "HM_2010.tif", field())
    with pytest.raises(IrregularTime):
        ingest(make_catalog(tmp_path, [*YEARS, 2010]))
    write_tif(tmp_path / "HM_2005.tif", field(), crs="EPSG:32633")
    with pytest.raises(GridMismatch, match=r"HM_2005\.tif"):
        ingest(make_catalog(tmp_path, [*YEARS, 2005]))
    np.testing.assert_array_equal(xr.open_zarr(path)["hm"], maps)


@pytest.mark.parametrize(
    ("place", "pattern", "years", "valid_range"),
    [
        ("amapa", "HM_{year}.tif", list(range(1985, 2016, 5)), [0, 1]),
        ("north_carolina", "HFP_{year}.tif", list(range(2010, 2016)), [0, 50]),
    ],
)
def test_real_rasters_arrive_as_rasterio_reads_them(
    tmp_path: Path,
    real_data: Path,
    place: str,
    pattern: str,
    years: list[int],
    valid_range: list[float],
) -> None:
    folder = real_data / place
    hm = {"path": str(folder / pattern), "years": years, "valid_range": valid_range}
    elevation = {"path": str(folder / "elevation.tif"), "units": "m"}
    ds = xr.open_zarr(ingest(make_catalog(tmp_path, hm=hm, elevation=elevation)))
    for year, read in zip(years, ds["hm"].values, strict=True):
        with rasterio.open(folder / pattern.format(year=year)) as file:
            np.testing.assert_array_equal(read, file.read(1))
            assert ds.rio.crs == file.crs
            assert ds.rio.transform().almost_equals(file.transform)
    with rasterio.open(folder / "elevation.tif") as file:
        np.testing.assert_array_equal(ds["elevation"], file.read(1))
