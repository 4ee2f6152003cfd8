"""Limits: which numbers of a source are valid, and which mean missing, with what that rests on."""

from __future__ import annotations

import math
from typing import Any

from hmx.survey.sources import Found


def limits_of(found: Found, *, target: bool) -> list[tuple[str, Any, str]]:
    """Guess which numbers are valid, and which mean missing."""
    values = found.values
    if values is None:
        return []
    codes = values.codes
    if target or len(codes) > 1:
        limits, why = _range(found)
    else:
        limits, why = None, ""
    lines: list[tuple[str, Any, str]] = []
    if codes:
        note = f"guess: {undeclared(found)[0]}"
        if len(codes) == 1:
            lines.append(("nodata", next(iter(codes)), note))
        else:
            why = f"{note}; {why.removeprefix('guess: ')}"
    if limits is not None:
        lines.append(("valid_range", list(limits), why))
    return lines


def undeclared(found: Found) -> list[str]:
    """Describe the numbers of a source that mean missing by no tag, if there are any."""
    if found.values is None or not found.values.codes:
        return []
    listed = " and ".join(
        f"{code:g} ({'under 1' if share < 0.01 else f'{100 * share:.0f}'} %)"
        for code, share in found.values.codes.items()
    )
    return [f"undeclared {listed}, far from all other values"]


def _range(found: Found) -> tuple[tuple[float, float] | None, str]:
    """Guess the smallest and largest possible value."""
    values = found.values
    assert values is not None
    low, high = values.low, values.high
    here = f"values are {low:.4g} to {high:.4g}"
    if low >= 0 and high <= 1:
        return (0, 1), f"guess: {here}; forecasts stay within"
    percent = found.headers and found.headers[0].units in ("%", "percent")
    if low >= 0 and high <= 100 and (percent or high > 90):
        return (0, 100), f"guess: {here}, as percent are; forecasts stay within"
    if low >= 0:
        top = 10.0 ** math.ceil(math.log10(2 * high))
        return (0, top), f"guess: {here}, none negative; write the true upper limit"
    if values.codes:
        wide = high - low
        return (math.floor(low - wide), math.ceil(high + wide)), f"guess: {here}"
    return None, ""
