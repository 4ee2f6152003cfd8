"""Runs: the table of a mapper's networks, one row for each seed, then their mean and spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hmx.scores.card import number, text_table
from hmx.training.metrics import spread

RUNS = "runs.csv"
_CONSOLE = ("seed", "epochs", "train_loss", "val_loss", "val_r2", "val_rmse", "val_native_rmse")


Row = dict[str, Any]


def table_of_runs(figures: Sequence[Mapping[str, float]], seed: int) -> list[Row]:
    """Return a row for each of several runs, then the rows ``mean`` and ``sd``; none of one run."""
    if len(figures) < 2:
        return []
    found = spread(figures)
    rows: list[Row] = [
        {"run": str(run), "seed": seed + run, **{name: one.get(name) for name in found}}
        for run, one in enumerate(figures)
    ]
    means, spreads = ({n: one[which] for n, one in found.items()} for which in ("mean", "sd"))
    return [*rows, {"run": "mean", "seed": None, **means}, {"run": "sd", "seed": None, **spreads}]


def lines_of_runs(rows: Sequence[Row]) -> list[str]:
    """Lay the main figures out for a console."""
    names = [name for name in _CONSOLE if rows and name in rows[0]]

    def cell(value: float | None) -> str:
        if value is None:
            return ""
        return str(value) if isinstance(value, int) else number(value)

    body = [[row["run"], *(cell(row[name]) for name in names)] for row in rows]
    return text_table("training runs:", ["run", *names], body)
