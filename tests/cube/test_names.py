"""Laws of names: every variable has a file of its own, and a store holds what it shows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import hmx
from hmx.cube.names import file_stem, file_stems
from hmx.errors import BadArgument, CubeError
from hmx.exports.cog import export_cog
from tests.make.cubes import make_bundle, make_cube
from tests.make.rasters import make_catalog

NAMES = ["GDP/capita", "population 2000", "Größe", "人口", ".hidden", "a:b*c?", "x" * 300, "end. "]


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_of_any_name_is_exported(tmp_path: Path, name: str) -> None:
    ds = make_cube((24, 28), steps=2)[["hm"]].rename(hm=name)
    files = export_cog(ds, tmp_path / "out")
    styles = [file.with_suffix(".qml") for file in files]
    found = {file for file in (tmp_path / "out").iterdir() if file.suffix != ".json"}
    assert found == {*files, *styles}
    assert not any(file.name.startswith(".") for file in files)
    for file, plane in zip(files, ds[name].values, strict=True):
        with rasterio.open(file) as there:
            np.testing.assert_array_equal(there.read(1), plane)
            assert there.tags()["variable"] == name
    assert export_cog(ds, tmp_path / "out") == files


def test_names_that_only_differ_in_what_is_made_safe_keep_files_apart(tmp_path: Path) -> None:
    plane = make_cube((24, 28), steps=2)["hm"].isel(time=0, drop=True)
    ds = xr.Dataset({"a/b": plane, "a_b": plane + 1, "A:b": plane + 2})
    files = export_cog(ds, tmp_path)
    assert len({file.name.lower() for file in files}) == 3
    for file, name in zip(files, ds.data_vars, strict=True):
        with rasterio.open(file) as there:
            assert there.tags()["variable"] == name


@given(st.lists(st.text(max_size=200), unique=True, max_size=6))
def test_stems_are_safe_and_distinct(names: list[str]) -> None:
    names = [name for name in names if name.isprintable()]
    stems = file_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)
    for stem in stems:
        assert stem
        assert not set(stem) & set('/\\:*?"<>|')
        assert not stem.startswith(".")
        assert len(stem.encode()) <= 200


def test_a_plain_name_is_kept() -> None:
    assert file_stem("hm_lo_80_2025") == "hm_lo_80_2025"


def test_steps_within_a_day_have_files_of_their_own(tmp_path: Path) -> None:
    ds = make_cube((24, 28), steps=3)[["hm"]]
    hours = np.array(["2020-01-01", "2020-01-01T06", "2020-01-01T12:30"], "datetime64[ns]")
    files = export_cog(ds.assign_coords(time=hours), tmp_path)
    names = ["hm_2020.tif", "hm_2020-01-01T06.tif", "hm_2020-01-01T1230.tif"]
    assert [file.name for file in files] == names
    with rasterio.open(files[1]) as there:
        assert there.tags()["valid_time"] == "2020-01-01T06"


def test_the_origin_within_a_day_is_told_whole() -> None:
    hours = np.arange("2020-01-01T00", "2020-01-02T06", 6, "datetime64[h]").astype("M8[ns]")
    ds = make_cube((24, 28), steps=5).assign_coords(time=hours)
    fc = ds.isel(time=slice(4)).hm.forecast(h=1, model=make_bundle(ds))
    assert '"origin": "2020-01-01T18"' in fc.attrs["hmx_provenance"]


@pytest.mark.parametrize("name", ["GDP/capita", "x" * 300, "__hm"])
def test_a_name_that_a_store_cannot_hold_is_refused_by_name(tmp_path: Path, name: str) -> None:
    make_cube((24, 28)).to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    ds = hmx.open_cube(tmp_path / "cube.zarr")
    stored = xr.Dataset({name: ds["hm"]})
    from hmx.engine.output import lay_out

    with pytest.raises(CubeError, match=r"Rename it: ds = ds\.rename\("):
        lay_out(stored, str(tmp_path / "fc.zarr"), grid=ds.hm.grid, chunk=32)
    assert not (tmp_path / "fc.zarr").exists()
    with pytest.raises(BadArgument, match=r"cube\.sources.* the name '.*Call the source otherwise"):
        make_catalog(tmp_path, **{name: {"path": "a.tif"}})


@pytest.mark.parametrize("name", ["population 2000", "GDP [USD]", "Größe", ".hidden"])
def test_a_forecast_of_a_variable_of_another_name_is_stored(tmp_path: Path, name: str) -> None:
    cube = make_cube((24, 28)).rename(hm=name)
    cube.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    ds = hmx.open_cube(tmp_path / "cube.zarr")
    model = make_bundle(ds.rename({name: "hm"}), target="hm")
    spec, scaler = replace(model.spec, target=name), model.scaler
    mean, std = (
        {re.sub("^hm", name, key): value for key, value in part.items()}
        for part in (scaler.mean, scaler.std)
    )
    model = replace(model, spec=spec, scaler=replace(scaler, mean=mean, std=std))
    stored = ds.hm.forecast_to_zarr(tmp_path / "fc.zarr", h=1, model=model)
    lazy = ds.hm.forecast(h=1, model=model)
    np.testing.assert_allclose(stored[name], lazy[name], atol=1e-6)
