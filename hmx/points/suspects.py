"""Suspects: undeclared codes for missing, and impossible values."""

from __future__ import annotations

import numpy as np

from hmx.errors import BadArgument
from hmx.points.tabular import RowNames

# Usual codes: of soil databases (WoSIS, LUCAS), of GIS, of NetCDF's and ESRI's fill values.
CODES = (
    -9999.0, -999.0, -99.0, -99999.0, -999.9, -9999.9, -99.9, -9999.99, -999.99, -99.99, -8888.0,
    -888.0, -88.0, -32768.0, -32767.0, -2147483648.0, -1e20, -1e30, -3.4028234663852886e38,
    9999.0, 999.0, 99999.0, 999999.0, 9999.9, 9999.99, 999.99, 32767.0, 65535.0, 2147483647.0,
    1e20, 1e30, 9.969209968386869e36, 3.4028234663852886e38,
)  # fmt: skip
_HUGE = 1e18  # no soil and no coordinate has such a number


def coded(values: np.ndarray, *, signed: bool = False) -> dict[float, np.ndarray]:
    """Find usual codes for missing that lie outside the range of the other values.

    A code counts where it lies further from the others than these spread, or is negative
    where none of them is.
    """
    candidates = {
        code: np.flatnonzero(np.isclose(values, code, rtol=1e-6, atol=0)) for code in CODES
    }
    candidates = {code: rows for code, rows in candidates.items() if rows.size}
    huge = np.flatnonzero(np.abs(values) >= _HUGE)
    for value in np.unique(values[huge]):
        if not any(np.isclose(value, code, rtol=1e-6, atol=0) for code in candidates):
            candidates[float(value)] = np.flatnonzero(values == value)
    others = np.isfinite(values)
    for rows in candidates.values():
        others[rows] = False
    if not others.any():
        return {}
    low, high = values[others].min(), values[others].max()
    # A thousandth of the size as least width: of a constant column every number would lie outside.
    width = max(high - low, abs(high) * 1e-3, abs(low) * 1e-3)
    return {
        code: rows
        for code, rows in candidates.items()
        if code < low - width or code > high + width or (not signed and code < 0 <= low)
    }


def require_no_codes(
    values: np.ndarray, column: str, table: str, names: RowNames, *, coordinate: bool = False
) -> None:
    """Refuse undeclared codes for missing."""
    found = coded(values, signed=coordinate)
    if not found:
        return
    listed = " and ".join(
        f"{rows.size:,} rows {code:g} ({names.listed(rows)})" for code, rows in found.items()
    )
    rest = values[~np.isin(np.arange(len(values)), np.concatenate(list(found.values())))]
    rest = rest[np.isfinite(rest)]
    codes = ", ".join(f"{code:g}" for code in found)
    floor = 0 if rest.min() >= 0 else rest.min()
    ceiling = 10.0 ** np.ceil(np.log10(max(rest.max(), 1.0)))
    remedy = f"Pass missing=[{codes}]; in a catalog, points.missing: [{codes}]"
    if not coordinate:
        remedy = (
            f"Pass missing=[{codes}] or valid_range=[{floor:g}, {ceiling:g}]; in a catalog, "
            f"points.missing: [{codes}] or points.valid_range: [{floor:g}, ...]. Where the numbers "
            "are true, pass a valid_range that holds them"
        )
    raise BadArgument(
        f"column {column!r} of {table} has in {listed}, a usual code for missing: all other values "
        f"lie between {rest.min():.6g} and {rest.max():.6g}. {remedy}."
    )


def null_island(xy: np.ndarray, *, degrees: bool) -> np.ndarray:
    """Find rows at (0, 0), which programs write for an unknown place."""
    zero = (xy == 0).all(axis=1)
    others = xy[~zero & np.isfinite(xy).all(axis=1)]
    if degrees or not zero.any() or not len(others):
        return np.asarray(zero & (degrees or bool(len(others))))
    # In metres (0, 0) may be in the study area; with points on all sides of it, it is.
    around = ((others.min(axis=0) <= 0) & (others.max(axis=0) >= 0)).all()
    return np.asarray(zero & ~around)


def negatives(values: np.ndarray, target: str, names: RowNames) -> tuple[str, ...]:
    """Note negative values of a target without a declared range."""
    rows = np.flatnonzero(values < 0)
    if not rows.size:
        return ()
    verb = "value is" if rows.size == 1 else "values are"
    return (
        f"{rows.size:,} {verb} negative, down to {np.nanmin(values):.4g} ({names.listed(rows)}): "
        f"where {target} cannot be, points.valid_range: [0, ...] leaves them out.",
    )


def require_learnable(
    values: np.ndarray,
    rows: np.ndarray,
    target: str,
    names: RowNames,
    *,
    transform: str,
    bound: float,  # values up to it have no finite logarithm
) -> None:
    """Refuse a constant target, and values without a logarithm where it is taken."""
    if len(values) > 1 and np.ptp(values) == 0:
        raise BadArgument(
            f"target {target!r} is {values[0]:g} in all {len(values):,} samples, and a constant "
            "has nothing to be learnt. Name another column, target='...', or look at where and "
            "valid_range."
        )
    odd = values <= bound
    if not odd.any():
        return
    listed = names.listed(rows[odd])
    zeros = bool((values[odd] == 0).all())
    other = "log1p" if zeros else "normalize"
    first = (
        f"Where they stand for missing, pass missing=[{values[odd].min():g}]; where {target} "
        "cannot be negative, pass valid_range=[0, ...] (in a catalog, points.valid_range: [0, ...])"
    )
    raise BadArgument(
        f"transform={transform!r} takes values above {bound:g}, and {odd.sum():,} of "
        f"{len(values):,} values of {target!r} are not, down to {values.min():g} ({listed}). "
        f"{'' if zeros else first + '. '}{'Pass' if zeros else 'Only where they are true, pass'} "
        f"transform={other!r}."
    )
