"""Stores: jobs of a store in hand, and the proof that an object is one."""

from __future__ import annotations

from typing import Any

import xarray as xr

from hmx.cube.cube import Cubelike, open_cube
from hmx.cube.field import CubeView
from hmx.cube.observed import OBSERVED_UNTIL
from hmx.engine.inventory import array_of
from hmx.engine.job import Job, run
from hmx.engine.options import DaskSection
from hmx.engine.order import Run
from hmx.errors import CubeError
from hmx.progress import Progress
from hmx.settings import parse


def run_order(
    order: Run,
    obj: Cubelike,
    store: str,
    section: DaskSection,
    *,
    overwrite: bool = False,
    progress: Progress = Progress(),
) -> xr.Dataset:
    """Run an order of an object that is a store, as a job; open the result.

    Parameters
    ----------
    order : Order or MapOrder
        What is to be computed.
    obj : Dataset
        Of which.
    store : str
        Store to write.
    section : DaskSection
        Who computes.
    overwrite : bool
        Replace another result of hmx at ``store``.
    progress : Progress
        For progress.

    Raises
    ------
    CubeError
        If ``obj`` is not a store as it was opened.
    """
    source = store_of(obj, order.cube)
    if source is None:
        raise CubeError(
            "a job reads its cube from disk, and this object is no store as it was opened: it was "
            "edited, cropped, or never stored. Write it first: ds.to_zarr('cube.zarr'); "
            "ds = hmx.open_cube('cube.zarr')."
        )
    return open_cube(
        run(Job(order, source, store), section, overwrite=overwrite, progress=progress)
    )


def section_of(**given: Any) -> DaskSection:
    """Say who computes, from keywords that may be ``None``."""
    return parse(DaskSection, {key: value for key, value in given.items() if value is not None})


def store_of(obj: Cubelike, cube: CubeView) -> str | None:
    """Find the one store that an object is, whole and untouched.

    The proof is that the store, opened again, gives arrays of the same Dask names:
    whatever is done to an array, or to the store since, gives it another. To move the
    last observed step, which is an attribute, is to edit it too.

    Parameters
    ----------
    obj : Dataset or DataArray
        As its owner has it.
    cube : Cube or Bands
        What :func:`hmx.cube.cube.as_cube` or :func:`hmx.cube.bands.as_bands` made of it.

    Returns
    -------
    str or None
        Path, or ``None`` if it is none.
    """
    source = obj.encoding.get("source")
    if isinstance(obj, xr.DataArray) or source is None:
        return None
    fresh = open_cube(source)
    same = all(
        name in fresh
        and getattr(obj[name].data, "name", None) == fresh[name].data.name
        and obj[name].attrs.get(OBSERVED_UNTIL) == fresh[name].attrs.get(OBSERVED_UNTIL)
        for name in map(array_of, cube.variables)
    )
    return str(source) if same else None
