"""Samples with a planted signal, for the laws of learning a mapper."""

from __future__ import annotations

from typing import Any

import numpy as np

from hmx.mapping.inputs import RawWindows
from hmx.mapping.options import MapTrainOptions
from hmx.mapping.spec import MapSpec
from hmx.networks.options import MapperOptions

STEPS, SIDE = 4, 3
TINY = {"window": SIDE, "widths": (6, 8), "hidden": 8, "dropout": 0.0}


def spec_of(**network: Any) -> MapSpec:
    return MapSpec(
        target="soc",
        dynamic=("wet", "warm"),
        static=("height",),
        network=MapperOptions(**{**TINY, **network}),
        steps=STEPS,
        climatology=True,
        cadence="1 month",
        pixel_size_m=(1000.0, 1000.0),
    )


def fit_of(**options: Any) -> MapTrainOptions:
    plain = {"epochs": 8, "batch": 32, "runs": 1, "device": "cpu", "lr": 1e-2}
    return MapTrainOptions(**{**plain, **options})


def samples(
    n: int = 256, *, planted: int | None = -1, seed: int = 0
) -> tuple[RawWindows, np.ndarray]:
    """Windows of noise, and a target that is what ``wet`` was at one step, or noise too."""
    rng = np.random.default_rng(seed)
    dynamic = rng.normal(size=(n, STEPS, 2, SIDE, SIDE)).astype("float32")
    static = rng.normal(size=(n, 1, SIDE, SIDE)).astype("float32")
    middle = SIDE // 2
    signal = rng.normal(size=n) if planted is None else dynamic[:, planted, 0, middle, middle]
    values = np.exp(1 + 0.6 * signal + 0.05 * rng.normal(size=n))
    return RawWindows(dynamic, static), values
