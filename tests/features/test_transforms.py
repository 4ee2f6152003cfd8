"""Laws of what is done to covariates before they are scaled."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from hmx.errors import BadArgument, MissingVariable
from hmx.features.scaling import apply_transforms, check_transforms

AMOUNTS = st.floats(0, 1e9, width=32) | st.just(np.nan)


def one(values, transform="log"):
    return apply_transforms({"gdp": values}, {"gdp": transform})["gdp"]


@given(stn.arrays("float32", stn.array_shapes(max_dims=3), elements=AMOUNTS))
def test_a_logarithm_can_be_undone_and_keeps_what_is_missing(values):
    logs = one(values)
    assert logs.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(logs), np.isnan(values))
    np.testing.assert_allclose(np.expm1(logs.astype("float64")), values, rtol=1e-5, atol=1e-6)


def test_nothing_stays_nothing_and_small_amounts_stay_themselves():
    assert one(np.zeros(3)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(one(np.array([1e-12])), [1e-12], rtol=1e-9)


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=20))
def test_a_logarithm_keeps_the_order(values):
    assert (np.diff(one(np.sort(values))) >= 0).all()


def test_integers_get_logarithms_too():
    logs = one(np.array([0, 1, 99], "int32"))
    assert logs.dtype == np.float32
    np.testing.assert_allclose(logs, np.log([1, 2, 100]), rtol=1e-6)


def test_variables_without_a_transform_are_the_very_same():
    gdp, slope = np.arange(3.0), -np.arange(3.0)
    done = apply_transforms({"gdp": gdp, "slope": slope}, {"gdp": "log", "slope": "none"})
    assert done["slope"] is slope
    assert list(done) == ["gdp", "slope"]
    np.testing.assert_array_equal(gdp, np.arange(3.0))  # the input is left alone


def test_negative_amounts_are_refused_by_name_number_and_remedy():
    values = np.array([1, -9999, np.nan, -1])
    message = r"'gdp' has 2 values below 0 \(lowest -9999\).*nodata: -9999.*transform: none"
    with pytest.raises(BadArgument, match=message):
        one(values)
    assert one(values, "none") is values


def test_an_unknown_transform_is_refused():
    with pytest.raises(BadArgument, match=r"transform 'logg' of 'gdp'.*Did you mean 'log'\?"):
        one(np.zeros(2), "logg")
    with pytest.raises(BadArgument, match=r"not one of: none, log\. Pass 'log' or leave it out"):
        one(np.zeros(2), "sqrt")


def test_a_transform_of_a_variable_that_is_not_there_is_refused():
    with pytest.raises(MissingVariable, match=r"'pop' is not in the covariates \(has: gdp\)"):
        apply_transforms({"gdp": np.zeros(2)}, {"pop": "log"})


def test_transforms_come_back_from_json_without_the_idle_ones():
    asked = {"gdp": "log", "slope": "none"}
    assert json.loads(json.dumps(check_transforms(asked))) == {"gdp": "log"}
