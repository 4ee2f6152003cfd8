"""Laws of the figures that are logged."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hmx.training.metrics import METRICS, metric, metric_table, spread

NAMES = [
    "train_loss",
    "val_loss",
    "lr",
    "wait_share",
    "val_rmse_h1",
    "val_r2",
    "val_native_rmse",
    "held_out_rpiq",
    "val_mae_h2",
    "val_crps_h3",
    "val_bias_h10",
    "val_skill_h1",
    "val_crps_skill_h1",
    "val_coverage50_h1",
    "val_coverage80_h2",
    "val_coverage95_h4",
    "val_valid_h1",
    "val_ssim_h1",
    "val_rmse_scaled_h1",
    "val_mae_scaled_h1",
    "val_mae_10000_h1",
    "val_rmse_10000_h1",
]


@pytest.mark.parametrize(
    "name",
    NAMES,
)
def test_every_logged_name_has_one_entry(name: str) -> None:
    assert len([entry for entry in METRICS if entry.matches(name)]) == 1


@pytest.mark.parametrize(
    "name", ["val_rmse_h", "val_rmse_h0", "val_rmse_h1x", "xlr", "val_wrong_h1"]
)
def test_other_names_have_none(name: str) -> None:
    assert metric(name) is None


def test_the_table_has_a_row_for_each_metric() -> None:
    head, rule, *rows = metric_table().splitlines()
    assert head == "| name | meaning | units |"
    assert rule == "|---|---|---|"
    assert len(rows) == len(METRICS)
    for entry, row in zip(METRICS, rows, strict=True):
        assert row.split(" | ")[0] == f"| `{entry.pattern}`"
        assert row.count("|") == 4


def test_spread_is_mean_and_sample_deviation_of_the_runs_that_have_the_figure() -> None:
    runs = [
        {"rmse": 1.0, "crps": 4, "ssim": math.nan, "note": "a"},
        {"rmse": 2.0, "crps": np.float32(6), "ssim": 0.5, "none": None},
        {"rmse": 6.0, "flag": True},
    ]
    found = spread(runs)
    assert list(found) == ["rmse", "crps", "ssim"]
    assert found["rmse"] == {"mean": 3.0, "sd": math.sqrt(7), "n": 3}
    assert found["crps"] == {"mean": 5.0, "sd": math.sqrt(2), "n": 2}
    assert (found["ssim"]["mean"], found["ssim"]["n"]) == (0.5, 1)
    assert math.isnan(found["ssim"]["sd"])
    assert spread([]) == {}
