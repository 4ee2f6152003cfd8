"""Recall: the run that a lazy or stored result came from.

Zone totals, draws and differences need the model and the cube of a result, which the
result itself does not hold. A lazy result is recognised by the Dask name of its arrays, which any
edit changes; a stored one by the ledger beside it; a computed one by its provenance. Values
that may have been edited are compared with what the run gives, tile by tile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hmx.cube.cube import Cubelike, open_cube
from hmx.engine.job import Job
from hmx.engine.ledger import Ledger
from hmx.engine.order import Request, Run
from hmx.errors import BadArgument
from hmx.provenance import provenance
from hmx.windows import Window

Check = Callable[[Window, np.ndarray], None]
_FROM_CUBE = {
    "forecast": "ds.hm.zonal(zones, h=4, model='models/demo')",
    "map": "ds.soc.zonal(zones, model='models/soc')",
}
_KEPT = 8  # results of this session; each keeps its cube
_recent: OrderedDict[str, Run[Request]] = OrderedDict()


@dataclass(frozen=True)
class Recalled:
    """The run of a result, and a check of its values where they may have been edited."""

    run: Run[Request]
    check: Check | None = None
    source: str | None = None  # the store of the cube, where it is known


def remember(result: Cubelike, run: Run[Request]) -> None:
    """Keep the run of a lazy result while it is one of the last few."""
    name = _name(_target(result))
    if name is not None:
        _recent[name] = run
        _recent.move_to_end(name)
        while len(_recent) > _KEPT:
            _recent.popitem(last=False)


def recall(result: xr.Dataset, job: str | None = None) -> Recalled:
    """Find the run of a result (of one job), or raise :class:`BadArgument`."""
    target = _target(result)
    name = _name(target)
    if name is not None and name in _recent:
        return _of_job(Recalled(_recent[name]), job)
    stored = _stored(result, target)
    if stored is None and name is None:
        made = result.attrs.get("hmx_provenance")
        runs = [run for run in reversed(_recent.values()) if provenance(**run.facts()) == made]
        stored = Recalled(runs[0], equal_to(target, runs[0])) if runs else None
    if stored is None:
        raise BadArgument(
            f"the model and the cube of this {job or 'result'} cannot be found: it was edited or "
            "cropped, or made in another session. Use it as it was made, open it from its store, "
            f"or start from the cube: {_FROM_CUBE[job or 'forecast']}."
        )
    return _of_job(stored, job)


def _of_job(found: Recalled, job: str | None) -> Recalled:
    if job not in (None, found.run.job):
        raise BadArgument(f"this is a {found.run.job}, and a {job} is needed here.")
    return found


def _stored(result: xr.Dataset, target: xr.DataArray) -> Recalled | None:
    """Restore the run of an opened store from its ledger."""
    source = result.encoding.get("source")
    header = {} if source is None else Ledger(str(source)).job()
    if not header:
        return None
    job = Job.restore(str(source), header)
    fresh = _target(open_cube(str(source)))
    same = _name(target) is not None and _name(target) == _name(fresh)
    return Recalled(job.run, None if same else equal_to(target, job.run), job.source)


def equal_to(values: xr.DataArray, run: Run[Request]) -> Check:
    """Return a check that the means of a run are these values, window by window."""
    outer = run.cube.outer
    y, x = (outer.names.get(dim, dim) for dim in ("y", "x"))
    turned = values.transpose(..., y, x).isel(
        {dim: slice(None, None, -1) for dim, name in ((y, "y"), (x, "x")) if name in outer.flips}
    )
    if (turned.sizes[y], turned.sizes[x]) != run.window.shape:
        raise BadArgument(
            f"this {run.job} was cropped: it has {turned.sizes[y]} rows and {turned.sizes[x]} "
            f"columns, and was made with {run.window.shape[0]} and {run.window.shape[1]}. Use it "
            "whole, or make it with region=."
        )

    def check(window: Window, mean: np.ndarray) -> None:
        rows, columns = window.within(run.window).slices
        found = turned.isel({y: rows, x: columns}).values
        slack = run.tolerance()
        if found.size != mean.size or not np.allclose(
            found.reshape(mean.shape), mean, rtol=0, atol=slack, equal_nan=True
        ):
            raise BadArgument(
                f"the values of this {run.job} are not those that its model gives: it was edited, "
                f"or another cube is meant. Use the {run.job} as it was made."
            )

    return check


def _target(result: Cubelike) -> xr.DataArray:
    """Return the central estimate of a result."""
    if isinstance(result, xr.DataArray):
        return result
    for variable in result.data_vars.values():
        if variable.attrs.get("hmx_role") == "target":
            return variable
    raise BadArgument(
        "this Dataset is not a forecast or a map of hmx (it has no variable with the role of a "
        "target). Make one: fc = ds.hm.forecast(h=4, model='models/demo')."
    )


def _name(variable: xr.DataArray) -> str | None:
    """Return the Dask name of an array; ``None`` if it is in memory."""
    return None if variable.chunks is None else str(variable.data.name)
