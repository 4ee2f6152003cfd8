"""Cell: every state of one forecaster at one lead in one stratum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmx.errors import BadArgument
from hmx.scores.coverage import Coverage, PitHistogram
from hmx.scores.events import Events
from hmx.scores.quantile import crps, pit, quantile_at, uniforms
from hmx.scores.score import Score
from hmx.scores.structure import Kind, Structure, ssim_map
from hmx.scores.sums import Array, spread_weights
from hmx.windows import Window

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Settings:
    """Say what is measured; only cells of equal settings may be added.

    Parameters
    ----------
    intervals : tuple of float, %
        Levels of the central intervals.
    threshold : float, units of the target
        A change is an event if its size is greater. The default is a hundredth
        of the default range; at 0 every trace of forecast change is one.
    data_range : float, units of the target
        Span of possible values, for SSIM.
    kind : {'uniform', 'gaussian'}
        Window of the SSIM; see :func:`hmx.scores.ssim_map`.
    """

    intervals: tuple[float, ...] = (50.0, 80.0, 95.0)
    threshold: float = 0.01
    data_range: float = 1.0
    kind: Kind = "uniform"


@dataclass(frozen=True)
class Cell:
    """Hold the scores of one forecaster at one lead in one stratum.

    ``Cell()`` is the empty state, and ``+`` joins two.

    Attributes
    ----------
    score : Score
        Of the central estimate and, as CRPS, of the distribution.
    coverage : mapping of float to Coverage
        By level, %.
    pit : PitHistogram
        Of the distribution.
    structure : Structure
        Of the central estimate.
    events : Events
        Of the central estimate.

    Examples
    --------
    >>> still = Cell.of([[0.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]])
    >>> (still + still).score.count, still.score.mae, still.events.recall
    (4, 0.5, 0.0)
    """

    score: Score = field(default_factory=Score)
    coverage: Mapping[float, Coverage] = field(default_factory=dict)
    pit: PitHistogram = field(default_factory=PitHistogram)
    structure: Structure = field(default_factory=Structure)
    events: Events = field(default_factory=Events)

    @classmethod
    def zero(cls) -> Cell:
        """Return the empty state, the start of a sum."""
        return cls()

    @classmethod
    def of(
        cls,
        truth: ArrayLike,
        origin: ArrayLike,
        mean: ArrayLike,
        *,
        knots: ArrayLike | None = None,
        levels: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        uniform: ArrayLike | None = None,
        crop: Window | None = None,
        settings: Settings | None = None,
    ) -> Cell:
        """Score one map in every way.

        Parameters
        ----------
        truth, origin, mean : array_like (y, x), units of the target
            What came, the last map known, and the central estimate. A pixel
            missing from any of them or from `knots` is left out.
        knots : array_like (q, y, x), units of the target, optional
            Quantiles at `levels`. Without them the distribution is a point mass
            at `mean`.
        levels : array_like (q,), optional
            Probabilities of the knots, ascending.
        weight : array_like, broadcastable to (y, x), >= 0, optional
            For example cell areas in m2.
        uniform : array_like (y, x) of the core, optional
            Draws for the randomised PIT, from :func:`hmx.scores.uniforms` at the
            core's place in the raster. By default, as if it lay in its corner.
        crop : Window, optional
            The core that is scored, in pixels of the arrays; the rest is the
            halo that SSIM looks at.
        settings : Settings, optional
            What is measured.

        Returns
        -------
        Cell
            Sums in float64.

        Raises
        ------
        BadArgument
            If shapes, levels or weights do not fit.
        """
        y, start, ahead = (np.asarray(a) for a in (truth, origin, mean))
        weights = spread_weights(weight, y.shape)
        rows = None if knots is None else np.asarray(knots)
        keep = common_mask(y, start, ahead, weights, *(() if rows is None else (rows,)))
        plane = Plane(y, start, crop or Window.of((y.shape[0], y.shape[1])), keep & (weights > 0))
        draws = uniforms(Window.of(plane.crop.shape)) if uniform is None else np.asarray(uniform)
        maps = measure(plane, ahead, rows, levels, draws, settings or Settings())
        return maps.cell(plane.core(weights), settings or Settings())

    def __add__(self, other: Cell) -> Cell:
        """Join two states into the state of the union of their pixels."""
        none = Coverage()
        return Cell(
            score=self.score + other.score,
            coverage={
                level: self.coverage.get(level, none) + other.coverage.get(level, none)
                for level in sorted({*self.coverage, *other.coverage})
            },
            pit=self.pit + other.pit,
            structure=self.structure + other.structure,
            events=self.events + other.events,
        )

    def figures(self) -> dict[str, float]:
        """Finish the sums: every figure by name, NaN where there is none."""
        found: dict[str, float] = {"n": self.score.count, "weight": self.score.weight}
        found |= {name: getattr(self.score, name) for name in ("mae", "rmse", "bias", "crps")}
        for level, interval in self.coverage.items():
            found[f"coverage_{level:g}"] = interval.share
            found[f"width_{level:g}"] = interval.width
            found[f"interval_score_{level:g}"] = interval.interval_score
        found["ssim"] = self.structure.ssim
        found |= {name: getattr(self.events, name) for name in ("precision", "recall", "f1")}
        return found | {f"pit_{i:02d}": float(s) for i, s in enumerate(self.pit.shares)}

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, all digits kept."""
        return {
            "score": self.score.as_dict(),
            "coverage": {repr(float(k)): v.as_dict() for k, v in self.coverage.items()},
            "pit": self.pit.as_dict(),
            "structure": self.structure.as_dict(),
            "events": self.events.as_dict(),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Cell:
        """Make the state again from the values of :meth:`as_dict`."""
        return cls(
            score=Score.from_dict(facts["score"]),
            coverage={float(k): Coverage.from_dict(v) for k, v in facts["coverage"].items()},
            pit=PitHistogram.from_dict(facts["pit"]),
            structure=Structure.from_dict(facts["structure"]),
            events=Events.from_dict(facts["events"]),
        )


def common_mask(*maps: NDArray[Any]) -> Mask:
    """Find the pixels that all maps know.

    Scores of several forecasters compare only over the same pixels: mask them
    all with this before scoring any.

    Parameters
    ----------
    *maps : array (..., y, x)
        Truth, origin, forecasts, knots; leading axes must be known throughout.

    Returns
    -------
    array (y, x), bool
        True where every value of every map is finite.
    """
    shape = maps[0].shape[-2:]
    keep = np.ones(shape, dtype=bool)
    for layers in maps:
        if layers.shape[-2:] != shape:
            raise BadArgument(
                f"a map of {layers.shape[-2:]} pixels lies beside one of {shape}: only maps of "
                "the same window compare. Cut all of them to one window."
            )
        for layer in layers.reshape(-1, *shape):  # lean: one plane at a time
            keep &= np.isfinite(layer)
    return keep


@dataclass(frozen=True)
class Plane:
    """One lead of a window: truth, origin, and the pixels that count.

    Parameters
    ----------
    truth, origin : array (y, x), units of the target
        With the halo.
    crop : Window
        The core, in pixels of the arrays.
    keep : array (y, x), bool
        Known to truth, origin and every forecaster compared.
    """

    truth: NDArray[Any]
    origin: NDArray[Any]
    crop: Window
    keep: Mask

    def core(self, layers: NDArray[Any]) -> NDArray[Any]:
        """Take the pixels of the core that count, (..., y, x) -> (..., n)."""
        flat = layers.reshape(*layers.shape[:-2], -1)
        return np.asarray(np.take(flat, self._index, axis=-1))

    @cached_property
    def _index(self) -> NDArray[np.intp]:
        """Flat index of the core's pixels that count, row by row."""
        inside = np.zeros_like(self.keep)
        inside[self.crop.slices] = self.keep[self.crop.slices]
        return np.flatnonzero(inside)


@dataclass(frozen=True)
class Maps:
    """What is known of each pixel of the core that counts, arrays (n,)."""

    truth: Array
    origin: Array
    mean: Array
    crps: Array | None
    pit: Array
    ends: Mapping[float, tuple[Array, Array]]
    ssim: Array

    def cell(self, weight: Array, settings: Settings, select: Mask | None = None) -> Cell:
        """Add the pixels up, all or those of a stratum, each with its weight (n,)."""
        index = None if select is None else np.flatnonzero(select)

        def take(values: NDArray[Any]) -> NDArray[Any]:
            return values if index is None else values.take(index)

        y, start, ahead = take(self.truth), take(self.origin), take(self.mean)
        w, z = take(weight), take(self.pit)
        ranked = None if self.crps is None else take(self.crps)
        return Cell(
            score=Score.of(y, ahead, weight=w, crps=ranked),
            coverage={
                level: Coverage.of(y, take(low), take(high), pit=z, level=level, weight=w)
                for level, (low, high) in self.ends.items()
            },
            pit=PitHistogram.of(z, weight=w),
            structure=Structure.sums(take(self.ssim), weight=w),
            events=Events.of(y, start, ahead, threshold=settings.threshold, weight=w),
        )


def measure(
    plane: Plane,
    mean: NDArray[Any],
    knots: NDArray[Any] | None,
    levels: ArrayLike | None,
    uniform: Array,
    settings: Settings,
) -> Maps:
    """Measure one forecaster at every pixel of the core that counts.

    Parameters
    ----------
    plane : Plane
        Truth and which pixels count.
    mean : array (y, x), units of the target
        Central estimate, with the halo.
    knots : array (q, y, x) or None, units of the target
        Quantiles; none is a point mass at `mean`.
    levels : array_like (q,) or None
        Probabilities of the knots.
    uniform : array (y, x) of the core
        Draws from U(0, 1).
    settings : Settings
        What is measured.
    """
    seen, ahead = (np.where(plane.keep, layer, np.nan) for layer in (plane.truth, mean))
    similar = ssim_map(seen, ahead, data_range=settings.data_range, kind=settings.kind)
    y, centre = plane.core(plane.truth), plane.core(mean)
    rows = centre[None] if knots is None else plane.core(knots)
    p: ArrayLike = [0.5] if knots is None or levels is None else levels
    draws = uniform[plane.keep[plane.crop.slices]]
    ends = {}
    for level in settings.intervals:
        tail = (1 - level / 100) / 2
        low = centre if knots is None else quantile_at(rows, p, tail)
        ends[float(level)] = (low, low if knots is None else quantile_at(rows, p, 1 - tail))
    return Maps(
        truth=y,
        origin=plane.core(plane.origin),
        mean=centre,
        crps=None if knots is None else crps(y, rows, p),
        pit=pit(y, rows, p, draws),
        ends=ends,
        ssim=plane.core(similar),
    )
