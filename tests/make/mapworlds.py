"""Cubes of covariates and models of the map job in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import torch
import xarray as xr

from hmx.cube.bands import Bands, as_bands
from hmx.mapping.bundle import MapBundle
from hmx.mapping.forest import fit_forest
from hmx.mapping.process import GaussianProcess
from hmx.mapping.spec import BandScaler, MapSpec
from hmx.mapping.target import TargetScaler
from hmx.networks.cnn_lstm import build
from hmx.networks.options import MapperOptions
from hmx.uncertainty.applicability import Applicability
from hmx.uncertainty.conformal import Conformal

DYNAMIC, STATIC = ("lst", "rain"), ("elevation", "twi")


def make_covariates(
    shape: tuple[int, int] = (40, 50),
    *,
    years: int | None = None,
    steps: int = 4,
    holes: bool = True,
    crs: Any = "EPSG:32632",
    pixel: float = 250.0,
    seed: int = 0,
) -> xr.Dataset:
    """Months of every year, or of so many years a map each, with a lake and lost pixels."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[0 : shape[0], 0 : shape[1]]
    steps = years or steps
    wave = np.sin(rows / 7)[None] * np.cos(cols / 9 + np.arange(steps)[:, None, None])
    lst = (280 + 10 * wave + rng.random((steps, *shape))).astype("float32")
    rain = (50 + 20 * rng.random((steps, *shape))).astype("float32")
    elevation = (600 + 300 * np.sin(rows / 11) * np.cos(cols / 6)).astype("float32")
    twi = (8 + 2 * rng.random(shape)).astype("float32")
    if holes:
        lake = np.hypot(rows - shape[0] * 0.4, cols - shape[1] * 0.3) < max(4, min(shape) / 5)
        for values in (lst, rain, elevation, twi):
            values[..., lake] = np.nan
        rain[:, rng.random(shape) < 0.02] = np.nan
    times: Any = np.arange(1, steps + 1)
    if years:
        times = np.array([f"{2010 + year}-01-01" for year in range(years)], "datetime64[ns]")
    ds = xr.Dataset(
        {
            "lst": (("time", "y", "x"), lst, {"units": "K"}),
            "rain": (("time", "y", "x"), rain, {"units": "mm"}),
            "elevation": (("y", "x"), elevation, {"units": "m"}),
            "twi": (("y", "x"), twi),
        },
        {
            "time": ("time", times, {} if years else {"long_name": "month of year"}),
            "y": 6e6 - pixel * (np.arange(shape[0]) + 0.5),
            "x": 5e5 + pixel * (np.arange(shape[1]) + 0.5),
        },
    )
    return ds.rio.write_crs(crs)


_REGRESSIONS = {
    (True, True): "both",
    (True, False): "forest",
    (False, True): "gaussian_process",
    (False, False): "none",
}


def make_mapper(
    ds: xr.Dataset,
    *,
    members: int = 1,
    forest: bool = False,
    process: bool = False,
    calibrated: bool = False,
    near: bool = False,
    spec: Any = None,
    **network: Any,
) -> MapBundle:
    """A mapper without training: random weights that matter, statistics about right."""
    options = MapperOptions(**{"widths": (6, 8), "hidden": 5, **network})
    bands = as_bands(ds)
    steps = bands.history(options.history)
    made = MapSpec(
        **{
            "target": "soc",
            "dynamic": bands.dynamic,
            "static": bands.static,
            "network": options,
            "steps": steps,
            "climatology": bands.climatology,
            "cadence": str(bands.cadence),
            "pixel_size_m": bands.grid.pixel_size_m,
            "units": "g/kg",
            "valid_range": (0.0, 200.0),
            "members": members,
            "blend": 0.5 if forest or process else 0.0,
            "regression": _REGRESSIONS[forest, process],
            **(spec or {}),
        }
    )
    return MapBundle(
        spec=made,
        scaler=_scaler(bands),
        target=TargetScaler("log1p", 2.0, 0.5),
        weights=_weights(made),
        calibration=_calibration() if calibrated else Conformal(),
        forest=_forest(made) if forest else {},
        process=_process(made) if process else {},
        applicability=_applicability(made) if near else {},
    )


def _scaler(bands: Bands) -> BandScaler:
    mean, std = {}, {}
    for name in bands.variables:
        values = bands.rules[name].clean(bands.data[name].values)
        each = values if bands.climatology and values.ndim == 3 else values[None]
        mean[name] = tuple(float(np.nanmean(part)) for part in each)
        std[name] = tuple(float(np.nanstd(part)) or 1.0 for part in each)
    return BandScaler(mean, std)


def _weights(spec: MapSpec) -> dict[str, np.ndarray]:
    dynamic, static = spec.channels
    weights: dict[str, np.ndarray] = {}
    for member in range(spec.members):
        torch.manual_seed(member)
        network = build(spec.network, dynamic=dynamic, static=static, steps=spec.steps)
        with torch.no_grad():
            for parameter in network.parameters():
                fan = parameter[0].numel() if parameter.ndim > 1 else 10
                parameter.copy_(torch.randn(parameter.shape) / fan**0.5)
        prefix = f"{member}." if spec.members > 1 else ""
        weights |= {prefix + n: t.numpy().copy() for n, t in network.state_dict().items()}
    return weights


def _forest(spec: MapSpec) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, len(spec.features)))
    return fit_forest(x, x[:, 0] + rng.normal(size=80), 0, trees=5).arrays()


def _process(spec: MapSpec) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, len(spec.features)))
    return GaussianProcess.fit(x, x[:, 0] + rng.normal(size=60), 0).arrays()


def _applicability(spec: MapSpec) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, len(spec.features)))
    return Applicability.fit(features, np.arange(60) % 5).arrays()


def _calibration() -> Conformal:
    rng = np.random.default_rng(0)
    center, spread = rng.normal(size=400), rng.uniform(0.5, 1, 400)
    truth = center + spread * rng.normal(size=400)
    return Conformal.fit(center, spread, truth, np.arange(400) // 20)
