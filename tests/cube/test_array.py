"""A target and its static covariates as one DataArray: lazy, and the same after a store."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.errors import BadArgument, CubeError, MissingCRS, MissingVariable
from tests.make.cubes import make_cube, write_catalog

KEPT: dict[str, Any] = {"zarr_format": 3, "consolidated": False}


def with_roles(ds: xr.Dataset) -> xr.Dataset:
    """The roles that a catalog writes."""
    roles = {"hm": "target", "elevation": "static", "slope": "static", "population": "dynamic"}
    for name in ds.data_vars:
        ds[name].attrs["hmx_role"] = roles[str(name)]
    return ds


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrays") / "cube.zarr"
    with_roles(make_cube(chunks={"y": 20, "x": 25})).to_zarr(path, **KEPT)
    return path


@pytest.fixture
def array(store: Path) -> xr.DataArray:
    return hmx.open_cube(store, array=True)


@pytest.fixture
def unread() -> Iterator[None]:
    """Nothing may be computed."""

    def explode(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=explode):
        yield


def test_a_store_opens_as_one_lazy_array(store: Path, unread: None) -> None:
    array = hmx.open_cube(store, array=True)
    assert isinstance(array, xr.DataArray)
    assert array.name == "hm"
    assert set(array.coords) == {"time", "y", "x", "spatial_ref", "elevation"}
    assert array["elevation"].dims == ("y", "x")
    assert array.chunks is not None
    assert array["elevation"].chunks is not None
    assert array.rio.crs == "EPSG:32632"
    again = array.hm.to_array()
    assert again.variable.data.name == array.variable.data.name
    with pytest.raises(AssertionError, match="computed"):
        array["elevation"].compute()


def test_the_array_has_the_values_grid_and_cadence_of_the_cube(
    store: Path, array: xr.DataArray
) -> None:
    ds = hmx.open_cube(store)
    np.testing.assert_array_equal(array, ds["hm"])
    np.testing.assert_array_equal(array["elevation"], ds["elevation"])
    assert array.hm.grid == ds.hm.grid
    assert array.hm.cadence == ds.hm.cadence


def test_a_round_trip_through_zarr_is_identical(array: xr.DataArray, tmp_path: Path) -> None:
    array.to_zarr(tmp_path / "a.zarr", **KEPT)
    how: dict[str, Any] = {"engine": "zarr", "chunks": {}, "consolidated": False}
    xr.testing.assert_identical(hmx.open_cube(tmp_path / "a.zarr", array=True), array)
    plain = xr.open_dataarray(tmp_path / "a.zarr", **how)
    xr.testing.assert_identical(plain, array)
    assert plain["elevation"].chunks is not None
    decoded = xr.open_dataset(tmp_path / "a.zarr", decode_coords="all", **how)
    assert decoded["hm"].rio.crs == array.rio.crs
    for found in (decoded.hm.to_array(), decoded["hm"].hm.to_array()):
        xr.testing.assert_identical(found, array)


def test_the_array_survives_where_the_names_of_its_crs_are_encoded(tmp_path: Path) -> None:
    """`rio.write_crs` and `decode_coords="all"` keep the grid mapping in the encoding."""
    ds = with_roles(make_cube())
    assert ds["hm"].encoding["grid_mapping"] == "spatial_ref"
    ds["hm"].encoding["coordinates"] = "spatial_ref"
    before = {name: (dict(v.attrs), dict(v.encoding)) for name, v in ds.variables.items()}
    array = ds.hm.to_array()
    after = {name: (dict(v.attrs), dict(v.encoding)) for name, v in ds.variables.items()}
    assert before == after, "the source is never mutated"
    array.drop_vars("elevation").to_zarr(tmp_path / "a.zarr", **KEPT)
    back = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)["hm"]
    assert back.hm.grid == ds.hm.grid


def test_other_formats_take_an_opened_array(array: xr.DataArray, tmp_path: Path) -> None:
    array.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc", decode_coords="all") as back:
        xr.testing.assert_equal(back["hm"].compute(), array.compute())


def test_names_and_orientation_are_those_of_the_cube() -> None:
    ds = with_roles(make_cube()).rename(y="northing", x="easting")
    ds = ds.isel(northing=slice(None, None, -1))
    array = ds.hm.to_array()
    assert array.dims == ("time", "northing", "easting")
    xr.testing.assert_equal(array, ds["hm"].assign_coords(elevation=ds["elevation"]))


def test_what_an_array_cannot_take_is_named() -> None:
    ds = with_roles(make_cube(dynamic=("population",)))
    with pytest.warns(UserWarning, match=r"of 'hm' leaves out population \(with time, which"):
        array = ds.hm.to_array()
    assert "population" not in array.coords
    bare = make_cube()
    with pytest.warns(UserWarning, match=r"leaves out elevation .*pass static=\['elevation'\]"):
        assert "elevation" not in bare.hm.to_array().coords
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "elevation" in bare.hm.to_array(static=["elevation"]).coords
        assert "elevation" not in bare.hm.to_array(static=[]).coords
        assert "elevation" in bare.set_coords("elevation").hm.to_array().coords


def test_static_chooses_among_coordinates() -> None:
    ds = with_roles(make_cube(static=("elevation", "slope"))).set_coords(["elevation", "slope"])
    assert {"elevation", "slope"} <= set(ds.hm.to_array().coords)
    for cube in (ds, ds["hm"]):
        assert set(cube.hm.to_array(static=["slope"]).coords) & {"elevation", "slope"} == {"slope"}


def test_a_catalog_names_the_store(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path)
    with pytest.raises(hmx.HmxError, match="no cube can be opened"):
        hmx.open_cube(catalog, array=True)
    path = hmx.load_catalog(catalog).cube.path
    with_roles(make_cube()).to_zarr(path, **KEPT)
    xr.testing.assert_identical(hmx.open_cube(catalog, array=True), hmx.open_cube(path, array=True))


def test_the_target_is_chosen_as_in_a_dataset(tmp_path: Path) -> None:
    ds = make_cube(dynamic=("population",)).rename(hm="hfp")
    ds.to_zarr(tmp_path / "two.zarr", **KEPT)
    with pytest.raises(CubeError, match=r"which variable is the target\?.*Pass target='\.\.\.'"):
        hmx.open_cube(tmp_path / "two.zarr", array=True)
    chosen = hmx.open_cube(tmp_path / "two.zarr", array=True, target="hfp", static=["elevation"])
    assert chosen.name == "hfp"
    assert "elevation" in chosen.coords
    with pytest.raises(MissingVariable, match=r"'slope' is not in the cube"):
        hmx.open_cube(tmp_path / "two.zarr", array=True, target="hfp", static=["slope"])
    with pytest.raises(CubeError, match=r"'population' has dimensions \('time', 'y', 'x'\)"):
        hmx.open_cube(tmp_path / "two.zarr", array=True, target="hfp", static=["population"])
    with pytest.raises(BadArgument, match=r"Pass array=True, or choose later"):
        hmx.open_cube(tmp_path / "two.zarr", target="hfp")  # type: ignore[call-overload]


def test_a_crs_that_stayed_in_the_dataset_is_asked_for(store: Path) -> None:
    """xarray makes it a variable where a user wrote the store."""
    plain = xr.open_zarr(store, consolidated=False)
    with pytest.raises(MissingCRS) as caught:
        _ = plain["hm"].hm.grid
    assert str(caught.value) == (
        "cube has no CRS: 'spatial_ref', which its variables name, is not among its coordinates, "
        "as after xr.open_zarr(path)['hm']. Open it with hmx.open_cube(path) or "
        "xr.open_zarr(path, decode_coords='all'), or write one: "
        "ds = ds.rio.write_crs('EPSG:32632')."
    )
    decoded = xr.open_zarr(store, consolidated=False, decode_coords="all")
    assert decoded["hm"].hm.grid == plain.hm.grid
    with pytest.raises(MissingCRS, match="Write one"):
        _ = decoded["hm"].drop_vars("spatial_ref").drop_attrs().drop_encoding().hm.grid
