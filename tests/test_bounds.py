"""Laws of bounds: every number of every option has an end, and no text is taken for another."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from pydantic import BaseModel

from hmx.catalog import Catalog, MapCatalog
from hmx.catalog.reading import SUFFIXES
from hmx.errors import BadArgument, CatalogError, HmxError
from hmx.ingest.options import CubeSection
from hmx.settings import Options, parse

HM = {"path": "HM_{year}.tif", "years": [1990, 1995]}
FLAT = {"path": "e.tif"}


def kinds(kind: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """Every class of options below one."""
    seen.add(kind)
    for inner in Options.__subclasses__():
        todo = [inner]
        while todo:
            one = todo.pop()
            seen.add(one)
            todo += one.__subclasses__()
    return seen


ALL = sorted(
    {kind for kind in kinds(Catalog, {MapCatalog}) if not kind.__name__.startswith("_")},
    key=lambda kind: kind.__name__,
)
NUMERIC = [
    (kind, name)
    for kind in ALL
    for name, field in kind.model_fields.items()
    if re.search(r"\b(int|float)\b", str(field.annotation))
]
FREE = {"origins", "until", "time", "nodata", "missing"}  # dates, and what is compared alone


def wrong(kind: type[BaseModel], name: str, value: Any) -> str:
    try:
        parse(kind, {name: value})
    except HmxError as error:
        return str(error)
    return "taken"


def test_there_are_numbers_to_bound():
    assert len(NUMERIC) > 60


@pytest.mark.parametrize(("kind", "name"), NUMERIC, ids=lambda v: getattr(v, "__name__", v))
def test_no_number_is_without_end(kind: type[BaseModel], name: str):
    for value in (10**40, 1e300, -1e300, math.inf, -math.inf, [10**40], [1e300, 1.1e300]):
        if name not in FREE and not (name == "valid_range" and isinstance(value, list)):
            assert wrong(kind, name, value) != "taken", value


@pytest.mark.parametrize(("kind", "name"), NUMERIC, ids=lambda v: getattr(v, "__name__", v))
def test_true_is_no_number(kind: type[BaseModel], name: str):
    field = kind.model_fields[name]
    if "bool" in str(field.annotation):
        return
    assert wrong(kind, name, True) != "taken"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"scale": 0}, "scale=0: all values would be 0"),
        ({"scale": math.nan}, "scale=nan: must be a finite number"),
        ({"offset": math.inf}, "offset=inf: must be a finite number"),
        ({"valid_range": [0, math.nan]}, "valid_range=nan: must be a finite number"),
        ({"valid_range": [0, math.inf]}, "valid_range=inf: must be a finite number"),
        ({**HM, "years": [1990, 1995, 1990]}, "the year 1990 stands twice"),
        ({**HM, "years": [0]}, "the year 0 does not exist: years are 1 to 9999"),
        ({**HM, "years": {"start": 1, "stop": 1_000_000}}, "stop=1000000: must be at most 9999"),
        (
            {"path": "p_{month}.tif", "months": [13]},
            "the month 13 does not exist: months are 1 to 12",
        ),
        ({"path": "p_{month}.tif", "months": [1, 1]}, "the month 1 stands twice"),
        ({"path": "p_{time}.tif", "times": ["2020-01-01", "2020-01-01"]}, "stands twice"),
        ({"path": ""}, "a path cannot be empty"),
        ({"path": "a\x00b"}, "a text has one line of characters that can be written"),
        ({"path": "x" * 5000}, "a text has at most 4,096 characters"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_source_has_values_that_can_be(source: dict[str, Any], words: str):
    with pytest.raises(BadArgument) as caught:
        parse(CubeSection, {"path": "a.zarr", "target": "e", "sources": {"e": {**FLAT, **source}}})
    assert words in str(caught.value)


def test_a_long_value_is_cut_in_its_message():
    with pytest.raises(BadArgument) as caught:
        parse(CubeSection, {"path": "x" * 1_000_000, "sources": {"hm": HM}})
    assert len(str(caught.value)) < 500


def test_a_thousand_wrong_values_are_one_screen():
    raw = {f"k{number}": 1 for number in range(1000)}
    with pytest.raises(CatalogError) as caught:
        parse(Catalog, raw, file="c.yaml", error=CatalogError)
    assert len(str(caught.value).splitlines()) == 21
    assert SUFFIXES == (".yaml", ".yml")
