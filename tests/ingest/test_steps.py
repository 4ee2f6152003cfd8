"""Laws of the files of a source: which are found, which step each is, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from affine import Affine

from hmx.errors import BadArgument, CatalogError, HmxError, NotEnoughData, SourceError
from hmx.ingest.ingest import ingest
from hmx.ingest.manifest import find_files
from tests.make.rasters import CORNER, UTM, field, make_catalog, write_tif, write_years

YEARS = [1990, 1995, 2000]
TILED = {"path": "HM_{year}*.tif", "years": YEARS}


def cube(folder: Path, hm: Any, **sources: Any) -> xr.Dataset:
    return xr.open_zarr(ingest(make_catalog(folder, hm=hm, **sources)))


def stack(file: Path, names: list[str] | None = None) -> np.ndarray:
    """One GeoTIFF with a band for each map."""
    maps = np.stack([field(seed=year) for year in YEARS])
    write_tif(file, maps)
    if names:
        with rasterio.open(file, "r+") as there:
            there.descriptions = names
    return maps


def halves(folder: Path, name: str, values: np.ndarray, *, rim: int = 0, shift: float = 0) -> None:
    """Two tiles beside each other that share some columns, in which they may differ."""
    write_tif(folder / f"{name}-0.tif", values[:, : 15 + rim])
    right = values[:, 15:] + np.float32(shift)
    write_tif(folder / f"{name}-1.tif", right, transform=CORNER * Affine.translation(15, 0))


# -- which files a path finds


@pytest.mark.parametrize("name", ["data [v2]", "what?", "v1*", "{x}", "ä b's"])
def test_a_folder_is_no_pattern(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    for year in YEARS:
        halves(folder, f"HM_{year}", field(seed=year))
    ds = cube(folder, {"path": "HM_{year}-*.tif", "years": YEARS})
    np.testing.assert_array_equal(ds["hm"][1], field(seed=1995))


def test_only_a_star_is_a_pattern(tmp_path: Path) -> None:
    for name in ("a[1].tif", "a1.tif", "a?.tif"):
        write_tif(tmp_path / name, field())
    assert find_files(f"{tmp_path}/a[1]*") == (f"{tmp_path}/a[1].tif",)
    assert find_files(f"{tmp_path}/a?*") == (f"{tmp_path}/a?.tif",)
    assert len(find_files(f"{tmp_path}/a*.tif")) == 3
    hm = {"path": "b[0-9]_{year}.tif", "years": [1990]}
    with pytest.raises(SourceError, match=r"Only \* is a pattern: \[, \] and \? are read as they"):
        cube(tmp_path, hm)


def test_a_star_finds_no_sidecar(tmp_path: Path) -> None:
    write_tif(tmp_path / "a.tif", field())
    for end in (".aux.xml", ".ovr", ".msk"):
        (tmp_path / f"a.tif{end}").touch()
    assert find_files(f"{tmp_path}/a*") == (f"{tmp_path}/a.tif",)


# -- tiles of a mosaic


@pytest.mark.parametrize("other", ["_old", "_1995_2000", " (1)"])
def test_two_files_for_one_place_and_time_are_refused_and_named(tmp_path: Path, other: str) -> None:
    write_years(tmp_path, YEARS)
    write_tif(tmp_path / f"HM_1995{other}.tif", field())
    with pytest.raises(SourceError, match=r"2 files for one location and time: .*HM_1995") as error:
        cube(tmp_path, TILED)
    assert f"HM_1995{other}.tif" in str(error.value)
    assert "path: HM_{year}.tif" in str(error.value)


def test_a_tile_within_another_is_a_second_file_for_its_place(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    part = CORNER * Affine.translation(4, 8)
    write_tif(tmp_path / "HM_1995_part.tif", field()[:10, :10], transform=part)
    with pytest.raises(SourceError, match=r"HM_1995\.tif, .*HM_1995_part\.tif"):
        cube(tmp_path, TILED)


@pytest.mark.parametrize("rim", [1, 5])
def test_tiles_may_share_a_rim_that_both_have_alike(tmp_path: Path, rim: int) -> None:
    for year in YEARS:
        halves(tmp_path, f"HM_{year}", field(seed=year), rim=rim)
    np.testing.assert_array_equal(cube(tmp_path, TILED)["hm"][2], field(seed=2000))


def test_what_one_tile_has_not_in_a_shared_rim_the_other_has(tmp_path: Path) -> None:
    for year in YEARS:
        halves(tmp_path, f"HM_{year}", field(seed=year), rim=2)
        left = field(seed=year)[:, :17]
        left[:, 15:] = np.nan
        write_tif(tmp_path / f"HM_{year}-0.tif", left)
    np.testing.assert_array_equal(cube(tmp_path, TILED)["hm"][0], field(seed=1990))


def test_tiles_that_differ_where_they_overlap_are_named_with_the_place(tmp_path: Path) -> None:
    for year in YEARS:
        halves(tmp_path, f"HM_{year}", field(seed=year), rim=3, shift=0.25 * (year == 1995))
    text = (
        r"HM_1995-0\.tif and .*HM_1995-1\.tif both cover 501500, 5396000, 501800, 5400000 .*0\.25"
    )
    with pytest.raises(SourceError, match=text):
        cube(tmp_path, TILED)


@pytest.mark.parametrize("lost", ["0", "1"])
@pytest.mark.parametrize("late", [False, True])
def test_a_lost_tile_is_named_with_its_year_and_place(
    tmp_path: Path, lost: str, late: bool
) -> None:
    """Also where a year is added, and the maps before it are in the cube already."""
    for year in YEARS:
        halves(tmp_path, f"HM_{year}", field(seed=year))
    if late:
        cube(tmp_path, TILED | {"years": YEARS[:2]})
    (tmp_path / f"HM_2000-{lost}.tif").unlink()
    west = {"0": "500000, 5396000, 501500", "1": "501500, 5396000, 503000"}[lost]
    text = rf"hm lacks a tile in 2000 that 19\d\d has, at {west}, 5400000 .*-{lost}\.tif has no"
    with pytest.raises(SourceError, match=text):
        cube(tmp_path, TILED)


def test_years_may_be_cut_into_tiles_of_their_own(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS)
    (tmp_path / "HM_1995.tif").unlink()
    halves(tmp_path, "HM_1995", field(seed=1995))
    np.testing.assert_array_equal(cube(tmp_path, TILED)["hm"][1], field(seed=1995))


# -- bands as steps

BANDS: dict[str, tuple[dict[str, Any], list[str] | None]] = {
    "a list": ({"bands": YEARS}, None),
    "a start": ({"bands": {"start": 1990, "step": 5}}, None),
    "years without a mark": ({"years": YEARS}, None),
    "a run without a mark": ({"years": {"start": 1990, "stop": 2000, "step": 5}}, None),
    "dates": ({"bands": ["1990-01-01", "1995-01-01", "2000-01-01"]}, None),
    "times without a mark": ({"times": ["1990-01-01", "19950101", "2000"]}, None),
    "descriptions": ({"bands": "description"}, ["HM_1990", "HM_1995", "HM_2000"]),
    "descriptions with dates": (
        {"bands": "description"},
        ["1990_01_01_hm", "1995_01_01_hm", "2000_01_01_hm"],
    ),
}


@pytest.mark.parametrize(("how", "names"), BANDS.values(), ids=BANDS)
def test_bands_of_one_file_are_steps(
    tmp_path: Path, how: dict[str, Any], names: list[str] | None
) -> None:
    maps = stack(tmp_path / "stack.tif", names)
    ds = cube(tmp_path, {"path": "stack.tif", **how})
    np.testing.assert_array_equal(ds["hm"], maps)
    assert [str(time)[:10] for time in ds["time"].values] == [f"{year}-01-01" for year in YEARS]


def test_bands_in_any_order_come_in_that_of_time(tmp_path: Path) -> None:
    maps = stack(tmp_path / "stack.tif", ["hm 2000", "hm 1990", "hm 1995"])
    ds = cube(tmp_path, {"path": "stack.tif", "bands": "description"})
    np.testing.assert_array_equal(ds["hm"], maps[[1, 2, 0]])


@pytest.mark.parametrize(("start", "dates"), [
    ("2000-11", ["2000-11-01", "2001-01-01", "2001-03-01"]),
    ("2000-02-27", ["2000-02-27", "2000-02-29", "2000-03-02"]),
    ("2000", ["2000-01-01", "2002-01-01", "2004-01-01"]),
])  # fmt: skip
def test_bands_step_by_the_last_part_of_their_start(
    tmp_path: Path, start: str, dates: list[str]
) -> None:
    stack(tmp_path / "stack.tif")
    ds = cube(tmp_path, {"path": "stack.tif", "bands": {"start": start, "step": 2}})
    assert [str(time)[:10] for time in ds["time"].values] == dates


def test_bands_are_months_of_every_year_if_the_catalog_says_so(tmp_path: Path) -> None:
    maps = np.stack([field(seed=month) for month in range(12)])
    write_tif(tmp_path / "ndvi.tif", maps)
    ds = cube(tmp_path, {"path": "ndvi.tif", "months": list(range(1, 13))})
    np.testing.assert_array_equal(ds["hm"], maps)
    assert ds["time"].values.tolist() == list(range(1, 13))
    assert ds["time"].attrs["long_name"] == "month of year"


def test_bands_of_tiles_and_of_a_covariate_are_steps(tmp_path: Path) -> None:
    maps = stack(tmp_path / "pop.tif")
    write_tif(tmp_path / "HM-0.tif", maps[:, :, :15])
    right = CORNER * Affine.translation(15, 0)
    write_tif(tmp_path / "HM-1.tif", maps[:, :, 15:], transform=right)
    ds = cube(
        tmp_path,
        {"path": "HM-*.tif", "years": YEARS},
        pop={"path": "pop.tif", "bands": [*YEARS]},
    )
    np.testing.assert_array_equal(ds["hm"], maps)
    np.testing.assert_array_equal(ds["pop"], maps)


def test_a_cube_of_bands_is_current_until_a_band_is_another_step(tmp_path: Path) -> None:
    maps = stack(tmp_path / "stack.tif", ["1990", "1995", "2000"])
    how = {"path": "stack.tif", "bands": "description"}
    first = ingest(make_catalog(tmp_path, hm=how))
    written = (first / "zarr.json").stat().st_mtime_ns
    assert ingest(make_catalog(tmp_path, hm={"path": "stack.tif", "years": YEARS})) == first
    assert (first / "zarr.json").stat().st_mtime_ns == written
    turned = {"path": "stack.tif", "years": YEARS[::-1]}
    np.testing.assert_array_equal(cube(tmp_path, turned)["hm"], maps[::-1])
    ingest(make_catalog(tmp_path, hm=turned))
    (tmp_path / "stack.tif").unlink()
    written = (first / "zarr.json").stat().st_mtime_ns
    ingest(make_catalog(tmp_path, hm={"path": "stack.tif", "bands": [2000, 1995, 1990]}))
    assert (first / "zarr.json").stat().st_mtime_ns == written


WRONG: list[tuple[dict[str, Any], type[HmxError], str]] = [
    ({"years": [1990, 1995]}, CatalogError, r"has 3 bands, and the catalog lists 2 steps"),
    ({"bands": "description"}, CatalogError, r"described as 'HM', .* must all differ.*bands: \["),
    ({"bands": "names"}, BadArgument, r"'description'"),
    ({"bands": [1990, "1995-01-01", 2000]}, BadArgument, r"all years, or all dates"),
    ({"bands": [1990, 1990, 2000]}, BadArgument, r"1990 stands twice"),
    ({"bands": ["1990", "1990-01-01", "2000"]}, CatalogError, r"are one date, 1990"),
    ({"bands": ["1/2/1990"] * 3}, BadArgument, r"not an ISO date"),
    ({"bands": YEARS, "variable": "1"}, BadArgument, r"variable: '1' chooses one band"),
    ({"bands": YEARS, "years": YEARS}, BadArgument, r"give one of years, months, times and bands"),
    ({}, CatalogError, r"bands: \{start: 1990, step: 5\}"),
]


@pytest.mark.parametrize(("how", "error", "text"), WRONG, ids=[text for _, _, text in WRONG])
def test_bands_that_are_no_steps_are_told_why(
    tmp_path: Path, how: dict[str, Any], error: type[HmxError], text: str
) -> None:
    stack(tmp_path / "stack.tif", ["HM", "HM", "HM"])
    with pytest.raises(error, match=text):
        cube(tmp_path, {"path": "stack.tif", **how})


def test_a_file_of_bands_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"hm has no file: .*stack\.tif"):
        cube(tmp_path, {"path": "stack.tif", "bands": {"start": 1990, "step": 5}})


# -- times of files


def series(folder: Path, time: Any, **attrs: Any) -> Path:
    maps = np.stack([field(seed=year) for year in YEARS])
    at = {"y": CORNER.f - 100 * (np.arange(40) + 0.5), "x": CORNER.c + 100 * (np.arange(30) + 0.5)}
    data = xr.Dataset({"pop": (("time", "y", "x"), maps)}, {"time": ("time", time, attrs), **at})
    data.rio.write_crs(UTM).to_netcdf(folder / "pop.nc")
    return folder / "pop.nc"


def test_integer_years_of_a_file_meet_the_dates_of_the_others(tmp_path: Path) -> None:
    write_years(tmp_path, YEARS[1:])
    series(tmp_path, YEARS)
    ds = cube(tmp_path, {"path": "HM_{year}.tif", "years": YEARS[1:]}, pop={"path": "pop.nc"})
    np.testing.assert_array_equal(ds["pop"][0], field(seed=1995))


def test_integer_years_do_not_meet_months(tmp_path: Path) -> None:
    series(tmp_path, YEARS)
    for month in ("1990-01", "1990-02"):
        write_tif(tmp_path / f"HM_{month}.tif", field())
    hm = {"path": "HM_{time}.tif", "times": ["1990-01", "1990-02"]}
    with pytest.raises(SourceError, match=r"Integer years and dates match only where each year"):
        cube(tmp_path, hm, pop={"path": "pop.nc"})


def test_dates_of_a_covariate_meet_the_integer_years_of_a_target(tmp_path: Path) -> None:
    series(tmp_path, YEARS)
    write_years(tmp_path, YEARS)
    ds = cube(
        tmp_path,
        {"path": "pop.nc"},
        other={"path": "HM_{year}.tif", "years": YEARS},
    )
    assert ds["time"].values.tolist() == YEARS
    np.testing.assert_array_equal(ds["other"][2], field(seed=2000))


@pytest.mark.parametrize("unit", ["years", "months"])
def test_numbers_since_a_date_are_no_damaged_file(tmp_path: Path, unit: str) -> None:
    file = series(tmp_path, [0, 5, 10], units=f"{unit} since 1990-01-01")
    text = rf"pop\.nc has its time in '{unit} since 1990-01-01'.*decode_times=False"
    with pytest.raises(SourceError, match=text) as error:
        cube(tmp_path, {"path": "pop.nc"})
    assert "get the file again" not in str(error.value)
    line = str(error.value).partition("write the dates: ds = ")[2].partition(". Then")[0]
    import pandas as pd

    ds = eval(line, {"ds": xr.open_dataset(file, decode_times=False), "pd": pd})
    assert str(ds["time"].values[1])[:10] == {"years": "1995-01-01", "months": "1990-06-01"}[unit]


@pytest.mark.parametrize("text", ["01-02-2000", "2000/02/01", "soon"])
def test_a_time_that_is_no_iso_date_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadArgument, match=rf"'{text}' is not an ISO date.*Write '2000-02-01'"):
        make_catalog(tmp_path, hm={"path": "HM_{time}.tif", "times": [text]})


def test_one_step_by_itself_is_told_how_steps_are_written(tmp_path: Path) -> None:
    write_tif(tmp_path / "HM.tif", field())
    with pytest.raises(NotEnoughData, match=r"years: \[1990, 1995, \.\.\.\], or, .* bands:"):
        cube(tmp_path, {"path": "HM.tif"})
