"""Samples: points joined to a cube, one row each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmx.files.shown import Shown


@dataclass(frozen=True, repr=False)
class Samples(Shown):
    """Points that lie in a cube with data, one row each.

    Parameters
    ----------
    row, column : ndarray of int, (n,)
        Pixel of the cube, north-up.
    value : ndarray of float64, (n,)
        The quantity, in its own units.
    site : ndarray of int, (n,)
        Samples of one place share it: they never lie on two sides of a split.
    step : ndarray of int, (n,)
        Last step of the time axis that a sample may see.
    lonlat : ndarray of float64, (n, 2)
        Degrees, WGS 84.
    xy : ndarray of float64, (n, 2)
        In the CRS of the cube.
    source : ndarray of int, (n,)
        Row of the table the sample came from.
    depth : ndarray of float64, (n, 2), optional
        Top and bottom, cm below the surface.
    """

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    site: np.ndarray
    step: np.ndarray
    lonlat: np.ndarray
    xy: np.ndarray
    source: np.ndarray
    depth: np.ndarray | None = None

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        facts = {"samples": f"{len(self):,} at {len(np.unique(self.site)):,} sites"}
        if len(self):
            low, middle, high = np.quantile(self.value, (0, 0.5, 1))
            west, south = self.lonlat.min(axis=0)
            east, north = self.lonlat.max(axis=0)
            facts["values"] = f"{low:.4g} to {high:.4g}, median {middle:.4g}"
            facts["longitude"] = f"{west:.3f} to {east:.3f}"
            facts["latitude"] = f"{south:.3f} to {north:.3f}"
        return facts

    def __len__(self) -> int:
        return len(self.value)

    def at(self, rows: np.ndarray) -> Samples:
        """Return some of the samples, by position or by mask."""
        parts = {name: array[rows] for name, array in vars(self).items() if array is not None}
        return Samples(**parts)
