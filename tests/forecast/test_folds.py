"""Laws of the plan of folds."""

from __future__ import annotations

import json

import numpy as np
import pytest

import hmx
from hmx.cube.cube import as_cube
from hmx.errors import BadArgument, NotEnoughData
from hmx.forecast import folds as foldplan
from hmx.forecast.folds import fold_plan, thin
from hmx.forecast.options import TrainOptions
from hmx.forecast.train.recipe import TrainSetup, plan
from hmx.networks.options import ModelOptions
from hmx.splits import CALIBRATION, ROLES, TEST, TRAIN, UNUSED, VALIDATION, Split
from hmx.windows import Window
from hmx.workflow import plan_folds
from tests.make.cubes import make_cube

FIT = TrainOptions(block=16, seed=3)


@pytest.fixture(scope="module")
def ds():
    return make_cube((96, 112), steps=5)


def test_the_split_is_the_one_that_training_makes(ds):
    found = fold_plan(ds, FIT)
    assert found.splits == (plan(as_cube(ds), TrainSetup(fit=FIT)).reader.split,)


@pytest.mark.parametrize(
    ("fit", "network"),
    [
        (TrainOptions(seed=1, test=0.2), ModelOptions(context=[1, 3])),
        (TrainOptions(folds=4, fold=2, buffer=1), ModelOptions(trunk=[1])),
        (TrainOptions(until=2005), ModelOptions(context=[])),
    ],
    ids=["test blocks", "a fold", "until"],
)
def test_options_of_training_and_network_decide_the_split_alike(ds, fit, network):
    found = fold_plan(ds, fit, network=network)
    assert found.splits == (plan(as_cube(ds), TrainSetup(network=network, fit=fit)).reader.split,)


@pytest.mark.parametrize("folds", [None, 3])
def test_pixels_are_those_with_data_at_any_step(ds, folds, monkeypatch):
    monkeypatch.setattr("hmx.forecast.inputs.CHUNK", 37)
    found = fold_plan(ds, FIT, buffer=2, folds=folds)
    seen = np.isfinite(ds["hm"].values).any(axis=0)
    assert len(found.splits) == len(found.pixels) == (folds or 1)
    for split, pixels in zip(found.splits, found.pixels, strict=True):
        roles = split.roles(Window.of(split.shape))
        assert pixels == {role: (seen & (roles == role)).sum() for role in (*ROLES, UNUSED)}
        assert sum(pixels.values()) == seen.sum()
    assert (found.valid == seen).all()


def test_pixels_to_be_drawn_are_thinned_alike(ds, monkeypatch):
    monkeypatch.setattr("hmx.forecast.inputs.CHUNK", 37)
    monkeypatch.setattr(foldplan, "MOST", 20)
    seen = np.isfinite(ds["hm"].values).any(axis=0)
    assert (fold_plan(ds, FIT).valid == seen[np.ix_(thin(96, 20), thin(112, 20))]).all()


@pytest.mark.parametrize(("size", "most"), [(7, 20), (20, 20), (21, 20), (17_111, 1200)])
def test_thinned_rows_are_even_and_inside(size, most):
    rows = thin(size, most)
    assert len(rows) == min(size, most)
    assert rows[0] >= 0
    assert rows[-1] < size
    assert np.ptp(np.diff(rows)) <= 1
    assert np.diff(rows).min() >= 1


def test_folds_test_on_every_block_once_with_buffers_round_them(ds):
    found = fold_plan(ds, FIT, folds=4, buffer=3)
    tested = sum((split.table == TEST).astype(int) for split in found.splits)
    assert (tested == (found.splits[0].table != UNUSED)).all()
    for split, pixels in zip(found.splits, found.pixels, strict=True):
        assert split.buffer == 3
        assert all(pixels[role] > 0 for role in (TRAIN, VALIDATION, CALIBRATION, TEST, UNUSED))


def test_a_block_in_metres_takes_the_place_of_the_one_in_pixels(ds):
    assert fold_plan(ds, FIT, block_m=3000).splits[0].block == 10  # of 300 m


def test_a_globe_keeps_its_buffers_across_the_date_line():
    globe = make_cube((20, 72), crs="EPSG:4326", pixel=5.0, corner=(-180.0, 50.0), holes=False)
    assert fold_plan(globe, TrainOptions(block=8), buffer=1).splits[0].wraps


def test_steps_after_the_holdout_are_not_looked_at(ds):
    late = ds.copy(deep=True)
    late["hm"][3:] = np.nan
    late["hm"][3:, :20] = 0.5
    one, other = (fold_plan(cube, FIT, until=2000) for cube in (ds, late))
    assert one.correlation == other.correlation
    assert one.splits == other.splits
    assert (one.valid == other.valid).all()
    assert fold_plan(late, FIT).correlation != one.correlation


def test_the_report_has_lengths_blocks_pixels_and_hash(ds):
    found = fold_plan(ds, FIT, buffer=2)
    text = str(found)
    assert "km" in text.splitlines()[0]
    assert "block        16 px (4.8 km)" in text
    assert "buffer       2 px (600 m)" in text
    assert found.splits[0].digest in text
    for role, name in ROLES.items():
        blocks = (found.splits[0].table == role).sum()
        line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert line.split()[1:3] == [f"{blocks:,}", f"{found.pixels[0][role]:,}"]
    assert "fold 2 " in str(fold_plan(ds, FIT, folds=2))


def test_the_advice_says_which_block_to_set_and_when_there_is_no_room(ds):
    wide = fold_plan(make_cube((300, 300)), TrainOptions(block=8))
    assert wide.suggested > 8
    assert f"--set train.block={wide.suggested}" in str(wide)
    assert "have no room in this cube" in str(fold_plan(ds, FIT))
    assert fold_plan(ds, FIT).suggested <= np.sqrt(96 * 112 / 20)


def test_a_cube_that_does_not_change_is_split_without_advice(ds):
    still = ds.copy(deep=True)
    still["hm"][:] = still["hm"].isel(time=0)
    found = fold_plan(still, FIT)
    assert found.correlation is None
    assert found.suggested is None
    assert "unknown: too little" in str(found)
    assert "keep the block" in str(found)


def test_a_plan_is_json(ds):
    found = fold_plan(ds, FIT, folds=2)
    read = json.loads(json.dumps(found.as_dict()))
    assert [Split.from_dict(saved) for saved in read["splits"]] == list(found.splits)
    assert read["pixels"][1]["test"] == found.pixels[1][TEST]
    assert read["correlation_length_m"] == found.correlation.length_m


def test_a_catalog_gives_cube_target_and_options(ds, tmp_path, monkeypatch):
    monkeypatch.setattr("hmx.workflow.planning.ensure_cube", lambda *_: None)
    ds.rename(hm="hfp").to_zarr(tmp_path / "cube.zarr", consolidated=False, zarr_format=3)
    (tmp_path / "c.yaml").write_text(
        "cube: {path: cube.zarr, target: hfp, sources: {hfp: {path: x.tif}}}\n"
        "train: {block: 16, seed: 3}\n"
    )
    found = plan_folds(hmx.Catalog.load(tmp_path / "c.yaml"))
    assert found.splits == fold_plan(ds, FIT).splits


def test_what_cannot_be_split_is_refused(ds):
    with pytest.raises(NotEnoughData, match=r"buffer=90 px leaves no pixel for train"):
        fold_plan(ds, FIT, buffer=90)
    with pytest.raises(BadArgument, match="at least 2 folds"):
        fold_plan(ds, FIT, folds=1)
    with pytest.raises(BadArgument, match="is not on the time axis"):
        fold_plan(ds, FIT, until="1991")
