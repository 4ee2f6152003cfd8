"""Loading: models and cubes, from a folder, a URL or a catalog."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

import xarray as xr

from hmx.bundles.folder import find_folder, read_description
from hmx.catalog import is_catalog, load_catalog
from hmx.cube import cube
from hmx.cube.array import to_array
from hmx.errors import BadArgument
from hmx.forecast.bundle import Bundle
from hmx.mapping.bundle import MapBundle

Model = Bundle | MapBundle


def load(path: str | Path) -> Model:
    """Load a trained model, of whichever job it is.

    Parameters
    ----------
    path : str or Path
        Folder of a bundle, or ``wandb:entity/project/name:v3``.

    Returns
    -------
    Bundle or MapBundle
        For ``ds.hm.forecast(model=...)``, or for ``ds.soc.map(model=...)``.

    Raises
    ------
    BundleError
        If there is no bundle, or it is damaged or of another version, or cannot be fetched.

    Examples
    --------
    >>> import hmx
    >>> model = hmx.load("build/demo.model")  # doctest: +SKIP
    """
    folder = find_folder(path)
    is_map = read_description(folder).get("job") == "map"
    return MapBundle.load(folder) if is_map else Bundle.load(folder)


@overload
def open_cube(path: str | Path, *, array: Literal[False] = False, **options: Any) -> xr.Dataset: ...
@overload
def open_cube(
    path: str | Path,
    *,
    array: Literal[True],
    target: str | None = None,
    static: Sequence[str] | None = None,
    **options: Any,
) -> xr.DataArray: ...
def open_cube(
    path: str | Path,
    *,
    array: bool = False,
    target: str | None = None,
    static: Sequence[str] | None = None,
    **options: Any,
) -> xr.Dataset | xr.DataArray:
    """Open a cube (or a forecast) as a Dask-chunked Dataset, or as one DataArray.

    Parameters
    ----------
    path : str or Path
        A Zarr store (any fsspec URL works), or a catalog, whose ``cube.path``
        is opened.
    array : bool
        Whether to give the target as one DataArray, with its static covariates as
        coordinates, as ``ds.hm.to_array()`` does.
    target, static : str, sequence of str, optional
        With ``array=True``: the variable, and the covariates (y, x) that become its
        coordinates. Default: ``hm``, or the only one with time; and what the catalog that
        made the cube names.
    **options
        Passed to :func:`xarray.open_zarr`, e.g. ``storage_options``.

    Returns
    -------
    Dataset or DataArray
        Lazy; variables with dims ``(time, y, x)`` or ``(y, x)``.

    Raises
    ------
    SourceError
        If there is no store at ``path``, or it is damaged. Chunks are checked as they
        are read: a lost or damaged chunk raises too, with its variable and position.
    CubeError, MissingVariable
        With ``array=True``, if the target has to be chosen or a name is not in the cube.

    Warns
    -----
    UserWarning
        If the store was not finished; with ``array=True``, if covariates are left out.

    Examples
    --------
    >>> import hmx
    >>> ds = hmx.open_cube("build/demo.zarr")  # doctest: +SKIP
    >>> da = hmx.open_cube("build/demo.zarr", array=True)  # doctest: +SKIP
    """
    if not array and (target is not None or static is not None):
        raise BadArgument(
            "target= and static= choose the parts of a DataArray, and a Dataset has all of the "
            "cube. Pass array=True, or choose later: ds.hm.train(target='hm')."
        )
    store = load_catalog(path).cube.path if is_catalog(path) else path
    data = cube.open_cube(store, **options)
    return to_array(data, target, static=static) if array else data
