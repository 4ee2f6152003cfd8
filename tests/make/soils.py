"""A small land with soils, in one line: windows, values and folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hmx.mapping.evaluate.rounds import Estimates, FitPredict
from hmx.mapping.inputs import RawWindows
from hmx.mapping.spec import MapSpec
from hmx.networks.options import MapperOptions
from hmx.points.samples import Samples
from hmx.splits.methods import block_folds, random_folds
from hmx.splits.site_folds import SiteFolds

STEPS, BANDS, STATIC = 3, ("lst", "nir"), ("elevation", "noise")


@dataclass(frozen=True)
class Soils:
    raw: RawWindows
    values: np.ndarray
    spec: MapSpec
    samples: Samples

    @property
    def truth(self) -> np.ndarray:
        return np.log1p(self.values)

    def blocks(self, k: int = 4) -> SiteFolds:
        return block_folds(self.samples, side_km=20, k=k)

    def random(self, k: int = 4) -> SiteFolds:
        return random_folds(self.samples, k=k)


def make_soils(n: int = 400, *, seed: int = 0, missing: float = 0.0) -> Soils:
    """The last step of lst and elevation matter, nir and noise do not."""
    draw = np.random.default_rng(seed)
    dynamic = draw.normal(size=(n, STEPS, 2, 3, 3)).astype("f4")
    static = draw.normal(size=(n, 2, 3, 3)).astype("f4")
    log = 1.5 + 0.5 * dynamic[:, -1, 0, 1, 1] + 0.3 * np.tanh(2 * static[:, 0, 1, 1])
    values = np.expm1(np.maximum(log + draw.normal(0, 0.25, n), 0.05))
    dynamic[draw.random(dynamic.shape) < missing] = np.nan
    lonlat = np.array([21.0, 41.0]) + draw.random((n, 2))
    order = np.arange(n)
    samples = Samples(order, order, values, order // 2, 0 * order, lonlat, lonlat, order)
    samples.lonlat[1::2] = samples.lonlat[::2]  # two of each site
    spec = MapSpec(
        "soc", BANDS, STATIC, MapperOptions(window=3), STEPS, True, "1 month", (1000.0, 1000.0),
        regression="forest",
    )  # fmt: skip
    return Soils(RawWindows(dynamic, static), values, spec, samples)


def oracle(truth: np.ndarray, *, members: int = 1, noise: float = 0.1) -> FitPredict:
    """A forecaster that peeps: truth and noise, another for each seed and member."""

    def fit_predict(train: Any, test: Any, seed: int) -> Estimates:
        draw = np.random.default_rng(seed)
        return Estimates(truth[test] + draw.normal(0, noise, (members, len(test))))

    return fit_predict
