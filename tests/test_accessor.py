"""Laws of both accessors: methods are plain functions, and the variable stays in reach."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hmx
from hmx.cube.cube import as_cube
from hmx.forecast import api as forecasts
from hmx.forecast.backtest.backtest import backtest
from hmx.mapping import api as maps
from hmx.products.forecast_maps import plot_forecast
from hmx.products.soil_maps import plot_map
from tests.make.cubes import make_cube
from tests.make.mapworlds import make_covariates

BEHIND = {
    "hm": {
        "train": forecasts.train,
        "forecast": forecasts.forecast,
        "forecast_to_zarr": forecasts.forecast_to_zarr,
        "plan": forecasts.plan_forecast,
        "backtest": backtest,
        "plot_forecast": plot_forecast,
    },
    "soc": {
        "train": maps.train,
        "evaluate": maps.evaluate,
        "map": maps.soc_map,
        "map_to_zarr": maps.map_to_zarr,
        "plan": maps.plan_map,
        "plot_map": plot_map,
    },
}
METHODS = [(name, method) for name, methods in BEHIND.items() for method in methods]


def holder(name: str) -> xr.Dataset:
    values = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("y", "x"), attrs={"units": "g/kg"})
    return xr.Dataset({name: values, "other": values + 1})


# methods --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_a_method_has_the_parameters_and_the_text_of_its_function(name: str, method: str) -> None:
    function, bound = BEHIND[name][method], getattr(getattr(xr.Dataset(), name), method)
    first, *others = inspect.signature(function).parameters.values()
    assert list(inspect.signature(bound).parameters.values()) == others
    assert bound.__name__ == method
    assert bound.__doc__.splitlines()[0] == function.__doc__.splitlines()[0]
    assert f"    {first.name} : " not in bound.__doc__
    for parameter in others:
        assert parameter.name in bound.__doc__
    assert getattr(type(getattr(xr.Dataset(), name)), method) is function


@pytest.mark.parametrize("name", ["hm", "soc"])
def test_a_method_has_no_untyped_options(name: str) -> None:
    for function in BEHIND[name].values():
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                assert "Unpack[" in str(parameter.annotation), function.__name__


@pytest.mark.parametrize("name", ["hm", "soc"])
def test_both_have_grid_and_cadence(name: str) -> None:
    """Of any number of variables with time, north-up or not, and of one DataArray."""
    cube = make_cube()
    several = cube.rename(hm="lst").assign(rain=cube["hm"]).isel(y=slice(None, None, -1))
    want = as_cube(cube).grid
    arrays = (cube["hm"], several["rain"]) if name == "hm" else ()  # .soc is of a Dataset alone
    for obj in (cube, several, *arrays):
        accessor = getattr(obj, name)
        assert (str(accessor.cadence), accessor.grid) == ("5 years", want)


def test_signatures_and_help_show_plain_defaults() -> None:
    for name in ("hm", "soc"):
        for function in BEHIND[name].values():
            assert " at 0x" not in str(inspect.signature(function)), function.__name__


def test_looking_at_an_accessor_loads_no_torch() -> None:
    code = (
        "import sys, hmx, xarray as xr; ds = xr.Dataset(); dir(ds.hm); repr(ds.soc);"
        "hasattr(ds.hm, 'values'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# the variable ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hm", "soc"])
def test_what_users_do_with_a_variable_works_through_the_accessor(name: str) -> None:
    ds = holder(name)
    accessor, variable = getattr(ds, name), ds[name]
    np.testing.assert_array_equal(accessor.values, variable.values)
    np.testing.assert_array_equal(np.asarray(accessor), variable.values)
    assert np.asarray(accessor, dtype="float32").dtype == np.float32
    assert (accessor.units, accessor.dims, len(accessor)) == ("g/kg", ("y", "x"), 2)
    assert accessor.mean() == 2.5
    for found, expected in (
        (accessor[1], variable[1]),
        (accessor.isel(x=0), variable.isel(x=0)),
        (accessor * 10, variable * 10),
        (10 - accessor, 10 - variable),
        (accessor + ds["other"], variable + ds["other"]),
        (ds["other"] + accessor, ds["other"] + variable),
        (accessor > 3, variable > 3),
        (np.sqrt(accessor), np.sqrt(variable)),
        (-accessor, -variable),
    ):
        xr.testing.assert_equal(found, expected)


@pytest.mark.parametrize("name", ["hm", "soc"])
def test_a_variable_is_drawn_through_the_accessor(name: str) -> None:
    ds = holder(name)
    assert getattr(ds, name).plot().get_array().size == ds[name].size


def test_a_map_of_soil_has_its_variable_under_its_own_name(trained_mapper: hmx.MapBundle) -> None:
    soil = make_covariates((32, 36)).soc.map(model=trained_mapper).load()
    np.testing.assert_array_equal(soil.soc.values, soil["soc"].values)


@pytest.mark.parametrize("name", ["hm", "soc"])
def test_methods_come_before_the_variable_and_tab_completion_has_both(name: str) -> None:
    accessor = getattr(holder(name), name)
    assert {"train", "plan", "grid", "values", "isel", "units"} <= set(dir(accessor))
    assert accessor.plan.__doc__.startswith("Estimate")
    assert "train" in repr(accessor)
    assert "g/kg" in repr(accessor)
    assert "values" not in dir(getattr(xr.Dataset(), name))


BAD: list[tuple[Any, str]] = [
    (lambda ds: ds.soc.valuess, r"\.soc has no 'valuess' \(has: .*train.*\), and neither has "),
    (lambda ds: ds.soc.trian, r"Did you mean 'train'"),
    (lambda ds: ds.hm.values, r"no variable 'hm' \(has: soc, other\).*by its name: ds\['name'\]"),
    (lambda ds: ds.hm.forcast, r"\.hm has no 'forcast'\. Did you mean 'forecast'"),
    (lambda ds: ds["soc"].hm.values, r"of a DataArray.*Leave out \.hm: da\.values"),
]


@pytest.mark.parametrize(("look", "text"), BAD)
def test_an_attribute_that_is_missing_is_named_with_what_is_there(look: Any, text: str) -> None:
    with pytest.raises(AttributeError, match=text):
        look(holder("soc"))


@pytest.mark.parametrize("use", [len, lambda a: a * 2, lambda a: a[0], np.asarray])
def test_arithmetic_without_the_variable_is_refused(use: Any) -> None:
    with pytest.raises(TypeError, match=r"the variable 'hm'.*Take a variable by its name"):
        use(holder("soc").hm)


def test_copies_pickles_and_half_built_accessors_do_not_recurse() -> None:
    accessor = holder("soc").soc
    for made in (
        copy.copy(accessor),
        copy.deepcopy(accessor),
        pickle.loads(pickle.dumps(accessor)),
    ):
        np.testing.assert_array_equal(made.values, accessor.values)
    bare = object.__new__(hmx.SOCAccessor)
    assert not hasattr(bare, "values")
    assert not hasattr(bare, "_obj")
    assert not hasattr(holder("soc").hm, "values")
