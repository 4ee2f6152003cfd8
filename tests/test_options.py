"""Laws of options: one wrong value, one sentence that says what to type."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hmx.errors import BadArgument, CatalogError
from hmx.forecast.options import (
    Backtesting,
    Fitting,
    Forecasting,
    ForecastOptions,
    TrainOptions,
    split_fitting,
)
from hmx.mapping.keywords import MapChoices, MapFitting, MapSelecting
from hmx.mapping.options import STUDY_NAMES, MapOptions, MapTrainOptions
from hmx.mapping.select.options import SelectOptions
from hmx.networks.names import NETWORK_NAMES
from hmx.networks.options import MapperOptions, ModelOptions
from hmx.plugins import declared
from hmx.points.options import PointsOptions
from hmx.settings import parse

*_FIRST, _LAST = map(repr, sorted(declared("hmx.networks", "network")))
ARCHS = f"{', '.join(_FIRST)} or {_LAST}"  # of every registered network


def refusal(kind, **values):
    with pytest.raises(BadArgument) as caught:
        parse(kind, values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (ForecastOptions, {"h": 0}, "h=0: must be at least 1."),
        (ForecastOptions, {"h": 2.5}, "h=2.5: must be a whole number."),
        (ForecastOptions, {"h": True}, "h=True: must be a whole number."),
        (ForecastOptions, {"h": "4"}, "h='4': must be a whole number."),
        (
            ForecastOptions,
            {"level": 180},
            "level=180: a level is a percentage between 0 and 100. Try 80.",
        ),
        (
            ForecastOptions,
            {"level": (80, 0)},
            "level=[80, 0]: a level is a percentage between 0 and 100. Try 80.",
        ),
        (
            ForecastOptions,
            {"level": float("nan")},
            "level=nan: a level is a percentage between 0 and 100. Try 80.",
        ),
        (ForecastOptions, {"level": "80"}, "level='80': must be a list."),
        (
            ForecastOptions,
            {"quantiles": [0.5, 1]},
            "quantiles=[0.5, 1]: a quantile lies between 0 and 1. Try 0.5.",
        ),
        (
            ForecastOptions,
            {"precision": "float16"},
            "precision='float16': must be 'float32', 'bfloat16', 'auto' or 'float64'.",
        ),
        (
            ModelOptions,
            {"kernel": 4},
            "kernel=4: a kernel has a centre, so its size is odd. Try 5.",
        ),
        (
            ModelOptions,
            {"dilation": [1, 2, 4]},
            "dilation=[1, 2, 4] has 3 numbers for layers=1, and each layer has one. Try [1].",
        ),
        (
            ModelOptions,
            {"arch": "dilated", "trunk": []},
            "arch='dilated' is its trunk, so trunk cannot be empty. Try [1, 2].",
        ),
        (ModelOptions, {"trunk": [0]}, "trunk=0: must be at least 1."),
        (ModelOptions, {"context": [-1]}, "context=-1: must be at least 1."),
        (ModelOptions, {"arch": "gpt"}, f"arch='gpt': must be {ARCHS}."),
        (
            ModelOptions,
            {"knots": [0.1, 0.9]},
            "knots=[0.1, 0.9]: knots are at least three ascending probabilities between 0 and 1 "
            "with 0.5 among them. Try [0.05, 0.25, 0.5, 0.75, 0.95], or [] for one number.",
        ),
        (TrainOptions, {"ema": 1}, "ema=1: must be less than 1.0."),
        (TrainOptions, {"focus": -0.1}, "focus=-0.1: must be at least 0.0."),
        (TrainOptions, {"folds": 1}, "folds=1: must be at least 2."),
        (TrainOptions, {"runs": 0}, "runs=0: must be at least 1."),
        (ModelOptions, {"dilation": 4}, "dilation=4: must be a list."),
        (ModelOptions, {"dilation": [1, 0]}, "dilation=0: must be at least 1."),
        (TrainOptions, {"lr": 0}, "lr=0: must be greater than 0.0."),
        (TrainOptions, {"lr": "fast"}, "lr='fast': must be a number."),
        (TrainOptions, {"calibration": 0.5}, "calibration=0.5: must be less than 0.5."),
        (TrainOptions, {"seed": -1}, "seed=-1: must be at least 0."),
        (TrainOptions, {"chip": 4}, "chip=4: must be at least 8."),
    ],
    ids=str,
)
def test_a_wrong_value_is_told_its_rule(kind, values, text):
    assert refusal(kind, **values) == text


def test_every_wrong_value_is_told_at_once():
    assert refusal(TrainOptions, h=0, lr=-1).splitlines() == [
        "h=0: must be at least 1.",
        "lr=-1: must be greater than 0.0.",
    ]


def test_an_unknown_option_is_told_the_nearest():
    assert refusal(ForecastOptions, levels=80) == (
        "unknown option 'levels' (known: h, level, quantiles, exceed, tile, chunk, precision, "
        "device). Did you mean 'level'?"
    )


def test_words_in_a_catalog_name_the_file():
    with pytest.raises(CatalogError) as caught:
        parse(ForecastOptions, {"level": 180, "hh": 1}, file="a.yaml", error=CatalogError)
    assert str(caught.value).splitlines() == [
        "level = 180 in a.yaml: a level is a percentage between 0 and 100. Try 80.",
        "unknown key 'hh' in a.yaml (known: h, level, quantiles, exceed, tile, chunk, precision, "
        "device). Did you mean 'h'?",
    ]


@pytest.mark.parametrize(
    ("level", "expected"),
    [(80, (80,)), ([95, 80, 95], (80, 95)), ((99.5,), (99.5,)), ([], ()), ((), ())],
    ids=str,
)
def test_levels_come_as_a_number_or_a_list_and_are_sorted_once(level, expected):
    assert parse(ForecastOptions, {"level": level}).level == expected
    shares = [value / 100 for value in level] if not isinstance(level, int) else level / 100
    assert parse(ForecastOptions, {"quantiles": shares}).quantiles == tuple(
        value / 100 for value in expected
    )


@given(st.integers(1, 6))
def test_every_layer_has_a_dilation(layers):
    assert len(ModelOptions(layers=layers).dilations()) == layers
    chosen = tuple(range(1, layers + 1))
    assert ModelOptions(layers=layers, dilation=chosen).dilations() == chosen


@given(st.integers(1, 99))
def test_exactly_odd_kernels_have_a_centre(kernel):
    if kernel % 2:
        assert ModelOptions(kernel=kernel).kernel == kernel
    else:
        assert f"Try {kernel + 1}." in refusal(ModelOptions, kernel=kernel)


def test_options_are_split_between_network_and_fit():
    network, fit = split_fitting({"hidden": 3, "layers": 1, "h": 2, "lr": 0.1})
    assert (network, fit) == (ModelOptions(hidden=3, layers=1), TrainOptions(h=2, lr=0.1))
    assert split_fitting({}) == (ModelOptions(), TrainOptions())


@pytest.mark.parametrize(("name", "near"), [("hiden", "hidden"), ("epoch", "epochs")])
def test_an_option_of_neither_is_told_the_nearest_of_both(name, near):
    text = rf"unknown option '{name}' \(known: arch, .*\)\. Did you mean '{near}'\?"
    with pytest.raises(BadArgument, match=text):
        split_fitting({name: 2})


@pytest.mark.parametrize("options", [{"hidden": 0}, {"epochs": 0}], ids=str)
def test_options_of_both_are_validated(options):
    with pytest.raises(BadArgument, match=r"=0: must be at least 1\."):
        split_fitting(options)


def test_keywords_of_train_are_options_and_their_defaults_hold():
    known = {**ModelOptions.model_fields, **TrainOptions.model_fields}
    assert set(Fitting.__annotations__) - set(known) == {"init_from"}
    assert set(known) - set(Fitting.__annotations__) == {"history", "h", "seed"}


def test_keywords_of_a_mapper_and_of_maps_are_options_too():
    kinds = (PointsOptions, MapperOptions, MapTrainOptions)
    known = {name for kind in kinds for name in kind.model_fields}
    assert known - set(MapFitting.__annotations__) == {"target", "window", "seed"}
    other = {*STUDY_NAMES, *NETWORK_NAMES, "use_validation", "categories"} - {"distance_km"}
    assert set(MapFitting.__annotations__) - known == {"split", "track", "init_from"} | other
    own = set(MapSelecting.__annotations__) - set(MapFitting.__annotations__)
    assert own == set(SelectOptions.model_fields)
    assert set(MapChoices.__annotations__) == {*MapOptions.model_fields, "year"}
    assert set(Forecasting.__annotations__) == set(ForecastOptions.model_fields) - {"h"}
    own = {"target", "static", "dynamic", "history", "seed", "zone_draws"}
    assert set(Backtesting.__annotations__) ^ set(Fitting.__annotations__) == own | {
        "fold",
        "folds",
        "init_from",
    }


@pytest.mark.parametrize("kind", [ModelOptions, TrainOptions, ForecastOptions])
def test_options_are_explained_and_frozen(kind):
    for name in kind.model_fields:
        assert re.search(rf"(?m)^ *(\w+, )*{name}(, \w+)* : ", kind.__doc__), name
    with pytest.raises(ValidationError, match="frozen"):
        kind().h = 2
