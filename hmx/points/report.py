"""Report of a join: how many rows became samples, and why the others did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

OUTSIDE, NO_DATE, NO_HISTORY, TOO_LATE = "outside", "no date", "no history", "too late"
DUPLICATE, NO_DATA = "duplicate", "no data"

_WORDS = {
    "filtered": "not passing the filters (where)",
    "no place": "without coordinates",
    "no value": "without a value",
    "invalid": "outside the valid range",
    OUTSIDE: "outside the cube",
    NO_DATE: "without a date",
    NO_HISTORY: "before the cube holds their history",
    TOO_LATE: "after the last step of the cube",
    DUPLICATE: "duplicates (same place, date and value as a row before)",
    NO_DATA: "without data (centre unknown, or too little of the window known)",
}


@dataclass(frozen=True)
class JoinReport:
    """What became of the rows of a table.

    Parameters
    ----------
    table, target : str
        Their names.
    units : str, optional
        Of the target.
    rows : int
        Of the table.
    samples, sites : int
        What they became: each row is a sample or was left out.
    replicates : int
        Samples that share their site with another.
    left : dict of str to ndarray of int
        Rows of the table, from 0, that were left out, by reason.
    """

    table: str
    target: str
    units: str | None
    rows: int
    samples: int
    sites: int
    replicates: int
    left: dict[str, np.ndarray]

    def __str__(self) -> str:
        units = f" ({self.units})" if self.units else ""
        told = [
            f"{self.rows:,} rows of {self.table}: {self.samples:,} samples of "
            f"{self.target}{units} at {self.sites:,} sites."
        ]
        if self.replicates:
            told.append(f"{self.replicates:,} samples share a site with others (replicates).")
        lost = [f"{len(rows):,} {_WORDS[reason]}" for reason, rows in self.left.items()]
        told.append(f"Left out: {'; '.join(lost)}." if lost else "No row was left out.")
        return " ".join(told)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: counts, and the rows left out by reason."""
        plain = {name: value for name, value in vars(self).items() if name != "left"}
        return plain | {"left": {reason: rows.tolist() for reason, rows in self.left.items()}}
