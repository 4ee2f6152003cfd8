"""Stock: soil organic carbon per area, from its concentration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hmx.errors import BadArgument
from hmx.points.joining import words_of
from hmx.points.table import Points
from hmx.points.units import factor_of
from hmx.points.values import checked_numbers

_PER_HA = 0.1  # t/ha in 1 g/kg of a layer of 1 cm and 1 g/cm3
_DENSITIES = {
    "g/cm3": 1.0, "kg/dm3": 1.0, "t/m3": 1.0, "mg/m3": 1.0, "kg/m3": 1e-3, "cg/cm3": 1e-2,
}  # fmt: skip
_COARSE = {"%": 0.01, "vol%": 0.01, "1": 1.0, "share": 1.0, "cm3/dm3": 1e-3}

NOTE = "note"  # last column: why a row has no stock


def carbon_stock(
    soc: Any,
    bulk_density: Any,
    *,
    top: Any = 0.0,
    bottom: Any,
    coarse: Any = 0.0,
    units: str | None = None,
    density_units: str = "g/cm3",
    coarse_units: str = "%",
) -> Any:
    """Compute the stock of soil organic carbon of a layer, t/ha.

    ``stock = 0.1 * soc * bulk_density * (bottom - top) * (1 - coarse)`` with soc in g/kg of fine
    earth, the bulk density of the fine earth in g/cm3, depths in cm, and the volume share of
    coarse fragments: method 3 of Poeplau et al. (2017, doi:10.5194/soil-3-61-2017), also Batjes
    (1996, doi:10.1111/j.1365-2389.1996.tb01386.x) and IPCC (2006, volume 4, equation 2.25).

    A bulk density of the whole soil counts the mass of stones as fine earth, so that stony soils
    get too much carbon (method 2 of the paper; twice as much and more). If the density is the
    mass of fine earth in the volume of the whole soil (method 4), ``coarse`` is 0.

    Parameters
    ----------
    soc : float, ndarray, Series or DataArray
        Concentration: columns of a table, or maps.
    bulk_density : as ``soc``
        Of the fine earth.
    top, bottom : float or as ``soc``
        Depths, cm.
    coarse : float or as ``soc``
        Coarse fragments (> 2 mm), share of the volume.
    units : str, optional
        Of ``soc``: ``g/kg``, ``%`` ... Default: its attribute ``units``, or g/kg.
    density_units : {"g/cm3", "kg/dm3", "t/m3", "kg/m3", "cg/cm3"}
        Of ``bulk_density``.
    coarse_units : {"%", "1", "cm3/dm3"}
        Of ``coarse``: percent, a share from 0 to 1, or thousandths.

    Returns
    -------
    As ``soc``
        t/ha; NaN where something is missing. A DataArray is lazy if its parts are, and says its
        units.

    Raises
    ------
    BadArgument
        If a unit is unknown, a layer ends above its top, or a number is impossible: a density
        beyond 3 g/cm3, coarse fragments beyond the whole volume. Lazy maps raise as they are
        computed.

    Examples
    --------
    >>> carbon_stock(20.0, 1.3, bottom=30, coarse=10)
    70.2
    """
    if units is None:
        units = str(getattr(soc, "attrs", {}).get("units", "g/kg"))
    mass = mass_of_fine_earth(
        bulk_density, bottom - top, coarse, density_units=density_units, coarse_units=coarse_units
    )
    stock = to_tonnes(units) * soc * mass
    if isinstance(stock, xr.DataArray):
        title = "stock of soil organic carbon"
        return stock.rename("soc_stock").assign_attrs(long_name=title, units="t/ha")
    return stock


def to_tonnes(units: str) -> float:
    """Return the t/ha of carbon that one unit of a concentration is in 1 g/cm2 of fine earth."""
    return _PER_HA * factor_of(units, "g/kg")


def mass_of_fine_earth(
    density: Any, thickness: Any, coarse: Any, *, density_units: str, coarse_units: str
) -> Any:
    """Return the fine earth of a layer, g/cm2, from numbers, columns or maps."""
    parts = {"density_units": (density_units, _DENSITIES), "coarse_units": (coarse_units, _COARSE)}
    for name, (given, known) in parts.items():
        if given.replace(" ", "").casefold() not in known:
            raise BadArgument(f"{name}={given!r} is not one of {', '.join(known)}. Pass one.")
    compute = partial(
        _mass,
        to_density=_DENSITIES[density_units.replace(" ", "").casefold()],
        to_share=_COARSE[coarse_units.replace(" ", "").casefold()],
    )
    columns = (density, thickness, coarse)
    if any(isinstance(one, xr.DataArray) and one.chunks is not None for one in columns):
        # numbers of lazy maps are checked block by block, as they are computed
        def block(*parts: Any) -> np.ndarray:
            return np.asarray(compute(*parts), "float64")

        return xr.apply_ufunc(block, *columns, dask="parallelized", output_dtypes=["float64"])
    return compute(*columns)


def _mass(density: Any, thickness: Any, coarse: Any, *, to_density: float, to_share: float) -> Any:
    density, share = density * to_density, coarse * to_share
    _require_between(thickness, 0, 10_000, "bottom - top", "cm: give depths in cm, top first")
    _require_between(density, 0, 3, "bulk_density", "g/cm3: pass density_units='kg/m3' for these")
    _require_between(share, 0, 1, "coarse", "as a share: pass coarse_units='%' or '1'")
    return density * thickness * (1 - share)


def _require_between(values: Any, low: float, high: float, name: str, rule: str) -> None:
    """Refuse numbers that are impossible."""
    known = np.asarray(values, "float64")
    odd = known[np.isfinite(known) & ((known < low) | (known > high))]
    if odd.size:
        raise BadArgument(
            f"{name} has {odd.size:,} numbers outside {low:g} to {high:g}, such as {odd[0]:g} "
            f"{rule}."
        )


def stock_table(
    points: Points,
    parts: Mapping[str, float | str | None],
    *,
    missing: Sequence[float | str] = (),
    density_units: str = "g/cm3",
    coarse_units: str = "%",
) -> pd.DataFrame:
    """Add the stock of each sample to its table, t/ha, and why a row has none.

    `parts` are ``bulk_density``, ``coarse``, ``top`` and ``bottom``: numbers, or names of columns;
    without both depths, those of the samples.
    """
    table, name = points.table, f"{points.target}_stock"
    assert table is not None
    if points.units is None:
        raise BadArgument(
            f"{points.target} has no units, so its stock is unknown. Write points: {{units: g/kg}}."
        )
    for taken in (name, NOTE):
        if taken in table.columns:
            raise BadArgument(f"{table.name} has a column {taken!r} already. Rename it.")
    columns = _columns(points, parts, missing)
    concentration = np.full(points.rows, np.nan)
    concentration[points.row] = points.value
    result = table.columns.copy()
    if table.xy is not None and points.columns is None:
        result["x"], result["y"] = table.xy.T
    result[name] = carbon_stock(
        concentration,
        columns["bulk_density"],
        top=columns["top"],
        bottom=columns["bottom"],
        coarse=columns["coarse"],
        units=points.units,
        density_units=density_units,
        coarse_units=coarse_units,
    )
    result[NOTE] = ""
    for reason, rows in points.left.items():
        result.loc[result.index[rows], NOTE] = words_of(reason)
    for what, values in columns.items():
        lacks = points.row[np.isnan(values[points.row])]
        result.loc[result.index[lacks], NOTE] = f"{what} is missing"
    return result


def _columns(
    points: Points, parts: Mapping[str, float | str | None], missing: Sequence[float | str]
) -> dict[str, np.ndarray]:
    """Return each part of the formula for all rows, NaN in rows without a sample."""
    table = points.table
    assert table is not None
    used = np.isin(np.arange(points.rows), points.row)
    found: dict[str, np.ndarray] = {}
    for what, given in parts.items():
        if isinstance(given, str):
            values = checked_numbers(table, given, used, points.names, role=what, missing=missing)
            found[what] = np.where(used, values, np.nan)
        elif given is not None:
            found[what] = np.where(used, float(given), np.nan)
    if "bottom" not in found:
        if points.depth is None:
            raise BadArgument(
                "a stock is of a layer, and its lower end is unknown. Write stock: {top: 0, "
                "bottom: 30}, cm, or name columns of depths."
            )
        found["top"], found["bottom"] = np.full((2, points.rows), np.nan)
        found["top"][points.row], found["bottom"][points.row] = points.depth.T
    found.setdefault("top", np.where(used, 0.0, np.nan))
    return found
