"""Laws of what stored numbers mean: voids, packing, ranges, and how they are written."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from hmx.cube.declarations import numbers_of
from hmx.cube.values import Rules
from hmx.errors import CubeError
from hmx.ingest.options import Source

NUMBERS = st.lists(st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 0.5, 1.0, 2.0, -9999.0]))


@given(NUMBERS)
def test_exactly_what_breaks_a_rule_becomes_nan(values):
    values = np.array(values, "float32")
    clean = Rules(valid_range=(0, 1), nodata=(0.5,)).clean(values)
    kept = np.isfinite(values) & (values >= 0) & (values <= 1) & (values != 0.5)
    np.testing.assert_array_equal(clean, np.where(kept, values, np.nan))
    assert clean.dtype == "float32"


def test_infinity_is_no_data():
    clean = Rules().clean(np.array([1, np.inf, -np.inf]))
    np.testing.assert_array_equal(clean, [1, np.nan, np.nan])


@pytest.mark.parametrize("huge", [1e300, -3.4e38, 1e37, 9.969209968386869e36])
def test_a_number_beyond_any_quantity_is_refused_by_its_value(huge):
    with pytest.raises(CubeError, match=r"holds .*e\+.* beyond any quantity.*nodata:"):
        Rules().clean(np.array([1, huge]))
    cleaned = Rules(valid_range=(0, 1)).clean(np.array([1, huge]))
    np.testing.assert_array_equal(cleaned, [1, np.nan])


def test_cleaning_leaves_the_values_it_was_given_alone():
    values = np.array([1.0, 2.0], "float32")
    Rules(nodata=(1.0,)).clean(values)
    assert values.tolist() == [1, 2]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("nodata", [255, -32768, -3.4028234663852886e38, 1e300])
def test_nodata_of_any_kind_is_found_where_it_is_and_nowhere_else(dtype, nodata):
    values = np.array([0, 1, 2], dtype)
    assert Rules(nodata=(nodata,)).clean(values).tolist() == [0, 1, 2]
    fits = np.dtype(dtype).kind == "f" or np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max
    if fits and abs(nodata) < 1e39:
        values[1] = nodata
        np.testing.assert_array_equal(Rules(nodata=(nodata,)).clean(values), [0, np.nan, 2])


def test_rules_are_read_from_cf_attributes():
    def rules(**attrs):
        return Rules.of(xr.DataArray(np.array([1, 255], "uint8"), attrs=attrs))

    assert rules() == Rules()
    assert rules(valid_range=np.array([0, 1])) == Rules(valid_range=(0.0, 1.0))
    assert rules(valid_min=0, valid_max=1) == Rules(valid_range=(0.0, 1.0))
    assert rules(_FillValue=255) == Rules(nodata=(255.0,))
    assert rules(missing_value=9, _FillValue=255) == Rules(nodata=(255.0, 9.0))
    assert rules(missing_value=9) == Rules(nodata=(9.0,))
    assert rules(_FillValue=np.nan) == Rules()
    np.testing.assert_array_equal(
        rules(_FillValue=255).clean(np.array([1, 255], "uint8")), [1, np.nan]
    )


def rules_of(dtype="float32", encoding=None, **attrs):
    array = xr.DataArray(np.array([1, 2], dtype), name="hm", attrs=attrs)
    array.encoding = encoding or {}
    return Rules.of(array)


@pytest.mark.parametrize(
    "printed", [-3.4e38, -3.4028e38, -3.40282e38, -3.402823e38, -3.4028234663852886e38]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nodata_matches_as_any_gis_prints_it(printed, dtype):
    raw = np.array([np.finfo("float32").min, 0.5], dtype)
    np.testing.assert_array_equal(Rules(typed=(printed,)).clean(raw), [np.nan, 0.5])


@pytest.mark.parametrize("nodata", [-9999.9, 0.1, 1e20, -1.7e30])
def test_nodata_matches_within_the_rounding_of_float32(nodata):
    for raw in (np.array([nodata, 7], "float32"), np.array([np.float32(nodata), 7], "float64")):
        np.testing.assert_array_equal(Rules(nodata=(nodata,)).clean(raw), [np.nan, 7])


def test_nodata_zero_takes_zeros_alone():
    raw = np.array([0.0, -0.0, 1e-30, 1e-6], "float64")
    assert np.isnan(Rules(nodata=(0.0,)).clean(raw)).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0, 1", [0, 1]),
        ("[0.0 1.0]", [0, 1]),
        ("(0;1)", [0, 1]),
        (b"-9999", [-9999]),
        ("-9999.f", [-9999]),
        ("0b, 250b", [0, 250]),
        ([-9999.0, "-8888"], [-9999, -8888]),
        (np.array([[1, 2]]), [1, 2]),
        (7, [7]),
        ("nan", []),
        (None, []),
    ],
)
def test_an_attribute_is_read_as_number_list_array_or_text(written, read):
    assert numbers_of("hm", "missing_value", written).tolist() == read


@pytest.mark.parametrize("written", ["low to high", "0..1", {"a": 1}, "1-2", object()])
def test_an_attribute_that_is_no_number_is_named(written):
    with pytest.raises(CubeError, match=r"valid_range = .* of 'hm' is not a number"):
        numbers_of("hm", "valid_range", written)


@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "fill_value", "nodata"])
@pytest.mark.parametrize("value", [-999, "-999", [-999], np.int16(-999), b"-999"])
def test_every_attribute_that_declares_missing_is_heeded(key, value):
    assert rules_of("int16", **{key: value}).nodata == (-999.0,)


def test_all_declarations_of_missing_apply_together():
    encoding = {"_FillValue": -1, "missing_value": -2}
    attrs = {"missing_value": [-3, -4], "nodatavals": (-5, float("nan")), "nodata": "-6"}
    rules = rules_of("int16", encoding, **attrs)
    values = np.arange(-7, 2, dtype="int16")
    kept = rules.clean(values)
    assert kept[np.isfinite(kept)].tolist() == [-7, 0, 1]


def test_a_packed_array_is_unpacked_and_its_void_is_packed():
    rules = rules_of("int16", scale_factor=0.5, add_offset=10.0, _FillValue=-1)
    np.testing.assert_array_equal(rules.clean(np.array([-1, 4], "int16")), [np.nan, 12])


def test_floats_beside_a_scale_factor_are_refused():
    with pytest.raises(CubeError, match=r"scale_factor or add_offset.*cannot be known.*decode_cf"):
        rules_of("float32", scale_factor=0.5)
    assert rules_of("float32", scale_factor=1.0, add_offset=0.0) == Rules()


PACKED = {"dtype": np.dtype("uint8"), "scale_factor": 4.0, "add_offset": 0.0}


@pytest.mark.parametrize(
    "limits", [np.array([0, 250], "uint8"), [0, 250], "0, 250", np.array([0, 250], "int16")]
)
def test_a_valid_range_of_the_packed_type_is_packed(limits):
    rules = rules_of("float32", PACKED, valid_range=limits)
    np.testing.assert_array_equal(
        rules.clean(np.array([0, 932, 1000, 1004, -4], "float32")), [0, 932, 1000, np.nan, np.nan]
    )


@pytest.mark.parametrize("limits", [np.array([0, 250], "float32"), [0.0, 250.0], "0.0 250.0"])
def test_a_valid_range_of_the_unpacked_type_is_unpacked(limits):
    rules = rules_of("float32", PACKED, valid_range=limits)
    np.testing.assert_array_equal(rules.clean(np.array([0, 248, 252], "float32")), [0, 248, np.nan])


def test_a_packed_range_that_would_leave_two_values_is_refused():
    packed = {"dtype": np.dtype("int16"), "scale_factor": 1e-4, "add_offset": 0.0}
    with pytest.raises(CubeError, match=r"valid_range \[0, 1\] of 'hm'.*leave two values"):
        rules_of("float32", packed, valid_range=[0, 1])
    assert rules_of("float32", packed, valid_range=[0.0, 1.0]).valid_range == (0, 1)


def test_a_negative_scale_turns_the_packed_range():
    packed = {"dtype": np.dtype("int16"), "scale_factor": -1.0, "add_offset": 100.0}
    rules = rules_of("float32", packed, valid_range=np.array([0, 80], "int16"))
    np.testing.assert_array_equal(
        rules.clean(np.array([19, 20, 100, 101], "float32")), [np.nan, 20, 100, np.nan]
    )


@pytest.mark.parametrize(
    ("attrs", "kept"),
    [({"valid_min": 0.0}, [0, 5]), ({"valid_max": 0.0}, [-5, 0]), ({"valid_min": 1}, [5])],
)
def test_one_end_of_a_range_is_enough(attrs, kept):
    values = rules_of(**attrs).clean(np.array([-5, 0, 5], "float32"))
    assert values[np.isfinite(values)].tolist() == kept


def test_signed_bytes_that_stand_for_unsigned_ones_are_read_as_these():
    rules = rules_of("int8", _Unsigned="true", _FillValue=np.int8(-1), scale_factor=0.5)
    np.testing.assert_array_equal(rules.clean(np.array([-1, -2, 3], "int8")), [np.nan, 127, 1.5])


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[ns]", "timedelta64[ns]", "object"])
def test_what_is_no_real_number_is_refused(dtype):
    with pytest.raises(CubeError, match=r"'hm' holds .*a map holds real numbers"):
        rules_of(dtype)


def test_true_and_false_are_one_and_zero():
    assert rules_of("bool").clean(np.array([True, False])).tolist() == [1, 0]


def test_the_catalog_follows_cf_unpacking_and_its_nodata_is_of_the_file():
    rules = rules_of("int16", scale_factor=0.5, valid_range=np.array([0, 10], "int16"))
    rules = rules.under(Source(path="a", scale=10, offset=1, nodata=7), replaces=False)
    np.testing.assert_array_equal(
        rules.clean(np.array([-1, 0, 7, 10, 11], "int16")), [np.nan, 1, np.nan, 51, np.nan]
    )


def test_a_valid_range_of_the_catalog_stands_for_that_of_the_file():
    rules = rules_of(valid_range=[0.0, 1.0])
    rules = rules.under(Source(path="a", valid_range=(0, 5)), replaces=False)
    assert rules.clean(np.array([3, 6], "float32"))[0] == 3
