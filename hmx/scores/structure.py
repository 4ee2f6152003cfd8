"""Structural similarity (SSIM) as a sum, exact across tiles, with missing data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmx.errors import BadArgument
from hmx.scores.sums import (
    Array,
    CellMetric,
    Kind,
    ScoredPixels,
    Settings,
    metric,
    pick,
    spread_weights,
)  # fmt: skip
from hmx.windows import Window

HALO: dict[Kind, int] = {"uniform": 3, "gaussian": 5}  # px that a pixel's window reaches
_SIGMA = 1.5  # px, of the Gaussian window (Wang et al., 2004)


def ssim_map(
    truth: ArrayLike, forecast: ArrayLike, *, data_range: float, kind: Kind = "uniform"
) -> Array:
    """Compare the surroundings of each pixel in two maps.

    SSIM of Wang et al. (2004, eq. 13; C1 = (0.01 L)², C2 = (0.03 L)²), with
    population variances. Where data is missing, and beyond the edge, means are
    masked: only pixels known in both maps count, and the window's weights are
    divided by their sum over those.

    `data_range` is L, the span of possible values. The window has 7 x 7 equal weights, or 11 x 11
    Gaussian ones (sigma 1.5). The result, (y, x) and -1 to 1, is NaN where either map is.
    """
    x, y = np.asarray(truth), np.asarray(forecast)
    if x.shape != y.shape or x.ndim != 2:
        raise BadArgument(
            f"truth {x.shape} and forecast {y.shape}: SSIM compares two maps (y, x) of one shape. "
            "Select one lead and the same window of both."
        )
    if not 0 < data_range < math.inf:
        raise BadArgument(
            f"data_range={data_range}: it is the span of possible values, above 0. "
            "Try data_range=1.0 for a target between 0 and 1."
        )
    known = np.isfinite(x) & np.isfinite(y)
    x, y = (np.where(known, a, 0).astype(np.float64) for a in (x, y))
    share = np.where(known, _blur(known.astype(np.float64), kind), 1.0)
    mean_x, mean_y = _blur(x, kind) / share, _blur(y, kind) / share
    # Of variances only the sum is needed, so one filter does for both.
    spread = _blur(x * x + y * y, kind) / share - mean_x**2 - mean_y**2
    shared = _blur(x * y, kind) / share - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    like = (2 * mean_x * mean_y + c1) * (2 * shared + c2)
    like /= (mean_x**2 + mean_y**2 + c1) * (np.maximum(spread, 0.0) + c2)
    return np.where(known, like, np.nan)


@metric("structure", rank=3)
@dataclass(frozen=True, slots=True)
class Structure(CellMetric):
    """Sums of a mean SSIM."""

    weight: float = 0.0  # sum over the pixels counted
    total: float = 0.0  # weighted sum of the SSIM map

    @classmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings) -> Structure:
        """Sum the SSIM of pixels."""
        return cls.sums(pixels.ssim, weight=pixels.weight)

    @classmethod
    def of(
        cls,
        truth: ArrayLike,
        forecast: ArrayLike,
        data_range: float,
        *,
        crop: Window | None = None,
        weight: ArrayLike | None = None,
        kind: Kind = "uniform",
    ) -> Structure:
        """Sum the SSIM map of a tile over its core, `crop` in pixels of the arrays.

        Tiles add up to the whole if each has ``HALO[kind]`` true pixels around its core, or
        ends at the raster's edge. Weights are those of the core.
        """
        ssim = ssim_map(truth, forecast, data_range=data_range, kind=kind)
        return cls.sums(ssim if crop is None else ssim[crop.slices], weight=weight)

    @classmethod
    def sums(cls, ssim: Array, *, weight: ArrayLike | None = None) -> Structure:
        """Sum SSIM values of pixels, any shape; NaN is left out."""
        weights = spread_weights(weight, ssim.shape)
        keep = np.isfinite(ssim) & (weights > 0)
        values, w = pick(keep, ssim, weights)
        return cls(weight=float(w.sum()), total=float((w * values).sum()))

    @property
    def ssim(self) -> float:
        """Mean SSIM, -1 to 1; 1 for equal maps."""
        return self.total / self.weight if self.weight else math.nan

    def figures(self) -> dict[str, float]:
        """Return the mean SSIM."""
        return {"ssim": self.ssim}


def _blur(layer: Array, kind: Kind) -> NDArray[Any]:
    # loaded here, because every command loads the scores and few of them compare structure
    from scipy.ndimage import gaussian_filter, uniform_filter

    if kind == "uniform":
        return np.asarray(uniform_filter(layer, 2 * HALO[kind] + 1, mode="constant"))
    return np.asarray(gaussian_filter(layer, _SIGMA, mode="constant", radius=HALO[kind]))
