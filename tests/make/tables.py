"""Tables of a few samples, read and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmx.points.table import read_points

WGS84 = "EPSG:4326"


def make_table(n: int = 6) -> pd.DataFrame:
    """Samples with an id of their own."""
    at = np.arange(n)
    return pd.DataFrame(
        {
            "id": [f"P{i}" for i in at],
            "lon": 21.25 + at / 8,
            "lat": 41.125 + at / 16,
            "soc": 1.5 + at,
            "year": 2015 + at % 3,
        }
    )


def read(source: Any, **options: Any) -> Any:
    """Read points of ``soc`` in degrees."""
    return read_points(source, **({"target": "soc", "crs": WGS84} | options))


def same(points: Any, table: pd.DataFrame) -> None:
    """Require places and values of a table, in its order."""
    np.testing.assert_array_equal(points.x, table["lon"])
    np.testing.assert_array_equal(points.y, table["lat"])
    np.testing.assert_array_equal(points.value, table["soc"])


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write text as it is, ends of lines included."""
    path.write_bytes(text.encode(encoding))
    return path
