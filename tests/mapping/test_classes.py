"""Laws of bands of classes: each class is learnt by itself, and what looks like codes is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from hmx.catalog import MapCatalog
from hmx.cube.bands import as_bands
from hmx.cube.cube import open_cube
from hmx.errors import CatalogError, CubeError, HmxError
from hmx.ingest.ingest import ingest
from hmx.ingest.options import CubeSection
from hmx.mapping.api import soc_map as hmx_map
from hmx.mapping.api import train as hmx_train
from hmx.mapping.bundle import MapBundle
from hmx.mapping.inputs import fit_band_scaler, scaled
from hmx.mapping.train.recipe import MapTrainSetup, Prepared, prepare
from hmx.networks.options import MapperOptions
from hmx.points.options import PointsOptions
from tests.make.soilworlds import TINY, UTM, make_points, write_map_catalog

RNG = np.random.default_rng(5)
SHAPE = (32, 36)


def warnings(land: xr.Dataset, values: np.ndarray, **attrs: Any) -> tuple[str, ...]:
    ds = land.assign(band=(("y", "x"), values, attrs))
    recipe = MapTrainSetup(points=PointsOptions(crs=UTM), network=MapperOptions(window=3))
    return prepare(ds, make_points(land), recipe).warnings


def patches(codes: list[int]) -> np.ndarray:
    small = RNG.choice(codes, (8, 9))
    return np.kron(small, np.ones((4, 4))).astype("int16")


@pytest.mark.parametrize("codes", [[11, 311, 512], list(range(1, 9)), [0, 1, 2, 3], [10, 20, 95]])
def test_codes_of_classes_are_named_with_what_to_type(land: xr.Dataset, codes: list[int]) -> None:
    values = patches(codes)
    (said,) = warnings(land, values)
    assert said.startswith(f"'band' looks like codes of {len(codes)} classes")
    assert "Pass categories=['band']" in said


def test_quantities_in_whole_numbers_are_none(land: xr.Dataset) -> None:
    rows, columns = np.mgrid[:32, :36]
    slope = np.round(10 + 8 * np.sin(rows / 9) * np.cos(columns / 8)).astype("int16")
    percent = np.round(50 + 50 * np.sin(rows / 5) * np.cos(columns / 4))
    for values in (slope, percent, patches([0, 1]), RNG.normal(size=SHAPE)):
        assert warnings(land, values.astype("float32")) == ()


def prepared(land: xr.Dataset, values: np.ndarray, **attrs: Any) -> Prepared:
    """Samples on a land with one band of codes, declared by its attributes or by name."""
    names = attrs.pop("categories", ())
    ds = land.assign(band=(("y", "x"), values, attrs))
    network = MapperOptions(window=3, coarse=(2,))
    recipe = MapTrainSetup(PointsOptions(crs=UTM), network, categories=names)
    return prepare(ds, make_points(land), recipe)


def test_flags_and_names_declare_classes(land: xr.Dataset) -> None:
    values = patches([11, 311, 512])
    by_flags = prepared(land, values, flag_values=[11, 311, 512], flag_meanings="a b c")
    by_name = prepared(land, values, categories=("band",))
    for one in (by_flags, by_name):
        assert one.spec.categories == {"band": (11, 311, 512)}
        assert one.warnings == ()
        assert one.spec.channels[1] == one.raw.static.shape[1] + 1
    assert prepared(land, values.astype("float32")).spec.categories == {}


def test_a_class_is_a_plane_of_0_and_1_and_its_means_are_shares(land: xr.Dataset) -> None:
    values = patches([11, 311, 512]).astype("float32")
    values[0, 0] = np.nan
    one = prepared(land, values, categories=("band",))
    names = one.spec.planes(one.spec.static)
    planes = [at for at, name in enumerate(names) if name == "band"]
    own, around = one.raw.static[:, planes], one.raw.static[:, [at + len(names) for at in planes]]
    assert len(planes) == 3
    known = np.isfinite(own).all(axis=1)
    assert set(np.unique(own[np.isfinite(own)])) == {0, 1}
    np.testing.assert_allclose(own.sum(axis=1)[known], 1)
    np.testing.assert_allclose(around.sum(axis=1)[np.isfinite(around).all(axis=1)], 1, atol=1e-6)
    assert ((around > 0) & (around < 1)).any()
    # the network gets them as they are
    scaler = fit_band_scaler(one.raw, np.arange(len(one.raw)), one.spec)
    inputs = scaled(one.raw, one.spec, scaler).static[:, planes]
    np.testing.assert_array_equal(inputs, np.nan_to_num(own))


@pytest.mark.parametrize(
    ("values", "categories", "words"),
    [
        (patches([1, 2, 3]) + 0.5, ("band",), r"contains 1\.5: codes are whole numbers"),
        (RNG.integers(0, 4000, SHAPE), ("band",), "and at most 100 can be learnt"),
        (patches([1, 2, 3]), ("bond",), "categories names 'bond'.* Did you mean 'band'"),
        (np.full(SHAPE, np.nan), ("band",), "no known class around the training samples"),
    ],
)
def test_what_cannot_be_classes_is_refused(
    land: xr.Dataset, values: np.ndarray, categories: tuple[str, ...], words: str
) -> None:
    with pytest.raises(HmxError, match=words):
        prepared(land, values, categories=categories)


@pytest.mark.parametrize("made", [str, object], ids=["text", "objects with a gap"])
def test_classes_in_words_are_refused_with_the_way_to_make_numbers(
    land: xr.Dataset, made: type
) -> None:
    words = np.where(patches([0, 1]), "chalk", "granite").astype(made)
    if made is object:
        words[0, 0] = None
    ds, points = land.assign(geology=(("y", "x"), words)), make_points(land)
    for categories in ([], ["geology"]):
        with pytest.raises(CubeError) as refusal:
            ds.soc.train(points, crs=UTM, categories=categories, **TINY)
        text = str(refusal.value)
        assert text.startswith("'geology' holds text")  # what was given
        assert "a band holds numbers" in text  # the rule
        assert "ds.drop_vars('geology')" in text  # what to type
    (typed,) = re.findall(r"ds\['geology_granite'\] = .*\)", text)
    exec(typed, {"ds": ds})
    np.testing.assert_array_equal(ds["geology_granite"], words == "granite")
    assert "geology_granite" in as_bands(ds.drop_vars("geology")).static


def classed(land: xr.Dataset) -> tuple[xr.Dataset, pd.DataFrame]:
    """A land whose soil follows its classes alone, which have no order: 10, 60, 20, 45."""
    values = np.kron(RNG.choice([3, 11, 311, 512], (16, 18)), np.ones((2, 2))).astype("int16")
    points = make_points(land, 240)
    columns = np.searchsorted(land["x"].values, points["x"])
    rows = np.searchsorted(-land["y"].values, -points["y"])
    level = {3: 10.0, 11: 60.0, 311: 20.0, 512: 45.0}
    points["soc"] = [level[code] for code in values[rows, columns]]
    points["soc"] *= np.exp(0.05 * RNG.normal(size=len(points)))
    ds = land[["elevation"]].assign(band=(("y", "x"), values))
    return ds, points.drop(columns="year")


def test_a_class_that_no_sample_saw_is_flagged_and_outside(
    land: xr.Dataset, tmp_path: Path
) -> None:
    ds, points = classed(land)
    model = hmx_train(ds, points, categories="band", crs=UTM, out=tmp_path / "m", **TINY)
    new = ds.assign(band=ds["band"].where((ds["x"] > ds["x"][2]) | (ds["y"] < ds["y"][2]), 999))
    made = hmx_map(new, model=model, tile=16).compute()
    odd = (new["band"] == 999).values
    assert odd.sum() == 9
    np.testing.assert_array_equal((made["quality"].values & 8) > 0, odd)
    assert (made["applicable"].values[odd] == 0).all()
    assert "class_unknown" in made["quality"].attrs["flag_meanings"]
    again = MapBundle.load(tmp_path / "m")
    assert again.spec == model.spec
    assert again.digest == model.digest


def test_a_catalog_declares_classes_by_name_and_aligns_them_by_the_nearest(
    land: xr.Dataset, tmp_path: Path
) -> None:
    ds, points = classed(land)
    source = {"categories": {3: "bare rock", 11: "forest", 311: "meadow", 512: "bog"}}
    ds = ds.astype("float32").assign(lst=land["lst"])
    path = write_map_catalog(tmp_path, ds, points.assign(year=2014))
    raw = yaml.safe_load(path.read_text())
    raw["cube"]["sources"]["band"] |= source
    path.write_text(yaml.safe_dump(raw))
    catalog = MapCatalog.load(path)
    assert catalog.cube.sources["band"].align == "nearest"
    ingest(catalog)
    attrs = open_cube(tmp_path / "soils.zarr")["band"].attrs
    assert list(attrs["flag_values"]) == [3, 11, 311, 512]
    assert attrs["flag_meanings"] == "bare_rock forest meadow bog"
    raw["cube"]["sources"]["band"]["align"] = "average"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(CatalogError, match="average makes numbers between codes of classes"):
        MapCatalog.load(path)


def test_a_forecast_refuses_classes(tmp_path: Path) -> None:
    sources = {"hm": {"path": "hm_{year}.tif", "years": [2000, 2005]}, "lc": {"path": "lc.tif"}}
    sources["lc"]["categories"] = True
    with pytest.raises(ValueError, match=r"sources\.lc has categories"):
        CubeSection(path="a.zarr", sources=sources)
