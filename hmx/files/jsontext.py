"""JSON text: as its standard has it, so that every reader reads what hmx writes.

JSON has neither NaN nor infinity, and Python writes them all the same. Here they become
``null``: there is no number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def finite(value: Any) -> Any:
    """Return JSON values with ``None`` for each number that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return finite(value.tolist())
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(value: object, **layout: Any) -> str:
    """Write JSON values as text."""
    return json.dumps(finite(value), allow_nan=False, **layout)
