"""Laws of the door: any names and orientation come in, and go out as they came."""

import copy

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.cube.cube import as_cube, open_cube
from hmx.cube.grid import find_axes
from hmx.errors import CatalogError, CubeError, MissingVariable, NotEnoughData, SourceError
from tests.make.cubes import make_cube, write_catalog

NAMES = [
    {"y": "lat", "x": "lon"},
    {"y": "latitude", "x": "longitude"},
    {"y": "northing", "x": "easting"},
    {"y": "Lat", "x": "Lon", "time": "year"},
    {},
]
TURNS = [(), ("y",), ("x",), ("y", "x")]


def turned(obj, dims):
    return obj.isel({dim: slice(None, None, -1) for dim in dims})


def as_array(ds):
    """The target with its static covariates as coordinates."""
    return ds.set_coords([name for name, v in ds.data_vars.items() if v.ndim == 2])["hm"]


@pytest.fixture(scope="module")
def small():
    return make_cube((6, 8), static=("elevation", "slope"), dynamic=("population",))


@pytest.mark.parametrize("names", NAMES, ids=str)
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_a_cube_enters_north_up_and_leaves_as_it_came(small, names, turn):
    came = turned(small, turn).rename(names)
    cube = as_cube(came, dynamic=["population"], static=["elevation"])
    xr.testing.assert_equal(cube.data["hm"], small["hm"])
    assert cube.data["hm"].dims == ("time", "y", "x")
    assert cube.grid == as_cube(small).grid
    xr.testing.assert_identical(cube.restore(cube.data), came[["hm", "population", "elevation"]])


@pytest.mark.parametrize("names", NAMES, ids=str)
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_a_dataarray_enters_north_up_and_leaves_as_it_came(small, names, turn):
    came = as_array(turned(small, turn).rename(names))
    cube = as_cube(came)
    assert (cube.target, cube.dynamic, cube.static) == ("hm", (), ("elevation", "slope"))
    xr.testing.assert_equal(cube.data["elevation"], small["elevation"])
    gone = cube.restore(cube.data[["hm"]])
    xr.testing.assert_identical(gone, came.drop_vars(["elevation", "slope"]))


@pytest.mark.parametrize("turn", TURNS, ids=str)
@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_the_source_is_never_changed(small, turn, lazy):
    came = turned(small, turn).rename(y="lat", x="lon")
    came = came.chunk(lat=3) if lazy else came
    for source in (came, as_array(came)):
        before = copy.deepcopy(source)
        cube = as_cube(source, static=["elevation"])
        cube.data["hm"].attrs["mine"] = 1
        cube.data.attrs["mine"] = 1
        cube.restore(cube.data)
        _ = cube.grid, cube.cadence, cube.rules
        xr.testing.assert_identical(source, before)
        assert source.encoding == before.encoding


def test_entering_computes_nothing(small):
    def forbidden(block):
        raise AssertionError("computed")

    lazy = small.chunk(x=4).map(lambda v: v.copy(data=v.data.map_blocks(forbidden, dtype=v.dtype)))
    cube = as_cube(turned(lazy.assign_coords(small.coords), ("y",)), static=["elevation"])
    assert cube.grid.shape == (6, 8)
    assert str(cube.cadence) == "5 years"


@pytest.mark.parametrize(
    "attrs", [("axis", "Y", "X"), ("standard_name", "latitude", "longitude")], ids=lambda a: a[0]
)
def test_cf_attributes_come_before_names(small, attrs):
    key, up, right = attrs
    swapped = small.rename(y="x", x="y")  # named the wrong way round, but described
    swapped = swapped.assign_coords(
        x=swapped["x"].assign_attrs({key: up}), y=swapped["y"].assign_attrs({key: right})
    )
    assert find_axes(swapped) == {"time": "time", "y": "x", "x": "y"}


def test_the_axis_attribute_comes_before_the_standard_name(small):
    odd = small.assign_coords(y=small["y"].assign_attrs(standard_name="longitude", axis="Y"))
    odd = odd.assign_coords(x=odd["x"].assign_attrs(axis="X"))
    assert find_axes(odd) == {"time": "time", "y": "y", "x": "x"}


@pytest.mark.parametrize(("dim", "name"), [("time", "epoch"), ("y", "j"), ("x", "i")])
def test_a_dimension_that_cannot_be_told_is_named(small, dim, name):
    text = rf"no {dim} dimension among \(.*'{name}'.*\).*ds\.rename\(\{{'\.\.\.': '{dim}'\}}\)"
    with pytest.raises(CubeError, match=text):
        as_cube(small.rename({dim: name}))


def test_the_target_is_hm_or_the_only_variable_with_time(small):
    assert as_cube(small).target == "hm"
    assert as_cube(small[["population", "elevation"]]).target == "population"
    assert as_cube(small, target="population").target == "population"


def test_the_target_is_what_the_catalog_said():
    ds = make_cube((4, 4), dynamic=("hfp",))
    ds["hfp"].attrs["hmx_role"] = "target"
    assert as_cube(ds).target == "hfp"
    assert as_cube(ds, target="hm").target == "hm"
    assert as_cube(ds.rename(hm="other")).target == "hfp"


def test_a_dataarray_is_its_own_target(small):
    assert as_cube(small["population"]).target == "population"
    nameless = as_cube(small["population"].rename(None))
    assert nameless.target == "hm"
    assert nameless.restore(nameless.data).name == "hm"


def test_a_target_that_cannot_be_told_is_asked_for(small):
    two = small.rename(hm="hfp")
    with pytest.raises(CubeError) as caught:
        as_cube(two)
    assert str(caught.value) == (
        "which variable is the target? 2 have time: hfp, population. Pass target='...'."
    )
    with pytest.raises(CubeError, match=r"which variable is the target\? 0 have time: none\."):
        as_cube(two[["elevation"]].expand_dims(band=1).assign_coords(time=small["time"]))


def test_covariates_are_what_the_catalog_or_the_call_names(small):
    assert (as_cube(small).dynamic, as_cube(small).static) == ((), ())
    named = small.copy()
    for name, role in {"hm": "target", "population": "dynamic", "slope": "static"}.items():
        named[name] = named[name].assign_attrs(hmx_role=role)
    cube = as_cube(named)
    assert cube.variables == ("hm", "population", "slope")
    assert as_cube(named, dynamic=[], static=["elevation"]).variables == ("hm", "elevation")
    assert list(cube.data.data_vars) == ["hm", "population", "slope"]
    assert as_cube(named, target="population").variables == ("population", "slope")


def test_positions_in_two_dimensions_are_no_covariates(small):
    da = as_array(small)
    plane = (("y", "x"), np.zeros((6, 8)))
    da = da.assign_coords(
        lat=plane,
        Longitude=plane,
        geo=(*plane, {"standard_name": "latitude"}),
        name=(("y", "x"), np.full((6, 8), "a")),
    )
    assert as_cube(da).static == ("elevation", "slope")


def test_a_static_covariate_may_be_a_coordinate(small):
    cube = as_cube(small.set_coords("elevation"), static=["elevation"])
    xr.testing.assert_equal(cube.data["elevation"], small["elevation"])


@pytest.mark.parametrize("role", ["target", "dynamic", "static"])
def test_a_missing_variable_is_named_with_its_nearest(small, role):
    asked = "popuation" if role == "target" else ["popuation"]
    with pytest.raises(MissingVariable) as caught:
        as_cube(small, **{role: asked})
    assert str(caught.value) == (
        "'popuation' is not in the cube (has: elevation, hm, population, slope). "
        "Did you mean 'population'?"
    )


@pytest.mark.parametrize(
    ("roles", "name", "dims"),
    [
        ({"static": ["population"]}, "population", r"\('y', 'x'\)"),
        ({"dynamic": ["elevation"]}, "elevation", r"\('time', 'y', 'x'\)"),
        ({"static": ["y"]}, "y", r"\('y', 'x'\)"),
        ({"target": "time"}, "time", r"\('time', 'y', 'x'\)"),
    ],
    ids=str,
)
def test_a_variable_in_the_wrong_role_is_refused(small, roles, name, dims):
    with pytest.raises(CubeError, match=rf"'{name}' has dimensions .* and must have {dims}"):
        as_cube(small, **roles)


def test_a_band_is_to_be_selected(small):
    banded = small.assign(hm=small["hm"].expand_dims(band=2, axis=1))
    with pytest.raises(CubeError) as caught:
        as_cube(banded)
    assert str(caught.value) == (
        "'hm' has dimensions ('time', 'band', 'y', 'x') and must have ('time', 'y', 'x'). "
        "Select one of the others, e.g. ds.isel(band=0), or give 'hm' its right role."
    )
    as_cube(banded.isel(band=0))


def test_dims_come_in_any_order(small):
    cube = as_cube(small.transpose("x", "time", "y"), static=["elevation"])
    xr.testing.assert_equal(cube.data["hm"], small["hm"])
    assert cube.data["elevation"].dims == ("y", "x")


def test_a_short_history_is_refused(small):
    cube = as_cube(small)
    cube.require_history(5)
    with pytest.raises(NotEnoughData, match=r"5 time steps and this needs 6.*train\(history=5\)"):
        cube.require_history(6)
    with pytest.raises(NotEnoughData, match=r"5 time steps and this needs 7.*train\(history=3\)"):
        cube.require_history(5, truths=2)
    with pytest.raises(NotEnoughData, match=r"needs 7. Add earlier maps\.$"):
        cube.require_history(2, truths=5)


@pytest.mark.parametrize(("kind", "label"), [("datetime", "2010-01-01"), ("year", "2010")])
def test_the_origin_is_the_last_observed_time(kind, label):
    assert as_cube(make_cube((4, 4), time=kind)).origin_label() == label


def test_a_store_opens_as_it_was_written(small, tmp_path):
    small.to_zarr(tmp_path / "a.zarr")
    opened = open_cube(tmp_path / "a.zarr")
    xr.testing.assert_equal(opened.load(), small)


def test_a_crs_that_storage_made_a_variable_is_found(small, tmp_path):
    small.to_zarr(tmp_path / "a.zarr")
    plain = xr.open_zarr(tmp_path / "a.zarr")
    assert "spatial_ref" in plain.data_vars
    assert as_cube(plain).grid == as_cube(small).grid
    assert as_cube(open_cube(tmp_path / "a.zarr")["hm"]).grid == as_cube(small).grid


def test_an_opened_store_is_lazy(small, tmp_path):
    small.to_zarr(tmp_path / "a.zarr")
    assert open_cube(str(tmp_path / "a.zarr"))["hm"].chunks is not None


def test_a_catalog_opens_its_cube(tmp_path):
    catalog = write_catalog(tmp_path, make_cube((6, 8)))
    make_cube((6, 8)).to_zarr(tmp_path / "toy.zarr")
    assert hmx.open_cube(catalog).sizes == {"time": 5, "y": 6, "x": 8}
    with pytest.raises(CatalogError, match=r"there is no catalog .*Did you mean 'toy\.yaml'\?"):
        hmx.open_cube(tmp_path / "tony.yaml")


def test_a_path_without_a_store_says_what_to_pass(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.zarr").write_text("x")
    for name in ("none.zarr", "empty", "file.zarr"):
        with pytest.raises(SourceError) as caught:
            open_cube(tmp_path / name)
        assert str(caught.value).startswith(f"no cube can be opened at '{tmp_path / name}' (")
        assert str(caught.value).endswith(
            "). Pass the folder of a Zarr store, or make one: hmx ingest CATALOG (hmx init FOLDER "
            "writes one for a folder of rasters)."
        )


@pytest.mark.parametrize("status", ["incomplete", "anything"])
def test_an_incomplete_store_warns(small, tmp_path, status):
    small.assign_attrs(hmx_status=status).to_zarr(tmp_path / "a.zarr")
    with pytest.warns(UserWarning, match=r"a\.zarr is incomplete: .* Run the same hmx command"):
        open_cube(tmp_path / "a.zarr")


def test_a_complete_store_does_not_warn(small, tmp_path):
    small.assign_attrs(hmx_status="complete").to_zarr(tmp_path / "a.zarr")
    open_cube(tmp_path / "a.zarr")
