"""Cell: every metric of one forecaster at one lead in one stratum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmx.errors import BadArgument
from hmx.scores.coverage import Coverage, CoverageByLevel, PitHistogram
from hmx.scores.events import Events
from hmx.scores.quantile import crps, pit, quantile_at, uniforms
from hmx.scores.score import Score
from hmx.scores.structure import Structure, ssim_map
from hmx.scores.sums import (
    Array,
    CellMetric,
    M,
    Mask,
    ScoredPixels,
    Settings,
    metrics,
    spread_weights,
)  # fmt: skip
from hmx.windows import Window


@dataclass(frozen=True)
class Cell:
    """The scores of one forecaster at one lead in one stratum.

    ``Cell()`` is the empty state, and ``+`` joins two.

    Examples
    --------
    >>> still = Cell.of([[0.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]])
    >>> (still + still).score.count, still.score.mae, still.events.recall
    (4, 0.5, 0.0)
    """

    # By key: all that are registered (:func:`hmx.scores.sums.metric`)
    states: Mapping[str, CellMetric] = field(
        default_factory=lambda: {key: kind.zero() for key, kind in metrics().items()}
    )

    @property
    def score(self) -> Score:
        """Errors of the central estimate and CRPS of the distribution."""
        return self._state(Score)

    @property
    def coverage(self) -> Mapping[float, Coverage]:
        """Coverage of the central intervals, by level, %."""
        return self._state(CoverageByLevel).levels

    @property
    def pit(self) -> PitHistogram:
        """Histogram of the probabilities of truths."""
        return self._state(PitHistogram)

    @property
    def structure(self) -> Structure:
        """SSIM of the central estimate."""
        return self._state(Structure)

    @property
    def events(self) -> Events:
        """Change that the central estimate forecasts."""
        return self._state(Events)

    def _state(self, kind: type[M]) -> M:
        state = self.states[kind.key]
        assert isinstance(state, kind)
        return state

    @classmethod
    def zero(cls) -> Cell:
        """Return the empty state, the start of a sum."""
        return cls()

    @classmethod
    def measure(cls, pixels: ScoredPixels, settings: Settings, select: Mask | None = None) -> Cell:
        """Sum all metrics over pixels, or over those that `select` marks, (n,)."""
        used = pixels if select is None else pixels.take(np.flatnonzero(select))
        return cls({key: kind.measure(used, settings) for key, kind in metrics().items()})

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

        Shapes: ``truth`` and ``origin`` and ``mean`` (y, x), ``knots`` (q, y, x), ``levels`` (q,),
        ``weight`` (y, x), ``uniform`` (y, x).
        """
        y, start, ahead = (np.asarray(a) for a in (truth, origin, mean))
        weights, settings = spread_weights(weight, y.shape), settings or Settings()
        rows = None if knots is None else np.asarray(knots)
        keep = common_mask(y, start, ahead, weights, *(() if rows is None else (rows,)))
        plane = Plane(y, start, crop or Window.of((y.shape[0], y.shape[1])), keep & (weights > 0))
        draws = uniforms(Window.of(plane.crop.shape)) if uniform is None else np.asarray(uniform)
        pixels = measure(plane, ahead, rows, levels, draws, plane.core(weights), settings)
        return cls.measure(pixels, settings)

    def __add__(self, other: Cell) -> Cell:
        """Join two states into the state of the union of their pixels."""
        return Cell(
            {
                key: self.states.get(key, kind.zero()) + other.states.get(key, kind.zero())
                for key, kind in metrics().items()
            }
        )

    def figures(self) -> dict[str, float]:
        """Return every finished figure by name, NaN where there is none."""
        found: dict[str, float] = {}
        # sorted() is stable: within both groups the order is that of the ranks
        for state in sorted(self.states.values(), key=lambda state: state.last):
            found |= state.figures()
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, all digits kept."""
        return {key: state.as_dict() for key, state in self.states.items()}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Cell:
        """Restore the state from the values of :meth:`as_dict`.

        A metric that is younger than the file is empty.
        """
        return cls(
            {
                key: kind.from_dict(facts[key]) if key in facts else kind.zero()
                for key, kind in metrics().items()
            }
        )


def common_mask(*maps: NDArray[Any]) -> Mask:
    """Find the pixels (y, x) that are finite in all maps (..., y, x) and all their layers.

    Scores of several forecasters compare only over the same pixels, so all are masked with this
    before any is scored.
    """
    shape = maps[0].shape[-2:]
    keep = np.ones(shape, dtype=bool)
    for layers in maps:
        if layers.shape[-2:] != shape:
            raise BadArgument(
                f"a map of {layers.shape[-2:]} pixels comes with one of {shape}: only maps of "
                "the same window compare. Cut all of them to one window."
            )
        for layer in layers.reshape(-1, *shape):  # one plane at a time: a mask of all is large
            keep &= np.isfinite(layer)
    return keep


@dataclass(frozen=True)
class Plane:
    """One lead of a window: truth and origin (y, x) with the halo, and the pixels that count."""

    truth: NDArray[Any]  # with the halo (y, x)
    origin: NDArray[Any]
    crop: Window  # the core, in pixels of the arrays
    keep: Mask  # known to truth, origin and every forecaster compared (y, x)

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


def measure(
    plane: Plane,
    mean: NDArray[Any],
    knots: NDArray[Any] | None,
    levels: ArrayLike | None,
    uniform: Array,
    weight: Array,
    settings: Settings,
) -> ScoredPixels:
    """Measure one forecaster at every pixel of the core that counts.

    `mean` (y, x) and `knots` (q, y, x) have the halo, `uniform` the core's pixels (y, x), `weight`
    those that count (n,).
    """
    # SSIM looks at the same pixels for all forecasters: gaps of one are gaps of all.
    known, ahead = (np.where(plane.keep, layer, np.nan) for layer in (plane.truth, mean))
    similar = ssim_map(known, ahead, data_range=settings.data_range, kind=settings.kind)
    y, centre = plane.core(plane.truth), plane.core(mean)
    rows = centre[None] if knots is None else plane.core(knots)
    p: ArrayLike = [0.5] if knots is None or levels is None else levels
    draws = uniform[plane.keep[plane.crop.slices]]
    ends = {}
    for level in settings.intervals:
        tail = (1 - level / 100) / 2
        low = centre if knots is None else quantile_at(rows, p, tail)
        ends[float(level)] = (low, low if knots is None else quantile_at(rows, p, 1 - tail))
    return ScoredPixels(
        truth=y,
        origin=plane.core(plane.origin),
        mean=centre,
        median=centre if knots is None else quantile_at(rows, p, 0.5),
        crps=None if knots is None else crps(y, rows, p),
        pit=pit(y, rows, p, draws),
        ends=ends,
        ssim=plane.core(similar),
        weight=weight,
    )
