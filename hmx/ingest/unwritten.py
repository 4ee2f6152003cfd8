"""Unwritten: the cube of a catalog before it is ingested, read from its sources by window.

A plan looks at a few pixels of what ingest will write. They are the pixels of
the cube: the same readers, rules and warps give them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from hmx.files.shown import Shown
from hmx.ingest.ingest import _Plan, _plan, _template
from hmx.ingest.options import CubeCatalog
from hmx.ingest.sources import Pixels
from hmx.ingest.warping import aligned
from hmx.windows import Span, Window


@dataclass(frozen=True, repr=False)
class IngestPlan(Shown):
    """What ingest will read and write."""

    shape: tuple[int, int]  # rows and columns of the cube, px
    steps: dict[str, int]  # maps of each source
    files: int  # files that are read
    bytes_written: int  # of the cube, uncompressed

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "shape": list(self.shape)}

    def shown(self) -> dict[str, str]:
        """Return facts for a reader."""
        maps = ", ".join(f"{name} ({count})" for name, count in self.steps.items())
        size = f"{self.bytes_written / 2**20:,.1f} MiB uncompressed"
        rows, columns = self.shape
        return {"ingest": f"{maps} from {self.files:,} files: {rows:,} x {columns:,} px, {size}"}


class _SourceArray:
    """One variable of a cube as an array that reads windows of its sources."""

    dtype = np.dtype("float32")

    def __init__(self, parts: Sequence[Pixels], shape: tuple[int, ...]):
        self.parts, self.shape, self.ndim = parts, shape, len(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read what an index names: whole numbers, slices or arrays of positions, one a dim."""
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *[slice(None)] * (self.ndim - len(key)))
        chosen = [np.arange(size)[part] for size, part in zip(self.shape, key, strict=True)]
        *lead, rows, columns = [np.atleast_1d(part) for part in chosen]
        steps = lead[0] if lead else np.zeros(1, "int64")
        block = np.empty((len(steps), len(rows), len(columns)), "float32")
        if block.size:
            window = Window(_span(rows), _span(columns))
            first = 0
            for part in self.parts:
                own = np.flatnonzero((steps >= first) & (steps < first + part.steps))
                if len(own):
                    read = part.read(window)[steps[own] - first]
                    block[own] = read[:, rows - rows.min()][:, :, columns - columns.min()]
                first += part.steps
        one = block if lead else block[0]
        return one.reshape([len(part) for part in chosen if part.ndim])


def _span(positions: np.ndarray) -> Span:
    return Span(int(positions.min()), int(positions.max()) + 1)


def open_unwritten(catalog: CubeCatalog) -> tuple[xr.Dataset, IngestPlan]:
    """Return the cube that ingest would write, lazily, and what it will cost.

    Everything that headers show is checked, as by ingest. Nothing is written.
    """
    plan = _plan(catalog, {})
    cube = _template(plan)
    cube.attrs["hmx_status"] = "complete"
    for variable in plan.variables:
        parts = [aligned(p, plan.grid, variable.source, crop=plan.crop) for p in variable.parts]
        planned = cube[variable.name]
        shape = tuple(int(size) for size in planned.shape)
        array = dask.array.from_array(
            _SourceArray(parts, shape),
            chunks=plan.chunks(variable),
            name=f"unwritten-{variable.name}-{plan.attrs['hmx_fingerprint']}",
            asarray=False,
        )
        cube[variable.name] = planned.copy(data=array)
    return cube, _cost(plan, cube)


def _cost(plan: _Plan, cube: xr.Dataset) -> IngestPlan:
    files = {name for variable in plan.variables for name in variable.files}
    return IngestPlan(
        plan.grid.shape,
        {variable.name: len(variable.files) for variable in plan.variables},
        len(files),
        sum(4 * int(cube[variable.name].size) for variable in plan.variables),
    )
