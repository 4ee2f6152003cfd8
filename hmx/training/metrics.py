"""Metrics: the names of the figures that training logs, and their spread over several runs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, TypedDict


@dataclass(frozen=True)
class LoggedMetric:
    """A logged figure."""

    # Its name; ``{k}`` stands for a lead, 1 ... h, and ``{level}`` for the level of a central
    # interval, percent
    pattern: str
    meaning: str  # in words
    units: str  # of its values

    def matches(self, name: str) -> bool:
        """Return True if a name has this pattern."""
        text = re.escape(self.pattern).replace(r"\{k\}", r"[1-9]\d*")
        return re.fullmatch(text.replace(r"\{level\}", r"\d+(\.\d+)?"), name) is not None


def _of_samples(prefix: str, which: str, units: str) -> list[LoggedMetric]:
    """Return the figures of a mapper's predictions of samples that it did not train on."""
    named = {
        "r2": ("1 - sum of squared errors / that of the mean", "1; 1 is perfect"),
        "r2_corr": ("squared correlation", "0-1"),
        "rmse": ("root of the mean squared error", units),
        "mae": ("mean absolute error", units),
        "bias": ("mean of prediction - truth", units),
        "ccc": ("concordance (Lin 1989)", "1; 1 is perfect"),
        "rpiq": ("interquartile range / RMSE", "1"),
    }
    return [LoggedMetric(prefix + name, text + which, unit) for name, (text, unit) in named.items()]


METRICS = (
    LoggedMetric(
        "train_loss", "loss on training chips or samples, mean of the epoch", "of the loss"
    ),
    LoggedMetric(
        "val_loss",
        "loss on validation blocks or samples; of blocks the least decides",
        "of the loss",
    ),
    LoggedMetric("lr", "learning rate", "1"),
    LoggedMetric("wait_share", "share of the epoch's time the network waited for data", "0-1"),
    LoggedMetric("val_rmse_h{k}", "root of the mean squared error", "of the target"),
    LoggedMetric("val_mae_h{k}", "mean absolute error", "of the target"),
    LoggedMetric("val_crps_h{k}", "continuous ranked probability score", "of the target"),
    LoggedMetric("val_bias_h{k}", "mean of forecast - truth", "of the target"),
    LoggedMetric("val_skill_h{k}", "1 - RMSE / RMSE of persistence", "1; above 0 is better"),
    LoggedMetric("val_crps_skill_h{k}", "1 - CRPS / CRPS of persistence", "1; above 0 is better"),
    LoggedMetric(
        "val_coverage{level}_h{k}", "share of truth in the central 50, 80, 95 % interval", "0-1"
    ),
    LoggedMetric("val_valid_h{k}", "valid pixels: truth and forecast known", "pixels"),
    LoggedMetric("val_ssim_h{k}", "structural similarity of forecast and truth", "1; 1 is equal"),
    LoggedMetric("val_rmse_scaled_h{k}", "RMSE of z-scores", "standard deviations"),
    LoggedMetric("val_mae_scaled_h{k}", "MAE of z-scores", "standard deviations"),
    LoggedMetric("val_rmse_10000_h{k}", "RMSE, if the source is stored as 0-10,000", "1/10,000"),
    LoggedMetric("val_mae_10000_h{k}", "MAE, if the source is stored as 0-10,000", "1/10,000"),
    LoggedMetric("held_out_n", "samples of a mapper, each held out once", "samples"),
    *_of_samples("held_out_", "", "of the transformed target"),
    *_of_samples("val_", ", of validation samples", "of the transformed target"),
    *_of_samples("val_native_", ", of validation samples in native units", "of the target"),
)


def metric(name: str) -> LoggedMetric | None:
    """Find the entry of :data:`METRICS` that a logged name belongs to, if any.

    Examples
    --------
    >>> metric("val_coverage95_h2").pattern
    'val_coverage{level}_h{k}'
    """
    return next((entry for entry in METRICS if entry.matches(name)), None)


def metric_table() -> str:
    """Render :data:`METRICS` as a Markdown table: what is logged."""
    rows = [f"| `{m.pattern}` | {m.meaning} | {m.units} |" for m in METRICS]
    return "\n".join(["| name | meaning | units |", "|---|---|---|", *rows])


class Spread(TypedDict):
    """Mean and sample standard deviation of a figure over ``n`` runs."""

    mean: float
    sd: float
    n: int


def spread(metrics_of_runs: Sequence[Mapping[str, Any]]) -> dict[str, Spread]:
    """Summarise each figure over the runs of one call.

    Examples
    --------
    >>> spread([{"val_rmse_h1": 1.0}, {"val_rmse_h1": 3.0}])["val_rmse_h1"]["mean"]
    2.0
    """
    values: dict[str, list[float]] = {}
    for run in metrics_of_runs:
        for name, value in run.items():
            # texts and flags are logged too, and have no mean
            if isinstance(value, str | bytes | bool):
                continue
            with suppress(TypeError, ValueError):
                if math.isfinite(float(value)):
                    values.setdefault(name, []).append(float(value))
    return {
        # a single run has no spread
        name: {"mean": fmean(v), "sd": stdev(v) if len(v) > 1 else math.nan, "n": len(v)}
        for name, v in values.items()
    }
