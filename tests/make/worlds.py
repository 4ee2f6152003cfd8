"""Worlds whose rule is known: cubes, and the best forecast that the rule allows.

Each world is drawn from a seed. What a forecaster reaches in it can be told as a share
of what can be reached at all, and its intervals can be held against the true ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.special import comb, ndtr

from hmx.features.terrain import slope_aspect
from hmx.forecast.options import split_fitting
from hmx.forecast.train.recipe import TrainSetup
from hmx.networks.options import KNOTS
from hmx.scores import Prediction, Scene, Tally, skill
from hmx.scores.score import Measure
from tests.make.cubes import times

Array = NDArray[np.float64]
Shape = tuple[int, int]
LEADS = (1, 2)
# Probabilities that scores are computed at: the knots, and the ends of 50 % intervals, with
# enough between them that the edges of a point mass are found.
FINE = tuple(sorted({*KNOTS, *(round(0.05 * n, 2) for n in range(1, 20))}))
PIXEL = 300.0  # m
STILL, BEST = "persistence", "best possible"

PULL, RADIUS = 0.3, 3  # of relational(): share of the way to the mean of 7 x 7 px in a step
DRIVE, STEEP = 0.03, 0.15  # growth where population is a deviation high; slope that damps it
CROWD, MEMORY = (6.0, 1.5), 0.8  # log of population: mean and deviation; correlation of steps
NOISE = 0.01


@dataclass(frozen=True)
class World:
    """A cube, and the best forecast of its last steps.

    Parameters
    ----------
    ds : Dataset
        All steps, 5-yearly; the target is ``hm``, in the unit 1 and without bounds.
    best : Prediction
        True mean and true quantiles at the leads, given all that is known at the origin.
    dynamic, static : tuple of str
        Covariates, those that matter among them.
    transforms : mapping of str to str
        What covariates should go through.
    """

    ds: xr.Dataset
    best: Prediction
    dynamic: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    transforms: Mapping[str, str] = field(default_factory=dict)

    @property
    def past(self) -> xr.Dataset:
        """The steps up to the origin."""
        return self.ds.isel(time=slice(None, -len(LEADS)))

    @property
    def origin(self) -> NDArray[np.float32]:
        """The last map a forecaster knows, (y, x)."""
        return np.asarray(self.past["hm"].values[-1])

    def recipe(self, **options: Any) -> TrainSetup:
        """What to train, up to the origin, for these leads."""
        until = str(self.past["time"].values[-1])[:4]
        network, fit = split_fitting({"h": len(LEADS), "until": until, **options})
        return TrainSetup("hm", self.dynamic, self.static, network, fit, transforms=self.transforms)

    def tally(self, predictions: Mapping[str, Prediction]) -> Tally:
        """Score forecasters beside persistence and the best possible."""
        truth = self.ds["hm"].values[-len(LEADS) :]
        still = Prediction(np.stack([self.origin] * len(LEADS)))
        scene = Scene(truth, self.origin, LEADS)
        return Tally.of(scene, {STILL: still, BEST: self.best, **predictions})


def recovered(tally: Tally, name: str, lead: int, measure: Measure = "rmse") -> float:
    """Tell what share of the achievable skill against persistence a forecaster has."""
    still = tally[STILL, lead, "all"].score
    ours, most = (
        skill(tally[who, lead, "all"].score, still, measure=measure) for who in (name, BEST)
    )
    return ours / most


def relational(
    shape: Shape = (192, 192), *, steps: int = 10, share: float = 1.0, seed: int = 0
) -> World:
    """Make a world that goes by neighbourhood, terrain and population.

    Each pixel is drawn towards the mean of its neighbourhood, and grows or shrinks with
    the logarithm of its population, the less the steeper it lies, all with Gaussian
    noise. The population's logarithm returns to its mean: nobody knows its future.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    steps : int
        Steps in all; the last two are to be forecast.
    share : float
        Of the noise: a smaller one leaves more to be known.
    seed : int
        Another seed, another world.
    """
    draw = np.random.default_rng(seed)
    elevation = 600 * smooth(draw, shape, 8) + 1000
    flat = np.exp(-slope_aspect(elevation.astype("float32"), (PIXEL, PIXEL))[0] / STEEP)
    crowd = [smooth(draw, shape, 6)]
    for _ in range(steps - 1):
        fresh = np.sqrt(1 - MEMORY**2) * smooth(draw, shape, 6)
        crowd.append(np.maximum(MEMORY * crowd[-1] + fresh, -CROWD[0] / CROWD[1]))
    states = [0.5 + 0.05 * smooth(draw, shape, 4)]
    for now in range(steps - 1):
        noise = share * NOISE * draw.standard_normal(shape)
        states.append(_grow(states[-1], DRIVE * flat * crowd[now]) + noise)
    series = np.stack(states).astype("float32")
    people = np.expm1(CROWD[0] + CROWD[1] * np.stack(crowd)).astype("float32")
    last = steps - 1 - len(LEADS)
    best = _best_growth(series[last].astype("float64"), crowd[last], flat, share * NOISE)
    data = {"population": (("time", "y", "x"), people), "elevation": (("y", "x"), elevation)}
    return World(_cube(series, data), best, ("population",), ("elevation",), {"population": "log"})


def noise(
    shape: Shape = (192, 192), *, steps: int = 10, moves: float = 0.005, seed: int = 0
) -> World:
    """Make a world in which nothing can be known: now and then a pixel jumps.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    steps : int
        Steps in all; the last two are to be forecast.
    moves : float
        Share of the pixels that jump in a step; 1 is a random walk, whose centre cannot
        be forecast, but whose spread can.
    seed : int
        Another seed, another world.
    """
    draw = np.random.default_rng(seed)
    data = {"elevation": (("y", "x"), 300 * smooth(draw, shape, 8) + 1000)}
    rates = np.full(shape, moves), np.full(shape, 0.05)
    return World(*_jump(draw, *rates, steps=steps, data=data), static=("elevation",))


def known(shape: Shape = (192, 192), *, steps: int = 10, seed: int = 0) -> World:
    """Make a world of known spread: each pixel stays as it is, or jumps.

    How often, and how far, follows from two static covariates, ``unrest`` and ``stride``;
    jumps are Gaussian and centred, so persistence is the best central estimate.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    steps : int
        Steps in all; the last two are to be forecast.
    seed : int
        Another seed, another world.
    """
    draw = np.random.default_rng(seed)
    unrest, stride = smooth(draw, shape, 6), smooth(draw, shape, 6)
    data = {"unrest": (("y", "x"), unrest), "stride": (("y", "x"), stride)}
    rates = 1 / (1 + np.exp(-unrest)), 0.02 * np.exp(0.7 * stride)
    return World(*_jump(draw, *rates, steps=steps, data=data), static=("unrest", "stride"))


def smooth(draw: np.random.Generator, shape: Shape, length: float) -> Array:
    """Draw a smooth field, (y, x), of mean 0 and variance 1 over many fields.

    Parameters
    ----------
    draw : Generator
        Where it is drawn from.
    shape : tuple of int
        Rows and columns.
    length : float
        Deviation of the Gaussian it is smoothed with, px.
    """
    rim = int(4 * length)
    wide = draw.standard_normal((shape[0] + 2 * rim, shape[1] + 2 * rim))
    field = gaussian_filter(wide, length)[rim:-rim, rim:-rim]
    return np.asarray(field * 2 * np.sqrt(np.pi) * length)


def quantiles(shares: Array, spreads: Array, levels: tuple[float, ...] = FINE) -> Array:
    """Invert mixtures of centred Gaussians, point masses at 0 among them.

    Parameters
    ----------
    shares : array (k, ...)
        Of each part; they sum to 1.
    spreads : array (k, ...)
        Deviation of each part; 0 is a point mass.
    levels : tuple of float
        Probabilities wanted.

    Returns
    -------
    array (q, ...)
        By bisection; exactly 0 inside a point mass.
    """
    found = np.empty((len(levels), *shares.shape[1:]))
    point = spreads == 0
    divisor = np.where(point, 1.0, spreads)
    for index, level in enumerate(levels):
        low, high = -8 * spreads.max(axis=0), 8 * spreads.max(axis=0)
        for _ in range(48):
            middle = (low + high) / 2
            under = np.where(point, middle >= 0, ndtr(middle / divisor))
            enough = (shares * under).sum(axis=0) >= level
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        found[index] = np.where(np.abs(high) < 1e-12, 0.0, high)
    return found


def _grow(state: Array, drive: Array) -> Array:
    return np.asarray(state + PULL * (_around(state) - state) + drive)


def _around(state: Array) -> Array:
    """Mean of the known pixels of the square around each pixel."""
    return np.asarray(_box(state) / _box(np.ones_like(state)))


def _box(layer: Array) -> Array:
    return np.asarray(uniform_filter(layer, 2 * RADIUS + 1, mode="constant"))


def _best_growth(origin: Array, crowd: Array, flat: Array, deviation: float) -> Prediction:
    """Give mean and spread two steps ahead, exactly.

    The error after two steps is the first noise, spread by the neighbourhood, plus what
    population did unforeseen, plus the second noise.
    """
    one = _grow(origin, DRIVE * flat * crowd)
    two = _grow(one, DRIVE * flat * MEMORY * crowd)
    count = _box(np.ones_like(origin)) * (2 * RADIUS + 1) ** 2
    kept = (1 - PULL + PULL / count) ** 2 + (count - 1) * (PULL / count) ** 2
    unforeseen = (1 - MEMORY**2) * (DRIVE * flat) ** 2
    variances = [np.full_like(origin, deviation**2), deviation**2 * (1 + kept) + unforeseen]
    ones = np.ones((1, *origin.shape))
    spread = [quantiles(ones, np.sqrt(variance)[None]) for variance in variances]
    means = np.stack([one, two])
    return _prediction(means, means[:, None] + np.stack(spread))


def _jump(
    draw: np.random.Generator, moves: Array, spread: Array, *, steps: int, data: dict[str, Any]
) -> tuple[xr.Dataset, Prediction]:
    """Let pixels stay, or jump, and give the distribution of a jump or two."""
    shape = moves.shape
    series = [(0.5 + 0.1 * smooth(draw, shape, 4)).astype("float32")]
    for _ in range(steps - 1):
        jumps = spread * draw.standard_normal(shape)
        moved = (series[-1] + jumps).astype("float32")
        series.append(np.where(draw.random(shape) < moves, moved, series[-1]))
    origin = series[-1 - len(LEADS)].astype("float64")
    knots = []
    for lead in LEADS:
        times_ = np.arange(lead + 1)[:, None, None]
        shares = comb(lead, times_) * moves**times_ * (1 - moves) ** (lead - times_)
        knots.append(origin + quantiles(shares, np.sqrt(times_) * spread))
    best = _prediction(np.stack([origin] * len(LEADS)), np.stack(knots))
    return _cube(np.stack(series), data), best


def _prediction(means: Array, knots: Array) -> Prediction:
    return Prediction(means.astype("float32"), knots.astype("float32"), FINE)


def _cube(series: NDArray[np.float32], others: dict[str, Any]) -> xr.Dataset:
    steps, rows, cols = series.shape
    layers = {
        name: (dims, np.asarray(values, "float32")) for name, (dims, values) in others.items()
    }
    ds = xr.Dataset(
        {"hm": (("time", "y", "x"), series), **layers},
        {
            "time": times(steps=steps),
            "y": 6e6 - PIXEL * (np.arange(rows) + 0.5),
            "x": 5e5 + PIXEL * (np.arange(cols) + 0.5),
        },
    )
    placed: xr.Dataset = ds.rio.write_crs("EPSG:32632")
    return placed
