"""Stock: soil organic carbon per area, from its concentration."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from hmx.errors import BadArgument
from hmx.points.units import factor_of

_PER_HA = 0.1  # t/ha in 1 g/kg of a layer of 1 cm and 1 g/cm3
_DENSITIES = {"g/cm3": 1.0, "kg/dm3": 1.0, "t/m3": 1.0, "mg/m3": 1.0, "kg/m3": 1e-3}
_COARSE = {"%": 0.01, "vol%": 0.01, "1": 1.0, "share": 1.0}


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
    coarse fragments (Batjes 1996, doi:10.1111/j.1365-2389.1996.tb01386.x; IPCC 2006, volume 4,
    equation 2.25). A bulk density of the whole soil instead of the fine earth counts coarse
    fragments twice (Poeplau et al. 2017, doi:10.5194/soil-3-61-2017).

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
    density_units : {"g/cm3", "kg/dm3", "t/m3", "kg/m3"}
        Of ``bulk_density``.
    coarse_units : {"%", "1"}
        Of ``coarse``: percent, or a share from 0 to 1.

    Returns
    -------
    As ``soc``
        t/ha; NaN where something is missing. A DataArray is lazy if its parts are, and says its
        units.

    Raises
    ------
    BadArgument
        If a unit is unknown, a layer ends above its top, or a number is impossible: a density
        beyond 3 g/cm3, coarse fragments beyond the whole volume.

    Examples
    --------
    >>> carbon_stock(20.0, 1.3, bottom=30, coarse=10)
    70.2
    """
    if units is None:
        units = str(getattr(soc, "attrs", {}).get("units", "g/kg"))
    parts = {"density_units": (density_units, _DENSITIES), "coarse_units": (coarse_units, _COARSE)}
    for name, (given, known) in parts.items():
        if given.replace(" ", "").casefold() not in known:
            raise BadArgument(f"{name}={given!r} is not one of {', '.join(known)}. Pass one.")
    density = bulk_density * _DENSITIES[density_units.replace(" ", "").casefold()]
    stones = coarse * _COARSE[coarse_units.replace(" ", "").casefold()]
    thickness = bottom - top
    _require_between(thickness, 0, 10_000, "bottom - top", "cm: give depths in cm, top first")
    _require_between(density, 0, 3, "bulk_density", "g/cm3: pass density_units='kg/m3' for these")
    _require_between(stones, 0, 1, "coarse", "as a share: pass coarse_units='%' or '1'")
    stock = _PER_HA * factor_of(units, "g/kg") * soc * density * thickness * (1 - stones)
    if isinstance(stock, xr.DataArray):
        title = "stock of soil organic carbon"
        return stock.rename("soc_stock").assign_attrs(long_name=title, units="t/ha")
    return stock


def _require_between(values: Any, low: float, high: float, name: str, rule: str) -> None:
    """Refuse numbers in memory that are impossible; lazy ones are not computed for it."""
    if isinstance(values, xr.DataArray) and values.chunks is not None:
        return
    known = np.asarray(values, "float64")
    odd = known[np.isfinite(known) & ((known < low) | (known > high))]
    if odd.size:
        raise BadArgument(
            f"{name} has {odd.size:,} numbers outside {low:g} to {high:g}, such as {odd[0]:g} "
            f"{rule}."
        )
