"""The benchmarks of skill, calibration and known worlds are run once, small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hmx.scores import Score, skill
from tests.bench import calibration, optimizers, synthetic
from tests.bench import skill as bench
from tests.bench.cases import CASES, STILL
from tests.bench.gbm import LEVELS, fit_boosted

QUICK = [word for option in ("epochs=1", "steps=1", "width=4") for word in ("--train", option)]
BOOSTED = ["--boosted", "2000", "--trees", "5"]


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the demo is read: scores and baselines take as long as there are pixels."""
    cut(monkeypatch, slice(120, 240), slice(90, 210))  # where 9 % of the pixels change


def cut(monkeypatch: pytest.MonkeyPatch, y: slice, x: slice) -> None:
    load = bench.load
    monkeypatch.setattr(bench, "load", lambda case: load(case).isel(y=y, x=x))


def rows_of(out: str) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in json.loads(out)["rows"]}


@pytest.mark.usefixtures("part")
def test_the_skill_benchmark_puts_costs_beside_skill(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", "demo", "--seeds", "1", "--models", "default,dilated", "--raw"]
    words += ["--train", "block=16", "--train", "calibration=0.3", *QUICK, *BOOSTED]
    assert bench.main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    rows = rows_of(captured.out)
    assert rows[STILL]["rmse_skill"] == [[0.0], [0.0]]
    assert rows["gradient boosting"]["crps_skill"][0][0] > 0.05
    assert len(rows["model"]["train_seconds"]) == 1
    assert {"mflop_per_pixel", "parameters", "reach", "context_radius", "kpx_per_s"} <= {
        *rows["model, dilated"]
    }
    [totals] = rows["model"]["learnt_totals"]
    assert len(totals) == 2
    assert np.isfinite(totals).all()
    assert "total % true, learnt steps" in captured.err
    assert "globe min" in captured.err
    raw = rows["model, uncalibrated"]
    assert raw["rmse_skill"] == rows["model"]["rmse_skill"]
    assert raw["crps_skill"] != rows["model"]["crps_skill"]


@pytest.mark.usefixtures("part")
def test_blocks_never_trained_on_are_fewer_pixels_of_the_same_years(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--data", "demo", "--seeds", "1", "--models", "default", *QUICK, *BOOSTED, "--json"]
    assert bench.main([*words, "--blocks", "4", "--folds", "1"]) == 0
    rows = rows_of(capsys.readouterr().out)
    area = rows["model"]["areas"]
    assert rows["model"]["n"][0][0] <= area["test"]
    assert 0 < rows["model"]["n"][0][0] < 0.5 * sum(area.values())
    assert rows["ridge on neighbourhoods"]["n"] == rows["model"]["n"]


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_case_has_rasters_that_can_be_read(name: str, real_data: Path) -> None:
    ds = bench.load(CASES[name])
    assert ds.sizes["time"] == len(CASES[name].years)
    low, high = CASES[name].bounds
    assert low <= float(ds["hm"].min()) < float(ds["hm"].max()) <= high


def test_the_synthetic_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--side", "80", "--steps", "7", "--worlds", "relational", "noise"]
    words += ["--train", "chip=48", *QUICK]
    assert synthetic.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["worlds"]
    assert found["relational"]["leads"][0]["rmse_achievable"][0] > 0.2
    assert found["noise"]["leads"][0]["rmse_recovered"] == [None]
    assert synthetic.main([*words, "--worlds", "noise"]) == 0
    assert "PERSISTENCE" in capsys.readouterr().out


def test_the_calibration_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", "known", "--side", "80", "--train", "chip=48", *QUICK]
    assert calibration.main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    told = {row["forecaster"]: row for row in rows if row["lead"] == 1}
    assert {*told} == {"calibrated", "network", calibration.TRUE}
    flattered = told[calibration.TRUE]["closed"][0][0]
    assert flattered > told[calibration.TRUE]["coverage_50"][0] + 0.02


def test_boosting_finds_a_rule_that_no_line_follows() -> None:
    draw = np.random.default_rng(0)
    cube = draw.random((5, 60, 60)).astype("float32")
    for step in range(1, 5):
        cube[step] = cube[step - 1] + 0.1 * (np.abs(cube[step - 1] - 0.5) > 0.3)
    forests = fit_boosted(cube[:4], range(1, 3), leads=(1,), history=2, most=3000, trees=30)
    made = forests.predict(cube[:4], bounds=(0.0, 2.0))
    ours, still = Score.of(cube[4], made.mean[0]), Score.of(cube[4], cube[3])
    assert skill(ours, still) > 0.6
    assert made.knots is not None
    assert made.knots.shape == (1, len(LEVELS), 60, 60)
    assert (np.diff(made.knots, axis=1) >= 0).all()


def test_the_benchmark_of_optimizers_prints_a_curve_of_each(
    part: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(optimizers, "load", bench.load)
    assert optimizers.main(["--data", "demo", "--epochs", "2", "--steps", "4"]) == 0
    curves = [line.split(": ") for line in capsys.readouterr().out.splitlines()]
    assert [head.split("  ")[0] for head, _ in curves] == ["Muon", "AdamW x 1"]
    first, second = ([float(loss) for loss in curve.split()] for _, curve in curves)
    assert len(first) == len(second) == 2
    assert first != second
