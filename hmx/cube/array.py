"""Array: a target and its static covariates as one DataArray.

The covariates travel as coordinates, ``elevation(y, x)``, so that an array alone can train a
model, be forecast, and go through a store and back. Everything stays lazy here; xarray itself
computes lazy coordinates where it compares them, as in ``a + b`` and ``xr.concat``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import xarray as xr

from hmx.cube.cube import COVARIATES, Cube, Cubelike, as_cube, as_dataset, planes_of
from hmx.cube.grid import crs_as_coordinate
from hmx.independent import independent


@independent
def to_array(
    obj: Cubelike, target: str | None = None, *, static: Sequence[str] | None = None
) -> xr.DataArray:
    """Give the target as one DataArray, with its static covariates as coordinates.

    Nothing is read or computed. ``da.hm.train()``, ``da.hm.forecast()`` and ``da.hm.backtest()``
    give the same numbers as the Dataset with the same static covariates. ``da.to_zarr(path)``
    keeps all of it; ``hmx.open_cube(path, array=True)`` and
    ``xr.open_dataarray(path, engine="zarr", chunks={}, decode_coords="all")`` open it again.

    Parameters
    ----------
    obj : Dataset or DataArray
        The cube.
    target : str, optional
        Variable of the result. Default: ``hm``, or the only one with time.
    static : sequence of str, optional
        Covariates (y, x) that become coordinates. Default: what the catalog that made the cube
        names, as in ``train``, and what is a (y, x) coordinate already.

    Returns
    -------
    DataArray
        Lazy if the cube is, with dims (time, y, x) in the order and under the names of the cube,
        its CRS, attributes and values. xarray computes lazy coordinates in ``a + b`` and
        ``xr.concat``: drop them first, ``da.drop_vars("elevation")``, or load them.

    Warns
    -----
    UserWarning
        If covariates are left out: those with time cannot be coordinates of one map, and
        others are not named as covariates.

    Raises
    ------
    CubeError, MissingVariable
        If the target has to be chosen, or a name is not that of a map (y, x).

    Examples
    --------
    >>> da = ds.hm.to_array()  # doctest: +SKIP
    >>> model = da.hm.train(out="models/demo")  # doctest: +SKIP
    """
    cube = as_cube(obj, target=target, static=static, dynamic=())
    if static is None and isinstance(obj, xr.Dataset):
        there = [n for n in planes_of(obj) if n in obj.coords and n not in cube.static]
        cube = as_cube(obj, target=target, static=(*cube.static, *there), dynamic=())
    data = crs_as_coordinate(as_dataset(obj) if isinstance(obj, xr.DataArray) else obj)
    if static is None and (left := _left_out(data, cube)):
        warnings.warn(left, stacklevel=4)
    # coordinates would all be covariates of the array
    others = [n for n in planes_of(data) if n in data.coords and n not in cube.static]
    array = data.set_coords(cube.static).drop_vars(others)[cube.target].copy(deep=False)
    array.encoding |= _origin(obj)
    for name in (array.name, *cube.static):
        variable = array.variable if name == array.name else array.coords[name].variable
        # xarray lists the coordinates that there are when it writes, the CRS among them only if
        # the name of the CRS is an attribute
        variable.encoding.pop("coordinates", None)
        if (mapping := variable.encoding.pop("grid_mapping", None)) is not None:
            variable.attrs["grid_mapping"] = mapping
    return array


def without_covariates(obj: Cubelike, cube: Cube) -> str | None:
    """Describe which covariates an array is trained without; None for a Dataset."""
    if not isinstance(obj, xr.DataArray):
        return None
    known = [name for name in obj.encoding.get(COVARIATES, ()) if name not in cube.variables]
    if cube.static and not known:
        return None
    used = " and ".join((f"{cube.target!r}", *cube.static)) + ("" if cube.static else " alone")
    without = f", without {', '.join(known)}" if known else ", without covariates"
    return (
        f"trains on {used}{without}. A DataArray has its (y, x) coordinates: "
        "ds.hm.to_array(), hmx.open_cube(path, array=True); a Dataset has all: ds.hm.train()"
    )


def _left_out(data: xr.Dataset, cube: Cube) -> str:
    """Name the covariates that an array does not take with it."""
    roles = {str(name): v.attrs.get("hmx_role") for name, v in data.data_vars.items()}
    dynamic = [name for name, role in roles.items() if role == "dynamic" and name != cube.target]
    other = [name for name in planes_of(data) if roles.get(name, "static") is None]
    parts = []
    if dynamic:
        parts.append(
            f"{', '.join(dynamic)} (with time, which a coordinate of a map cannot have: use the "
            "Dataset to train with them)"
        )
    # a forecast describes its pixels in quality
    if named := [name for name in other if name not in (*cube.static, "quality")]:
        parts.append(
            f"{', '.join(named)} (named as a covariate by no catalog: pass static={named})"
        )
    return f"the DataArray of {cube.target!r} leaves out {' and '.join(parts)}." if parts else ""


def _origin(obj: Cubelike) -> dict[str, object]:
    """Return where an object was opened, which an array can keep in its encoding alone."""
    name = "hmx_fingerprint"
    fingerprint = obj.attrs.get(name, obj.encoding.get(name))
    marks = {"source": obj.encoding.get("source"), name: fingerprint}
    return {key: value for key, value in marks.items() if value is not None}
