"""Report of a join: how many rows became samples, and why the others did not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

OUTSIDE, NO_DATE, NO_HISTORY, TOO_LATE = "outside", "no date", "no history", "too late"
DUPLICATE, NO_DATA = "duplicate", "no data"

_WORDS = {
    "filtered": "not passing the filters (where)",
    "no place": "without coordinates",
    "null island": "at (0, 0), which is no measured place",
    "no value": "without a value",
    "invalid": "outside the valid range",
    OUTSIDE: "outside the cube",
    NO_DATE: "without a date",
    NO_HISTORY: "before the cube holds their history",
    TOO_LATE: "after the last step of the cube",
    DUPLICATE: "duplicates (same place, date and value as a row before)",
    NO_DATA: "without data (centre unknown, or too little of the window known)",
}


_LISTED = 5  # names of rows in a sentence; all are in the data


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
    id : str, optional
        Column that names rows.
    ids : dict of str to list
        Names of the rows that were left out, by reason; empty without such a column.
    found : tuple of str
        What was detected of the file: separator, decimal sign, encoding, layer.
    notes : tuple of str
        What else is worth knowing.
    """

    table: str
    target: str
    units: str | None
    rows: int
    samples: int
    sites: int
    replicates: int
    left: dict[str, np.ndarray]
    id: str | None = None
    ids: dict[str, list[object]] = field(default_factory=dict)
    found: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        units = f" ({self.units})" if self.units else ""
        found = f" ({', '.join(self.found)})" if self.found else ""
        told = [
            f"{self.rows:,} rows of {self.table}{found}: {self.samples:,} samples of "
            f"{self.target}{units} at {self.sites:,} sites."
        ]
        if self.replicates:
            told.append(f"{self.replicates:,} samples share a site with others (replicates).")
        lost = [f"{len(rows):,} {_WORDS[reason]}{self._named(reason)}"
                for reason, rows in self.left.items()]  # fmt: skip
        told.append(f"Left out: {'; '.join(lost)}." if lost else "No row was left out.")
        return " ".join([*told, *self.notes])

    def _named(self, reason: str) -> str:
        """List rows by their names; those that a filter takes out are meant."""
        names = self.ids.get(reason, [])
        if not names or reason == "filtered":
            return ""
        more = ", ..." if len(names) > _LISTED else ""
        return f" ({self.id} {', '.join(map(str, names[:_LISTED]))}{more})"

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: counts, and the rows left out by reason."""
        plain = {name: value for name, value in vars(self).items() if name != "left"}
        plain |= {"found": list(self.found), "notes": list(self.notes)}
        return plain | {"left": {reason: rows.tolist() for reason, rows in self.left.items()}}
