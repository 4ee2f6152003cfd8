"""Predictions: the table of predictions at points, its columns and its file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from hmx.errors import BadArgument, OutputExists
from hmx.files.durable import Folder
from hmx.files.lock import building
from hmx.files.paths import absolute
from hmx.points.files import open_table
from hmx.points.options import PointsOptions

NOTE = "note"  # last column: why a row has no prediction, or what its pixel lacks
_NAMED = (
    "x",
    "y",
    "date",
    "id",
    "top",
    "bottom",
)  # columns that may be called as those of the training
_PAIRS = {"x": "y", "y": "x", "top": "bottom", "bottom": "top"}  # named both, or neither


def columns_of(
    source: str, given: Mapping[str, Any], known: PointsOptions, *, depths: bool = False
) -> dict[str, Any]:
    """Return the options of a table of places: what is given, else those of the training.

    A column of the training counts if the table has it, and its CRS if the table has none; with
    `depths`, one is given for all rows, and those of rows do not count.
    """
    named = {name: value for name, value in given.items() if value is not None}
    options = dict(named)
    table = open_table(source, PointsOptions(layer=options.get("layer")))
    for name in _NAMED[: len(_NAMED) - 2 * depths]:
        usual = getattr(known, name)
        other = _PAIRS.get(name, name)
        pair = {usual, getattr(known, other)} <= {*table.columns.columns}
        if name not in named and other not in named and usual is not None and pair:
            options[name] = usual
    if "crs" not in options and table.crs is None and known.crs is not None:
        options["crs"] = known.crs
    if known.missing:
        options["missing"] = known.missing
    return options


def require_free(path: str, *, key: str = "predict.output", what: str = "predictions") -> None:
    """Raise unless a table of predictions, or of `what`, may be written at a path."""
    usual = f"{what.split()[0]}.csv"
    if not path.lower().endswith(".csv"):
        raise BadArgument(
            f"{key} is {path!r}, and {what} are written as CSV. Pass --output {usual}."
        )
    where = absolute(path)
    if os.path.isdir(where):
        raise OutputExists(f"{path} is a folder. Choose another name: --output {usual}.")
    found = Folder(os.path.dirname(where)).read(os.path.basename(where))
    head = (found or b"").split(b"\n", 1)[0].decode("utf-8", "replace").strip().split(",")
    if found and head[-1] != NOTE:
        raise OutputExists(
            f"{path} exists and holds something that hmx did not write, so it is left alone. "
            f"Choose another name: --output {usual}."
        )


def write_predictions(
    table: pd.DataFrame, path: str, *, key: str = "predict.output", what: str = "predictions"
) -> str:
    """Write a table of predictions as CSV, whole or not at all; return its path."""
    where = absolute(path)
    with building(where):
        require_free(where, key=key, what=what)
        text = table.to_csv(index=False, float_format="%.7g", date_format="%Y-%m-%d")
        Folder(os.path.dirname(where)).write(os.path.basename(where), text.encode())
    return where
