"""Observed: the last map of a target, and the last known step of a covariate.

A time axis may continue after the last map of the target, for covariates that are known
ahead: population or GDP of a scenario. Two attributes name the end, each a label of the axis
(a year, or an ISO date): ``observed_until`` on the target, and ``known_until`` on a covariate
that ends before the axis does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from hmx.cube.dates import time_label
from hmx.cube.steps import until_index
from hmx.errors import BadArgument, CubeError

OBSERVED_UNTIL = "observed_until"
KNOWN_UNTIL = "known_until"


def steps_until(variable: xr.DataArray, mark: str, time: xr.DataArray) -> int:
    """Count the steps up to the one that an attribute of a variable names."""
    until = variable.attrs.get(mark)
    if until is None or _is_after(until, time.values[-1]):
        return int(time.size)
    try:
        return until_index(time, until, history=0) + 1
    except BadArgument:
        first, last = (time_label(value) for value in time.values[[0, -1]])
        raise CubeError(
            f"{variable.name!r} has {mark}={until!r}, which is not a step of the time axis "
            f"({first} to {last}). Write the last step that holds it: ds[{str(variable.name)!r}]"
            f".attrs[{mark!r}] = {last!r}."
        ) from None


def require_observed(data: xr.Dataset, target: str) -> None:
    """Raise :class:`CubeError` if the target has lost its attribute ``observed_until``."""
    marked = [
        str(name) for name, variable in data.data_vars.items() if KNOWN_UNTIL in variable.attrs
    ]
    if marked:
        last = time_label(data["time"].values[-1])
        raise CubeError(
            f"{marked[0]!r} has {KNOWN_UNTIL}, and {target!r} has no {OBSERVED_UNTIL}: "
            "some operation has dropped its attributes. Write the step "
            f"of its last map: ds[{target!r}].attrs[{OBSERVED_UNTIL!r}] = {last!r}."
        )


def _is_after(label: Any, last: Any) -> bool:
    """Return True if a label lies after a value of the axis."""
    text, end = str(label).strip().replace(" ", "T"), str(last).replace(" ", "T")
    if isinstance(last, np.integer):
        return bool(text[:4].isdigit() and int(text if text.isdigit() else text[:4]) > last)
    # ISO texts sort like their dates; both are compared to the precision of the label
    return text[:4].isdigit() and text > end[: len(text)]
