"""Laws of the GeoTIFFs: every GIS reads the same numbers, in the same place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

import hmx
from hmx.errors import CubeError, MissingCRS, OutputExists, SourceError
from hmx.exports import cog
from hmx.exports.cog import export_cog
from hmx.mapping.api import map_to_zarr, soc_map
from tests.make.cubes import make_cube
from tests.make.mapworlds import make_covariates, make_mapper


@pytest.fixture(scope="module")
def soc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a map of a calendar, with an interval."""
    folder = tmp_path_factory.mktemp("soc")
    make_covariates(years=5).to_zarr(folder / "c.zarr", zarr_format=3, consolidated=False)
    ds = hmx.open_cube(folder / "c.zarr")
    mapper = make_mapper(ds, calibrated=True, history=3)
    map_to_zarr(ds, folder / "soc.zarr", model=mapper, level=90, year=2014)
    return folder / "soc.zarr"


def test_a_map_becomes_a_file_for_each_variable(soc: Path, tmp_path: Path) -> None:
    paths = export_cog(soc, tmp_path / "cog", stac=False)
    names = ["quality", "soc", "soc_hi_90", "soc_lo_90", "soc_width_90"]
    assert paths == [tmp_path / "cog" / f"{name}_2014.tif" for name in names]
    found = {p.name for p in (tmp_path / "cog").iterdir()}
    assert found == {p.name for p in paths} | {p.with_suffix(".qml").name for p in paths}
    stored = hmx.open_cube(soc)
    stored["soc_width_90"] = stored["soc_hi_90"] - stored["soc_lo_90"]
    for path, name in zip(paths, names, strict=True):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), stored[name].values)
            assert file.crs == stored.rio.crs
            assert file.transform.almost_equals(stored.rio.transform())
            assert file.profile["blockxsize"] == file.profile["blockysize"] == 512
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_files_say_what_they_are(soc: Path, tmp_path: Path) -> None:
    quality, mean, _, low, width = export_cog(soc, tmp_path)
    with rasterio.open(low) as file:
        tags = file.tags()
        assert np.isnan(file.nodata)
        assert file.units == ("g/kg",)
    assert tags["valid_time"] == "2014-01-01"
    assert tags["level"] == "90"
    assert tags["variable"] == "soc_lo_90"
    assert json.loads(tags["hmx_provenance"])["date"] == "2014-01-01"
    with rasterio.open(quality) as file:
        assert file.nodata == 4
        assert file.tags()["flag_meanings"] == "covariate_missing no_data"
    with rasterio.open(mean) as file:
        assert "level" not in file.tags()
        title = hmx.open_cube(soc)["soc"].attrs["long_name"]
        assert file.descriptions == (f"soc 2014: {title} [g/kg]",)
        assert file.tags()["TIFFTAG_DATETIME"] == "2014:01:01 00:00:00"
        assert file.tags()["valid_time_end"] == "2014-12-31T23:59:59Z"
    with rasterio.open(width) as file:
        assert file.tags()["level"] == "90"
        assert file.tags()["layer"] == "width"


def test_a_forecast_becomes_a_file_for_each_step(
    cube: xr.Dataset, trained: hmx.Bundle, tmp_path: Path
) -> None:
    fc = cube.hm.forecast(h=2, model=trained, level=80, quantiles=[0.5]).load()
    paths = export_cog(fc, tmp_path)
    names = [p.stem for p in paths]
    assert names[:2] == ["hm_2020", "hm_2025"]
    assert {"hm_lo_80_2020", "hm_quantile_0.5_2025", "quality"} < set(names)
    with rasterio.open(tmp_path / "hm_2025.tif") as file:
        np.testing.assert_array_equal(file.read(1), fc["hm"].values[1])
        assert file.tags()["lead"] == "2"
        assert file.tags()["forecast_reference_time"] == "2015-01-01"


def test_rows_are_north_up_and_squares_leave_no_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).random((70, 90)).astype("float32")
    ds = make_cube((70, 90))[["elevation"]].drop_vars("time", errors="ignore")
    ds["elevation"] = (("y", "x"), values)
    turned = ds.isel(y=slice(None, None, -1)).rename(y="lat", x="lon")
    monkeypatch.setattr(cog, "SQUARE", 32)
    done: list[tuple[int, int]] = []
    (path,) = export_cog(turned, tmp_path, progress=lambda at, of, text: done.append((at, of)))
    assert done == [*((n, 9) for n in range(10)), (9, 9)]
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), values)
        assert file.transform.e < 0
        assert file.bounds.top == pytest.approx(6e6)


def test_large_files_have_overviews_that_skip_what_is_missing(tmp_path: Path) -> None:
    ds = make_cube((1100, 1200), steps=1, holes=False)[["elevation"]]
    ds["elevation"] = ds["elevation"] * 0 + 5
    ds["elevation"][::2] = np.nan
    (path,) = export_cog(ds, tmp_path)
    with rasterio.open(path) as file:
        assert file.overviews(1) == [2, 4]
        small = file.read(1, out_shape=(275, 300))
    np.testing.assert_array_equal(small, 5)


def test_overviews_of_flags_have_no_value_of_their_own(tmp_path: Path) -> None:
    ds = make_cube((1100, 1200), steps=1, holes=False)[["elevation"]]
    values = np.random.default_rng(0).choice([1, 2, 8], (1100, 1200)).astype("uint8")
    ds["bits"] = (("y", "x"), values, {"flag_masks": [1, 2, 8], "flag_meanings": "a b c"})
    values = np.where(np.indices(values.shape).sum(axis=0) % 4, 200, 100).astype("uint8")
    ds["kinds"] = (("y", "x"), values, {"flag_values": [100, 200], "flag_meanings": "d e"})
    ds["count"] = ds["kinds"].drop_attrs().astype("int16")
    small = {}
    for path in export_cog(ds, tmp_path):
        with rasterio.open(path) as file:
            small[path.stem] = file.read(1, out_shape=(275, 300))
            predictor = file.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR")
            assert (predictor is None) == (path.stem in ("bits", "kinds"))
    assert set(np.unique(small["bits"])) == {1, 2, 8}
    assert set(np.unique(small["kinds"])) == {200}  # the most frequent one
    assert set(np.unique(small["count"])) <= {174, 175, 176}  # of amounts, the mean


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_statistics_are_those_of_all_pixels_with_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(cog, "SQUARE", 32)
    ds = make_cube((70, 90), steps=1)[["hm"]] * 1000
    if dtype == "int16":
        ds["hm"] = ds["hm"].fillna(0).astype(dtype)
    (path,) = export_cog(ds, tmp_path)
    with rasterio.open(path) as file:
        tags, values = file.tags(1), ds["hm"].values.astype("float64")
    expected = {
        "MINIMUM": np.nanmin(values),
        "MAXIMUM": np.nanmax(values),
        "MEAN": np.nanmean(values),
        "STDDEV": np.nanstd(values),
        "VALID_PERCENT": 100 * np.isfinite(values).mean(),
    }
    for name, value in expected.items():
        assert float(tags[f"STATISTICS_{name}"]) == pytest.approx(value, rel=1e-3), name


def test_a_crs_without_a_code_survives(tmp_path: Path) -> None:
    ds = make_cube(crs="ESRI:54009", corner=(0, 0))[["elevation"]]
    (path,) = export_cog(ds, tmp_path)
    with rasterio.open(path) as file:
        assert "Mollweide" in file.crs.to_wkt()


def test_our_files_are_replaced_and_others_left_alone(soc: Path, tmp_path: Path) -> None:
    first = export_cog(soc, tmp_path)
    assert export_cog(soc, tmp_path) == first
    style = first[0].with_suffix(".qml")
    style.write_text("<qgis>mine</qgis>")
    with pytest.raises(OutputExists, match=r"quality_2014\.qml is not a file that hmx exported"):
        export_cog(soc, tmp_path)
    style.unlink()
    first[1].write_bytes(b"a thesis")
    with pytest.raises(OutputExists, match=r"soc_2014\.tif is not a file that hmx exported"):
        export_cog(soc, tmp_path)
    assert first[1].read_bytes() == b"a thesis"


def test_a_failure_at_the_last_file_leaves_what_was_there(
    soc: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    copy, calls = cog.rasterio.shutil.copy, []

    def fail(*words: Any, **more: Any) -> None:
        calls.append(words)
        if len(calls) == 5:
            raise OSError("disk full")
        copy(*words, **more)

    monkeypatch.setattr(cog.rasterio.shutil, "copy", fail)
    with pytest.raises(OSError, match="disk full"):
        export_cog(soc, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_raster_is_refused(tmp_path: Path) -> None:
    cube = make_cube(crs=None)
    with pytest.raises(MissingCRS, match="Write one"):
        export_cog(cube, tmp_path)
    with pytest.raises(SourceError, match="no cube can be opened"):
        export_cog(tmp_path / "nothing.zarr", tmp_path)
    with pytest.raises(CubeError, match=r"there is no raster among tiles.*Pass the store of a map"):
        export_cog(make_cube().drop_vars(["hm", "elevation"]).assign(tiles=3), tmp_path)


def test_a_lazy_map_is_exported_too(tmp_path: Path) -> None:
    cube = make_covariates()
    mapper = make_mapper(cube).save(tmp_path / "m")
    lazy = soc_map(cube, model=mapper, tile=16)
    path, _ = export_cog(lazy, tmp_path / "cog")
    assert path.name == "soc.tif"
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), lazy["soc"].values)
