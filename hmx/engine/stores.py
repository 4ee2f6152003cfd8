"""Stores: jobs and plans for an xarray object in hand, without a catalog.

A job reads its cube from disk, in worker processes, so the object must be a store as it was
opened. :func:`store_of` proves that; an object that was edited or cropped is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import xarray as xr

from hmx.bundles.folder import Model
from hmx.cube.cube import Cubelike, Region, as_dataset, open_cube
from hmx.cube.read import CubeView
from hmx.cube.steps import OBSERVED_UNTIL
from hmx.engine.inventory import array_of
from hmx.engine.job import Job, run
from hmx.engine.ledger import adopt
from hmx.engine.options import DaskSection
from hmx.engine.order import Request, Run
from hmx.engine.plan import Plan, plan
from hmx.errors import BadArgument, CubeError
from hmx.files.paths import absolute
from hmx.progress import OnStep, Progress
from hmx.settings import parse


@runtime_checkable
class DaskClient(Protocol):
    """A ``distributed.Client``, which is imported only where tasks run."""

    def as_current(self) -> AbstractContextManager[Any]:
        """Make it the client of this thread."""


class Workers(NamedTuple):
    """Where the tiles of a job are computed: so many processes, or a scheduler."""

    processes: int | None = None
    scheduler: str | DaskClient | None = None

    def section(self) -> DaskSection:
        """Return the choice as a catalog has it; refuse two places."""
        client = isinstance(self.scheduler, DaskClient)
        if client and self.processes is not None:
            raise BadArgument(
                f"workers={self.processes} and scheduler={type(self.scheduler).__name__} name two "
                "places. Give one."
            )
        given = {"workers": self.processes, "scheduler": None if client else self.scheduler}
        return parse(DaskSection, {k: value for k, value in given.items() if value is not None})

    def current(self) -> AbstractContextManager[Any]:
        """Make a client that was given the one of this thread."""
        client = self.scheduler
        return client.as_current() if isinstance(client, DaskClient) else nullcontext()


def to_zarr(
    kind: type[Run[Request]],
    obj: Cubelike,
    path: str | Path,
    model: Model | str | Path,
    options: Mapping[str, Any],
    *,
    region: Region = None,
    workers: Workers = Workers(),
    overwrite: bool = False,
    progress: Progress | OnStep | None = None,
) -> xr.Dataset:
    """Compute a result of a stored cube into a store, as a job that can be resumed; open it."""
    if isinstance(obj, xr.DataArray):
        raise CubeError(
            "a job writes several variables, and a DataArray is one. Use the Dataset: "
            "hmx.open_cube('cube.zarr')."
        )
    store = absolute(path)
    # a store that exists decides what the user left open, so that it can be resumed
    chosen = adopt(parse(kind.option_type, options), store)
    checked = kind.check(obj, model, chosen, region=region)
    source = store_of(obj, checked.cube)
    if source is None:
        raise CubeError(
            "a job reads its cube from disk, and this object is not a store as it was opened: it "
            "was edited, cropped, or never stored. Write it first: ds.to_zarr('cube.zarr'); "
            "ds = hmx.open_cube('cube.zarr')."
        )
    section = workers.section()
    job = Job(checked, source, store)
    with workers.current():
        done = run(job, section, overwrite=overwrite, progress=Progress.of(progress))
    return open_cube(done)


def plan_of(
    kind: type[Run[Request]],
    obj: Cubelike,
    model: Model | str | Path,
    options: Mapping[str, Any],
    *,
    region: Region = None,
    workers: int | None = None,
) -> Plan:
    """Plan a result of any cube; empty tiles are known beforehand only if it is a store."""
    checked = kind.check(obj, model, options, region=region)
    inventory = checked.inventory(store_of(obj, checked.cube))
    return plan(checked, inventory, Workers(workers).section())


def store_of(obj: Cubelike, cube: CubeView) -> str | None:
    """Return the path of the store that an object is, whole and unchanged; else ``None``.

    The proof: the store, opened again, gives arrays of the same Dask names, because any
    operation on an array, and any change of the store, gives another name. The last observed
    step is an attribute, which Dask does not see, so it is compared separately.
    """
    source = obj.encoding.get("source")
    if source is None:
        return None
    if isinstance(obj, xr.DataArray):
        obj = as_dataset(obj)
    fresh = open_cube(source)
    same = all(
        name in fresh
        and getattr(obj[name].data, "name", None) == fresh[name].data.name
        and obj[name].attrs.get(OBSERVED_UNTIL) == fresh[name].attrs.get(OBSERVED_UNTIL)
        for name in map(array_of, cube.variables)
    )
    return str(source) if same else None
