"""Skill maps: errors of the model and of persistence, pixel by pixel, in a Zarr store.

Where a backtest has held-out truth, the store has the errors of the model and of persistence by
lead and origin, on the cube's grid and with its names, and the skill that follows from them. Folds
of one origin fill one map: each pixel is tested once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from hmx.cube.cube import CHUNK, Cube
from hmx.cube.store import attributes
from hmx.engine.output import is_ours, lay_out, require_free, set_status, writing
from hmx.engine.result import georeference
from hmx.files.durable import Folder
from hmx.provenance import provenance
from hmx.windows import Window

Floats = NDArray[np.floating[Any]]

NAMES = {
    "abs_error": "absolute error of the model's mean",
    "crps": "CRPS of the model's distribution",
    "abs_error_persistence": "absolute error of persistence",
}
# of persistence, one number, the CRPS is the absolute error
SKILLS = {
    "gain": "absolute error of persistence - CRPS of the model, above 0 where the model is better",
    "skill": "CRPS skill against persistence, 1 - CRPS / absolute error of persistence; missing "
    "where persistence makes no error, where gain tells how much is lost",
}


@dataclass(frozen=True)
class SkillMap:
    """The maps of one origin in a store; pickled for the workers."""

    path: str  # of the store
    position: int  # of the origin, on the axis ``time``

    def write(self, maps: Mapping[str, Floats], window: Window, flips: Sequence[str]) -> None:
        """Write maps (lead, y, x) where they are finite; pixels of other folds stay.

        The window is in pixels of the store and covers whole chunks: two tasks never share one.
        """
        if not any(np.isfinite(layers).any() for layers in maps.values()):
            return
        axes = tuple(axis for axis, dim in ((-2, "y"), (-1, "x")) if dim in flips)
        maps = {**maps, **_skills(maps)}
        with writing(self.path):
            group = zarr.open_group(self.path, mode="r+", use_consolidated=False)
            for name, layers in maps.items():
                array, turned = group[name], np.flip(layers, axes)
                assert isinstance(array, zarr.Array)
                at = (slice(None), slice(None), *window.slices)
                block = np.asarray(array[at])
                # a late origin has fewer leads with truth than the store, which has those of all
                there = block[: len(turned), self.position]
                np.copyto(there, turned, where=np.isfinite(turned))
                array[at] = block


def make_maps(
    path: str,
    cube: Cube,
    origins: Sequence[int],
    *,
    h: int,
    facts: dict[str, Any],
    chunk: int = CHUNK,
) -> None:
    """Lay out an empty store of maps."""
    require_free(path, what="scorecard: --output DIR")
    Folder(path).remove()
    shape = (h, len(origins), *cube.grid.shape)
    units = cube.data[cube.target].attrs.get("units")
    unit = {**dict.fromkeys((*NAMES, "gain"), units), "skill": "1"}
    layers = {
        name: (
            ("lead", "time", "y", "x"),
            da.full(shape, np.nan, chunks=-1, dtype="float32"),
            {"long_name": title, **({"units": unit[name]} if unit[name] else {})},
        )
        for name, title in {**NAMES, **SKILLS}.items()
    }
    time = cube.data["time"].isel(time=list(origins))
    coords = {
        "lead": ("lead", np.arange(1, h + 1), {"long_name": "steps after the origin"}),
        "time": ("time", time.values, {"long_name": "forecast origin"}),
        "y": xr.Variable("y", cube.data["y"].values, cube.data["y"].attrs),
        "x": xr.Variable("x", cube.data["x"].values, cube.data["x"].attrs),
    }
    template = georeference(xr.Dataset(layers, coords), cube, Window.of(cube.grid.shape))
    for name in layers:
        template[name].encoding["coordinates"] = "spatial_ref"
    template.attrs["hmx_provenance"] = _made_by(facts)
    outside = replace(cube, outer=replace(cube.outer, dataarray=False)).restore(template)
    assert isinstance(outside, xr.Dataset)
    lay_out(outside, path, grid=cube.grid, chunk=chunk)


def finish_maps(path: str) -> None:
    """Mark the store as complete."""
    set_status(path, complete=True)


def remains(path: str, facts: dict[str, Any]) -> bool:
    """Return True if a skill-map store with the same settings exists and can be resumed."""
    found = attributes(path)
    return is_ours(found) and found["hmx_provenance"] == _made_by(facts)


def _made_by(facts: Mapping[str, Any]) -> str:
    """Write the provenance of a store, with its layers: an older store has fewer."""
    return provenance(**facts, layers=[*NAMES, *SKILLS])


def _skills(maps: Mapping[str, Floats]) -> dict[str, Floats]:
    """Compare the model with persistence, pixel by pixel."""
    ours, still = maps["crps"], maps["abs_error_persistence"]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"gain": still - ours, "skill": np.where(still > 0, 1 - ours / still, np.nan)}
