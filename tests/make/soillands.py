"""Lands whose soils depend on classes, on depth, or on bands without time alone.

Values are exp(signal + noise), so on the logarithm the best of all predictors explains all but the
noise: ``achievable`` is its R2 on these samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from tests.make.mapworlds import make_covariates
from tests.make.soilworlds import UTM

FIT: dict[str, Any] = {
    "crs": UTM, "transform": "log", "window": 3, "widths": (8, 8), "hidden": 8, "runs": 1,
    "epochs": 12, "batch": 32, "lr": 1e-2, "inner": 2, "device": "cpu", "split": "random",
}  # fmt: skip
SHAPE, HORIZONS = (36, 40), ((0, 10), (10, 30), (30, 60))


@dataclass(frozen=True)
class Land:
    """A cube, its samples, what a fit is asked for, and the best R2 that any fit can have."""

    ds: xr.Dataset
    points: pd.DataFrame
    options: dict[str, Any]
    achievable: float

    def without(self, *names: str, **options: Any) -> tuple[xr.Dataset, pd.DataFrame, Any]:
        """Return cube, samples and options of a fit that lacks some bands or keywords."""
        kept = {n: v for n, v in self.options.items() if n not in names} | options
        return self.ds.drop_vars(names, errors="ignore"), self.points, {**FIT, **kept}


def land_of(
    ds: xr.Dataset, signal: Callable[[np.ndarray, np.ndarray], np.ndarray], n: int, *,
    noise: float = 0.15, seed: int = 0, **options: Any,
) -> Land:  # fmt: skip
    """Draw samples without dates at pixels of a cube; `signal` is that of a row and column."""
    draw = np.random.default_rng(seed)
    row, column = draw.integers(ds.sizes["y"], size=n), draw.integers(ds.sizes["x"], size=n)
    return _land(ds, signal(row, column), row, column, draw.normal(0, noise, n), options)


def _land(
    ds: xr.Dataset, signal: np.ndarray, row: np.ndarray, column: np.ndarray, error: np.ndarray,
    options: dict[str, Any], **columns: np.ndarray,
) -> Land:  # fmt: skip
    log = signal + error
    place = {"x": ds["x"].values[column], "y": ds["y"].values[row]}
    points = pd.DataFrame({**place, "soc": np.exp(log), **columns})
    return Land(ds, points, options, 1 - float(np.mean(error**2) / log.var()))


def land_of_classes(n: int = 320) -> Land:
    """Twenty land covers with codes in no order of their soils; nothing else matters."""
    draw = np.random.default_rng(1)
    codes = np.sort(draw.choice(900, 20, replace=False)) + 1
    small = draw.integers(len(codes), size=(SHAPE[0] // 2, SHAPE[1] // 2))
    cover = np.kron(small, np.ones((2, 2), int))
    level = 2 + 0.6 * draw.permutation(np.linspace(-1.6, 1.6, len(codes)))
    ds = make_covariates(SHAPE, holes=False)[["elevation", "twi"]]
    ds = ds.assign(cover=(("y", "x"), codes[cover].astype("int16")))
    return land_of(ds, lambda row, column: level[cover[row, column]], n, categories="cover")


def land_of_depths(n: int = 90) -> Land:
    """Profiles of three horizons: carbon falls with depth, and rises with elevation.

    Depth decides two thirds of the variance, and elevation a third: no fit without one of them
    comes near the best.
    """
    draw = np.random.default_rng(2)
    ds = make_covariates(SHAPE, holes=False)[["elevation", "twi"]]
    row, column = draw.integers(SHAPE[0], size=n), draw.integers(SHAPE[1], size=n)
    height = (ds["elevation"].values[row, column] - 600) / 300
    parts = [3 + height - (top + bottom) / 2 / 20 for top, bottom in HORIZONS]
    times = len(HORIZONS)
    return _land(
        ds, np.concatenate(parts), np.tile(row, times), np.tile(column, times),
        draw.normal(0, 0.15, times * n), {"top": "upper", "bottom": "lower"},
        upper=np.repeat([top for top, _ in HORIZONS], n),
        lower=np.repeat([bottom for _, bottom in HORIZONS], n),
        profile=np.tile([f"P{number}" for number in range(n)], times),
    )  # fmt: skip


def land_of_statics(n: int = 300) -> Land:
    """Elevation and wetness decide, and their product; years of other bands do not."""
    ds = make_covariates(SHAPE, years=6, holes=False)
    height = (ds["elevation"].values - 600) / 300
    wet = (ds["twi"].values - 9) / 0.6
    signal = 2 + 0.5 * height + 0.3 * wet + 0.3 * height * wet
    return land_of(ds, lambda row, column: signal[row, column], n, dynamic=[])
