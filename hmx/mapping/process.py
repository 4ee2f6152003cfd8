"""A Gaussian process on the values of a pixel: kriging in the space of covariates.

Pixels with alike covariates have alike soils (Rasmussen and Williams 2006, *Gaussian Processes for
Machine Learning*, algorithm 2.1). The covariance is exponential, as natural soils are rough: with
smoother ones (Matern 3/2 and the Gaussian) the same samples were predicted worse. Its length and
the noise are those of the largest marginal likelihood, which needs no folds (section 5.4).

Beyond some thousand samples, as many of them are centres, and the weights of the centres are those
of the subset of regressors (section 8.3.1): cost grows with the samples, not with their cube.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.spatial.distance import cdist

from hmx.errors import BadArgument, broken_part
from hmx.mapping.forest import Forest
from hmx.mapping.options import Regression
from hmx.mapping.spec import parts_of

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

CENTRES = 4096  # the system of so many takes 128 MiB and some seconds
_TRIED = 600  # samples of the marginal likelihood: seven eigendecompositions take a second
_LENGTHS = np.geomspace(0.5, 4.0, 7)  # of the covariance, in typical distances of z-scores
_NOISES = np.geomspace(0.1, 3.0, 9)  # variance of the noise, in variances of the process
_JITTER = 1e-8  # equal samples make the covariance of centres singular
_ROWS = 1024  # predicted at a time: their distances to the centres take 32 MiB
_ARRAYS = ("centres", "weights", "numbers")


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """Weights of a Gaussian process, and its covariance."""

    centres: Array  # features of training samples, (m, f)
    weights: Array  # (m,), units of the target
    mean: float  # far from all samples
    scale: float  # distance at which the covariance falls to 1 / e
    noise: float  # variance of the noise, in variances of the process

    @classmethod
    def fit(cls, x: Floats, y: Floats, seed: int) -> GaussianProcess:
        """Fit to features (n, f), about z-scores, and a target (n,); `seed` draws samples."""
        rows, mean = np.asarray(x, np.float64), float(np.mean(y))
        off: Array = np.asarray(y, np.float64) - mean
        order = np.random.default_rng(seed).permutation(len(rows))
        some = order[:_TRIED]
        scale, noise = _likeliest(rows[some], off[some])
        centres = rows[np.sort(order[:CENTRES])]
        within = _covariance(centres, centres, scale)
        ridge = np.arange(len(centres))
        if len(centres) == len(rows):
            system, right = within, off
            system[ridge, ridge] += noise
        else:
            system, right = noise * within, np.zeros(len(centres))
            for at in range(0, len(rows), _ROWS):
                part = _covariance(rows[at : at + _ROWS], centres, scale)
                system += part.T @ part
                right += part.T @ off[at : at + _ROWS]
            system[ridge, ridge] += _JITTER * len(rows)
        weights = cho_solve(cho_factor(system, lower=True, overwrite_a=True), right)
        return cls(centres, weights, mean, scale, noise)

    def predict(self, x: Floats) -> Array:
        """Predict the target from features (n, f), finite: (n,).

        Raises :class:`BadArgument` if the number of features differs.
        """
        if x.ndim != 2 or x.shape[1] != self.centres.shape[1]:
            raise BadArgument(
                f"features {x.shape} do not fit this Gaussian process of {self.centres.shape[1]} "
                "features. Pass (n, features), the centre pixel's values in the order of training."
            )
        found = np.empty(len(x))
        size = np.einsum("ij,ij->i", self.centres, self.centres)
        for at in range(0, len(x), _ROWS):
            # float64: the covariance has a tip at distance 0, where float32 would lose 3 digits
            rows = np.asarray(x[at : at + _ROWS], np.float64)
            apart = rows @ self.centres.T  # a matrix product is ten times as fast as cdist
            apart *= -2
            apart += np.einsum("ij,ij->i", rows, rows)[:, None]
            apart += size
            np.maximum(apart, 0, out=apart)
            np.sqrt(apart, out=apart)
            apart *= -1 / self.scale
            found[at : at + _ROWS] = np.exp(apart, out=apart) @ self.weights
        return found + self.mean

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name."""
        numbers = np.array([self.mean, self.scale, self.noise])
        return {"centres": self.centres, "weights": self.weights, "numbers": numbers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> GaussianProcess:
        """Build from :meth:`arrays`; raise :class:`BundleError` if they are damaged."""
        try:
            centres, weights, numbers = (arrays[name] for name in _ARRAYS)
            every = (centres, weights, numbers)
            sound = all(a.dtype == np.float64 and np.isfinite(a).all() for a in every)
            sound = sound and centres.ndim == 2 and weights.shape == (len(centres),)
            sound = sound and numbers.shape == (3,) and bool((numbers[1:] > 0).all())
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise broken_part("Gaussian process")
        return cls(centres, weights, *(float(number) for number in numbers))

    def require_features(self, count: int) -> None:
        """Raise :class:`BundleError` unless the process has `count` features."""
        if self.centres.shape[1] != count:
            have = f"{self.centres.shape[1]} features"
            raise broken_part("Gaussian process", f"has {have}, and its bands make {count}")


@dataclass(frozen=True, eq=False)
class Regressions:
    """The regressions of a pixel's own values that are blended in: one, two or none."""

    forest: Forest | None = None
    process: GaussianProcess | None = None

    @classmethod
    def from_arrays(
        cls, forest: Mapping[str, np.ndarray], process: Mapping[str, np.ndarray]
    ) -> Regressions:
        """Build from the arrays of both; those of a regression that is not blended in are empty."""
        return cls(
            Forest.from_arrays(forest) if forest else None,
            GaussianProcess.from_arrays(process) if process else None,
        )

    def arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the arrays of both, ``forest`` and ``process``; empty if there is none."""
        parts = {"forest": self.forest, "process": self.process}
        return {name: {} if part is None else part.arrays() for name, part in parts.items()}

    @property
    def name(self) -> Regression:
        """The regression, as ``train.regression`` names it."""
        if self.forest is not None:
            return "forest" if self.process is None else "both"
        return "none" if self.process is None else "gaussian_process"

    def of(self, regression: Regression) -> Regressions:
        """Return those of both that a blend of this name takes."""
        parts = parts_of(regression)
        return Regressions(
            self.forest if "forest" in parts else None,
            self.process if "gaussian_process" in parts else None,
        )

    def moments(self, x: Floats) -> tuple[Array, Array | None]:
        """Predict the target from features (n, f): mean and spread, (n,) each.

        The mean is that of forest and process, which err on different land: the process is the
        better one on smooth relations of many bands, the forest on thresholds. The spread is that
        of the forest, or none: a Gaussian process measures the distance to samples, not how much
        the target varies among similar pixels.
        """
        means, spread = [], None
        if self.forest is not None:
            mean, spread = self.forest.moments(x)
            means.append(mean)
        if self.process is not None:
            means.append(self.process.predict(x))
        return together(*means), spread


def together(*means: Array) -> Array:
    """Return the mean of regressions, (n,) each: they count alike, on maps and in scorecards."""
    return np.asarray(np.mean(means, axis=0))


def _covariance(x: Array, other: Array, scale: float) -> Array:
    """Compute the exponential covariance of features, (n, f) and (m, f): (n, m)."""
    return np.asarray(np.exp(cdist(x, other) / -scale))


def _likeliest(x: Array, y: Array) -> tuple[float, float]:
    """Return scale and noise of the largest marginal likelihood; y has a mean of 0.

    The variance of the process is that of the largest likelihood for each of them.
    """
    apart, best = cdist(x, x), (np.inf, 1.0, 1.0)
    for scale in _LENGTHS * np.sqrt(max(1, x.shape[1])):
        values, vectors = eigh(np.exp(apart / -scale))
        power = (vectors.T @ y) ** 2
        for noise in _NOISES:
            total = np.maximum(values, 0) + noise
            variance = max(float((power / total).mean()), 1e-300)
            loss = len(y) * np.log(variance) + np.log(total).sum()
            best = min(best, (float(loss), float(scale), float(noise)))
    return best[1:]
