"""Loading: models and cubes, from a folder, a URL or a catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from hmx.bundles.folder import find_folder, read_description
from hmx.catalog import is_catalog, load_catalog
from hmx.cube import cube
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


def open_cube(path: str | Path, **options: Any) -> xr.Dataset:
    """Open a cube (or a forecast) as a Dask-chunked Dataset.

    Parameters
    ----------
    path : str or Path
        A Zarr store (any fsspec URL works), or a catalog, whose ``cube.path``
        is opened.
    **options
        Passed to :func:`xarray.open_zarr`, e.g. ``storage_options``.

    Returns
    -------
    Dataset
        Lazy; variables with dims ``(time, y, x)`` or ``(y, x)``.

    Raises
    ------
    SourceError
        If there is no store at ``path``, or it is damaged. Chunks are checked as they
        are read: a lost or damaged chunk raises too, with its variable and position.

    Warns
    -----
    UserWarning
        If the store was not finished.

    Examples
    --------
    >>> import hmx
    >>> ds = hmx.open_cube("build/demo.zarr")  # doctest: +SKIP
    """
    return cube.open_cube(load_catalog(path).cube.path if is_catalog(path) else path, **options)
