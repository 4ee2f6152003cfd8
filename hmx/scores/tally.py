"""Tally: cells of all forecasters, leads and strata, which add up across tiles.

A scene is a window of truth; forecasts of it are predictions. All forecasters of a lead are
scored on the same pixels: those with a truth, an origin and a value of each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmx.errors import BadArgument
from hmx.scores.cell import Cell, Plane, common_mask, measure
from hmx.scores.quantile import uniforms
from hmx.scores.sums import Mask, Settings, spread_weights
from hmx.windows import Span, Window

Floats = NDArray[np.floating[Any]]
Key = tuple[str, int, str]  # forecaster, lead, stratum
ALL = "all"  # the stratum of every pixel


@dataclass(frozen=True)
class Prediction:
    """The forecast of one forecaster over a scene."""

    mean: Floats  # central estimate; NaN is missing (lead, y, x)
    # Quantiles of each lead at `levels`; without them, a point mass at `mean` (lead, q, y, x)
    knots: Floats | None = None
    levels: tuple[float, ...] | None = None  # probabilities of the knots, ascending
    # Leads it forecasts, by default those of the scene. At others it has no score, and removes no
    # pixel from the scores of the rest
    leads: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if (self.knots is None) != (self.levels is None):
            raise BadArgument(
                "knots and levels come together: a knot is the quantile at its level. Pass both, "
                "or none for a forecast without a distribution."
            )

    def at(self, index: int) -> tuple[Floats, Floats | None]:
        """Return the mean (y, x) and the knots (q, y, x) of its lead number `index`."""
        return self.mean[index], None if self.knots is None else self.knots[index]


@dataclass(frozen=True)
class Scene:
    """A window of truth, which forecasts are scored on."""

    truth: Floats  # naN is missing, also a whole lead without truth (lead, y, x)
    origin: Floats  # the last map before the forecast (y, x)
    leads: tuple[int, ...]  # steps ahead of the origin, one for each plane of `truth`
    # The core that is scored, in pixels of the arrays; the rest is the halo that SSIM looks at
    # (:data:`hmx.scores.structure.HALO`). All by default
    crop: Window | None = None
    # Row and column of the core's first pixel in the raster (int, int)
    corner: tuple[int, int] = (0, 0)
    # For example cell areas in m2. Pixels of weight 0 are left out, also of the windows of SSIM
    # (y, x)
    weight: Floats | None = None
    # Zones to score separately. They may overlap; "all" is added (y, x)
    strata: Mapping[str, Mask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.truth) != len(self.leads):
            raise BadArgument(
                f"truth has {len(self.truth)} planes for {len(self.leads)} leads: each lead has "
                "its own plane. Fill a lead without truth with NaN."
            )
        if ALL in self.strata:
            raise BadArgument(
                f"a stratum is called {ALL!r}: that name stands for every pixel. Rename yours."
            )

    @property
    def core(self) -> Window:
        """The core, in pixels of the arrays."""
        return self.crop or Window.of((self.origin.shape[0], self.origin.shape[1]))

    @property
    def window(self) -> Window:
        """The core, in pixels of the raster."""
        rows, cols = self.core.shape
        top, left = self.corner
        return Window(Span(top, top + rows), Span(left, left + cols))


@dataclass(frozen=True)
class Tally:
    """A cell for each forecaster, lead and stratum.

    ``Tally()`` is the empty state, and ``+`` joins two: tiles add up to the raster.
    """

    # By forecaster, lead and stratum (str, int, str)
    cells: Mapping[Key, Cell] = field(default_factory=dict)

    @classmethod
    def zero(cls) -> Tally:
        """Return the empty state, the start of a sum."""
        return cls()

    @classmethod
    def of(
        cls,
        scene: Scene,
        predictions: Mapping[str, Prediction],
        *,
        settings: Settings | None = None,
    ) -> Tally:
        """Score forecasters over a scene, lead by lead, also where a cell stays empty.

        A pixel where one of them has no value at a lead is left out of all at that lead.
        """
        wanted = settings or Settings()
        cells: dict[Key, Cell] = {}
        for index, lead in enumerate(scene.leads):
            for name, stratum, cell in _score(scene, predictions, index, wanted):
                cells[name, lead, stratum] = cell
        return cls(cells)

    def __add__(self, other: Tally) -> Tally:
        """Join two states into the state of the union of their pixels."""
        keys = dict.fromkeys([*self.cells, *other.cells])
        none = Cell()
        return Tally({k: self.cells.get(k, none) + other.cells.get(k, none) for k in keys})

    def __getitem__(self, key: Key) -> Cell:
        """Return the cell of a forecaster, lead and stratum; an empty one if not there."""
        return self.cells.get(key, Cell())

    @property
    def forecasters(self) -> tuple[str, ...]:
        """Names of the forecasters, in the order of the cells."""
        return tuple(dict.fromkeys(name for name, _, _ in self.cells))

    @property
    def leads(self) -> tuple[int, ...]:
        """Leads, ascending."""
        return tuple(sorted({lead for _, lead, _ in self.cells}))

    @property
    def strata(self) -> tuple[str, ...]:
        """Names of the strata, in the order of the cells, "all" first."""
        return tuple(dict.fromkeys(stratum for _, _, stratum in self.cells))

    def as_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, all digits kept."""
        return {
            "cells": [
                {"forecaster": name, "lead": lead, "stratum": stratum, **cell.as_dict()}
                for (name, lead, stratum), cell in self.cells.items()
            ]
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Tally:
        """Restore the state from the values of :meth:`as_dict`."""
        return cls(
            {
                (row["forecaster"], int(row["lead"]), row["stratum"]): Cell.from_dict(row)
                for row in facts["cells"]
            }
        )


def _score(
    scene: Scene, predictions: Mapping[str, Prediction], index: int, settings: Settings
) -> Iterator[tuple[str, str, Cell]]:
    """Yield forecaster, stratum and cell of one lead."""
    lead, truth = scene.leads[index], scene.truth[index]
    known = {n: p.leads or scene.leads for n, p in predictions.items()}
    ahead = {n: p.at(known[n].index(lead)) for n, p in predictions.items() if lead in known[n]}
    weights = spread_weights(scene.weight, scene.origin.shape)
    layers = [part for pair in ahead.values() for part in pair if part is not None]
    keep = common_mask(truth, scene.origin, *layers) & (weights > 0)
    plane = Plane(truth, scene.origin, scene.core, keep)
    if not plane.core(keep).any():
        yield from ((name, part, Cell()) for name in ahead for part in (ALL, *scene.strata))
        return
    draws, weight = uniforms(scene.window, seed=lead), plane.core(weights)
    parts = {
        # a stratum has one plane, or one for each lead
        name: plane.core(mask if mask.ndim == 2 else mask[index])
        for name, mask in scene.strata.items()
    }
    for name, (mean, knots) in ahead.items():
        levels = predictions[name].levels
        pixels = measure(plane, mean, knots, levels, draws, weight, settings)
        yield name, ALL, Cell.measure(pixels, settings)
        for part, mask in parts.items():
            yield name, part, Cell.measure(pixels, settings, mask)


def pooled(tallies: Mapping[str, Tally]) -> Tally:
    """Add up the tallies of folds, origins or tiles."""
    return sum(tallies.values(), Tally())
