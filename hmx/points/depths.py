"""Depths: from where to where below the surface a sample was taken, cm."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hmx.points.naming import RowNames
from hmx.points.options import PointsOptions
from hmx.points.tabular import Table
from hmx.points.values import column_of, numbers_of, require_numbers

DEEPEST = 10_000.0  # cm; more is another unit
_INTERVAL = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*(?:cm)?\s*")


def depths_of(
    table: Table, options: PointsOptions, rows: np.ndarray, names: RowNames
) -> np.ndarray | None:
    """Read the depths of a table, (n, 2), NaN where they are missing or impossible."""
    if options.top is None or options.bottom is None:
        return None
    ends = []
    for name in (options.top, options.bottom):
        column = column_of(table, name)
        values, odd = numbers_of(column, decimal=table.decimal, missing=options.missing)
        require_numbers(table, name, np.stack([rows, odd & rows], axis=1), names, role="depth")
        ends.append(values)
    depth = np.stack(ends, axis=1)
    possible = (depth[:, 0] >= 0) & (depth[:, 0] < depth[:, 1]) & (depth[:, 1] <= DEEPEST)
    return np.where(possible[:, None], depth, np.nan)


def as_interval(value: Any) -> Any:
    """Read a depth interval: ``0-5``, ``"15-30 cm"`` or a pair of numbers, cm."""
    if isinstance(value, str):
        found = _INTERVAL.fullmatch(value)
        if found is None:
            raise ValueError(f"{value!r} is not an interval of depths, cm. Write '0-5'")
        value = (float(found[1]), float(found[2]))
    pair = value if isinstance(value, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(end, int | float) for end in pair):
        raise ValueError(f"{value!r} is not an interval of depths, cm. Write '0-5'")
    top, bottom = pair
    if not 0 <= top < bottom <= DEEPEST:
        raise ValueError(
            f"{top:g}-{bottom:g} is not an interval of depths: the top comes first, at 0 cm or "
            f"more, and the bottom is at most {DEEPEST:g} cm. Write '0-5'"
        )
    return (float(top), float(bottom))


def label_of(interval: tuple[float, float]) -> str:
    """Return how an interval is called: ``0-5``."""
    return f"{interval[0]:g}-{interval[1]:g}"
