"""Laws of what ``hmx info`` says of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import hmx
from hmx.products.describe import bundle_lines, describe_skill, store_lines
from hmx.uncertainty.calibration import Calibration
from tests.make.mapworlds import make_covariates, make_mapper

LEADS = {"1": {"skill": 0.2, "crps_skill": 0.25}, "2": {"skill": -0.1, "crps_skill": 0.125}}
RUNS = {
    "loss": {"mean": 0.9, "sd": 0.1, "n": 3},
    "skill_h1": {"mean": 0.21, "sd": 0.02, "n": 3},
    "crps_skill_h1": {"mean": 0.3, "sd": 0.04, "n": 3},
    "skill_h2": {"mean": 0.0, "sd": 0.01, "n": 3},
    "crps_skill_h2": {"mean": 0.1, "sd": 0.03, "n": 3},
}


def test_a_model_is_described_by_form_sight_skill_and_calibration(trained: hmx.Bundle) -> None:
    found = bundle_lines(hmx.load(trained.path))
    assert found["network"].startswith(f"convlstm, direct, {trained.spec.h} leads; 8 wide")
    assert found["sees"].startswith("9 px around a pixel: 6 by the network")
    assert found["sees"].endswith("half-width 1, 3")
    assert found["skill"].startswith("CRPS ")
    assert found["intervals"].startswith(f"calibrated for leads 1 to {trained.calibration.leads}")
    assert found["zones"].startswith(
        "ranges fitted on 4 origins, region-wide spread from 4 training origins (0 held out)"
    )
    assert max(map(len, found.values())) < 200


def test_without_calibration_intervals_say_so(trained: hmx.Bundle, tmp_path) -> None:
    path = tmp_path / "plain"
    replace(trained, calibration=Calibration(), dependence=None).save(path)
    found = bundle_lines(hmx.load(path))
    assert "nothing was kept to calibrate on" in found["intervals"]
    assert found["zones"].startswith("from the prior: the model is not calibrated")


TAUGHT = {
    "followed": (
        {"fitted": True, "trend": 0.2, "regression": 0.482, "gains": {"2000": 0.1, "2005": 0.2}},
        "expected changes are 48 % of a regression and 20 % of a damped trend: the fit to all "
        "other past steps gained at 2 of 2",
    ),
    "one rung": (
        {"fitted": True, "trend": 0.0, "regression": 0.9, "gains": {"a": 0.1, "b": -0.2, "c": 1}},
        "expected changes are 90 % of a regression: the fit to all other past steps gained at 2 "
        "of 3",
    ),
    "one origin": (
        {"fitted": True, "trend": 0.5, "regression": 0.0, "gains": {}},
        "expected changes are 50 % of a damped trend: there is one past step, and none to check it",
    ),
    "held": (
        {"fitted": False, "trend": 0.0, "regression": 0.0, "gains": {"a": 0.1, "b": -0.2}},
        "HELD AT THE LAST MAP: the fit to all other past steps gained at 1 of 2",
    ),
    "older": (
        {"left_out_skill": 0.031, "fitted": True},
        "+3.1 % of a linear regression on steps left out",
    ),
    "older, held": (
        {"left_out_skill": -0.05, "fitted": False},
        "-5.0 % of a linear regression on steps left out: WORSE THAN PERSISTENCE, so means are "
        "held at the last map",
    ),
    "older, one origin": ({"left_out_skill": None, "fitted": True}, None),
    "none": ({}, None),
}


@pytest.mark.parametrize(("anchor", "line"), TAUGHT.values(), ids=TAUGHT)
def test_what_past_steps_taught_is_one_line(
    trained: hmx.Bundle, tmp_path, anchor: dict[str, Any], line: str | None
) -> None:
    replace(trained, training={**trained.training, "anchor": anchor}).save(tmp_path / "model")
    assert bundle_lines(hmx.load(tmp_path / "model")).get("means") == line


def test_persistence_far_from_change_is_told(trained: hmx.Bundle, tmp_path) -> None:
    damped = replace(trained.calibration, far=0.0, nodes=(0.0, 3.0))
    replace(trained, calibration=damped).save(tmp_path / "model")
    told = bundle_lines(hmx.load(tmp_path / "model"))["intervals"]
    assert told.endswith("persistence from 3 px on")


def test_a_model_and_its_grid_are_one_line_in_a_notebook(trained: hmx.Bundle, cube) -> None:
    assert repr(trained).startswith(f"Bundle(hm, {trained.spec.h} x 5 years, convlstm, direct, ")
    assert str(trained.path) in repr(trained)
    assert "not saved" in repr(replace(trained, path=None))
    grid = repr(cube.hm.grid)
    assert grid.startswith("Grid(96 rows x 112 columns, EPSG:32632, bounds 500000, ")
    assert len(grid.splitlines()) == 1


def test_skill_of_one_run_is_told_by_lead() -> None:
    text = "CRPS +0.250, +0.125; RMSE +0.200, -0.100 (leads 1, 2 against persistence, validation"
    assert describe_skill({"leads": LEADS}) == f"{text} blocks)"


def test_skill_of_several_runs_is_their_mean_and_spread() -> None:
    text = describe_skill({"leads": LEADS, "runs": RUNS})
    assert text.startswith("CRPS +0.300 ± 0.040, +0.100 ± 0.030; RMSE +0.210 ± 0.020")
    assert text.endswith("mean ± sd of 3 runs)")


@pytest.mark.parametrize("validation", [{}, {"loss": 1.0, "leads": {}}])
def test_a_model_that_was_not_scored_says_so(validation: dict[str, object]) -> None:
    assert describe_skill(validation) == "not scored"


def test_a_mapper_is_described_by_target_bands_members_scores_and_intervals(
    trained_mapper: hmx.MapBundle,
) -> None:
    found = bundle_lines(hmx.load(trained_mapper.path))
    assert found["maps"] == "soc in g/kg, 0 to 200, learnt as log1p(soc)"
    assert found["from"].startswith("lst, rain x 4 steps of every year")
    assert found["from"].endswith("; elevation, twi")
    assert found["network"] == "cnn_lstm, convolutions of 4, 6, LSTM of 1 x 4, skip"
    assert found["members"] == "2 networks and a Gaussian process and a forest of weight 0.5"
    assert found["trained on"].startswith("81 samples at 77 sites of the table (9 rows left out)")
    assert found["matters"].startswith("lst 0.")
    assert found["intervals"].startswith("conformal")
    assert "area of applicability" in found["applicable"]
    assert found["digest"] == trained_mapper.digest[:16]
    samples = trained_mapper.training["points"]["samples"]
    assert found["zones"].startswith(f"errors of {samples} held-out samples: ")
    assert found["zones"].endswith("; errors of two dates independent")
    assert max(map(len, found.values())) < 200


def test_a_mapper_that_knows_little_of_itself_says_so(tmp_path) -> None:
    ds = make_covariates((20, 24), years=4)
    plain = make_mapper(ds, history=2, coarse=(3,), knots=(0.1, 0.5, 0.9), spec={"units": None})
    found = bundle_lines(hmx.load(plain.save(tmp_path / "m").path))
    assert found["maps"] == "soc, 0 to 200, learnt as log1p(soc)"
    assert found["from"].startswith("lst, rain x 2 steps up to the date")
    assert found["network"].endswith("skip, 3 quantiles")
    assert found["sees"].endswith("250 x 250 m, means of squares of half-width 3")
    assert (found["members"], found["trained on"]) == ("1 network", "unknown")
    assert (found["held out"], found["matters"]) == ("not scored", "unknown")
    assert found["intervals"] == "none: nothing was held out to learn them from"
    assert found["applicable"] == "not known where"
    assert found["zones"].startswith("from the prior: the model has no fit")


def test_a_map_is_described_in_its_owners_names_and_with_its_date(tmp_path) -> None:
    ds = make_covariates((20, 24), years=4).rename(y="northing", x="easting", time="when")
    ds["when"].attrs["axis"] = "T"
    made = ds.isel(northing=slice(None, None, -1)).soc.map(model=make_mapper(ds, history=2))
    made.to_zarr(tmp_path / "soc.zarr", zarr_format=3, consolidated=False)
    found = store_lines(tmp_path / "soc.zarr")
    assert found["grid"] == "20 rows x 24 columns of 250 x 250 m"
    assert found["bounds"] == "500000, 5995000, 506000, 6000000"
    assert found["date"] == "2013-01-01"
    assert "cadence" not in found
