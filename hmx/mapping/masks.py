"""Masks: land that has no soil to map, by classes of a band or by polygons.

Water, rock and built-up land get no value, whatever the covariates are there: a model learnt from
soil samples has seen none of it. Means and totals of zones leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hmx.cube.grid import Grid
from hmx.errors import BadArgument
from hmx.windows import Window
from hmx.zones.layer import ZoneLayer, read_zones

_HALF = 0.5  # share of a pixel that polygons cover; of more, the pixel is masked


@dataclass(frozen=True)
class Mask:
    """What is masked; small, because each task of a worker carries it."""

    classes: tuple[tuple[str, tuple[int, ...]], ...] = ()  # codes by band
    polygons: str | None = None  # path of a layer
    digest: str | None = None  # of the layer on the grid

    @classmethod
    def of(cls, given: str | Mapping[str, tuple[int, ...]] | None, grid: Grid) -> Mask:
        """Read a mask as options have it."""
        if given is None:
            return cls()
        if isinstance(given, str):
            return cls(polygons=given, digest=_layer(given, grid).digest)
        return cls(tuple((name, tuple(sorted(codes))) for name, codes in given.items()))

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands whose classes are masked."""
        return tuple(name for name, _ in self.classes)

    def __bool__(self) -> bool:
        return bool(self.classes) or self.polygons is not None

    def covers(
        self,
        place: tuple[Window, Grid] | None,
        arrays: Mapping[str, np.ndarray],
        shape: tuple[int, ...],
    ) -> np.ndarray:
        """Return which pixels of a core are masked, bool (y, x).

        `arrays` has the bands of the core; polygons need its `place`, a window of the cube's grid.
        """
        found = np.zeros(shape, bool)
        for name, codes in self.classes:
            found |= np.isin(arrays[name], codes)
        if self.polygons is not None:
            assert place is not None
            core, grid = place
            layer = _layer(self.polygons, grid)
            if layer.digest != self.digest:
                raise BadArgument(
                    f"the polygons of the mask, {self.polygons}, have changed since this map was "
                    "set up. Call map() again to use the new ones."
                )
            cover, share = layer.cover(core), np.zeros(found.size)
            np.add.at(share, cover.pixel, cover.share)
            found |= (share > _HALF).reshape(found.shape)
        return found

    def facts(self) -> dict[str, object]:
        """Return what is masked, in JSON values."""
        if self.polygons is not None:
            return {"polygons": self.digest}
        return {name: list(codes) for name, codes in self.classes}


@lru_cache(maxsize=2)
def _layer(path: str, grid: Grid) -> ZoneLayer:
    """Read polygons once in each process."""
    return read_zones(path, grid, id="#").without_properties()
