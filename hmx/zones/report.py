"""Report: a table of zones as Markdown, short enough for a page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
import xarray as xr

from hmx.zones.frames import columns_of, is_conservation, times_of
from hmx.zones.spread import mark

MARKER = "<!-- table of zones, made by hmx -->"
_LO = re.compile(r"_lo_([0-9.]+)$")


def markdown(table: xr.Dataset, target: str) -> str:
    """Write a table of zones as Markdown: one part for each time, and where intervals come from."""
    lines = [MARKER, "", f"# {str(table.attrs.get('title', 'Zones')).capitalize()}", ""]
    for time, titles, rows in parts_of(table, target):
        lines += [
            f"## {time}",
            "",
            f"| {' | '.join(titles)} |",
            "|---|" + "---:|" * len(titles[1:]),
        ]
        # a bar or a new line within a name would end its cell
        names = [" ".join(row[0].replace("|", "\\|").split()) for row in rows]
        lines += [f"| {' | '.join([n, *row[1:]])} |" for n, row in zip(names, rows, strict=True)]
        lines.append("")
    return "\n".join([*lines, *remarks(table)]) + "\n"


def parts_of(table: xr.Dataset, target: str) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield time, titles and rows of each part of a table of zones, as text."""
    columns = dict(columns_of(table))
    level = _level(columns)
    heads = _conservation_heads(table) if is_conservation(table) else _heads(columns, target)
    titles = ["zone", "area (km2)", *heads.values()]
    for at, time in enumerate(times_of(table)):
        rows = []
        for row, name in enumerate(table["zone"].values):
            cells = [str(name), _number(float(table["area_km2"][row]), 1)]
            rows.append([*cells, *(_figure(columns, head, level, row, at) for head in heads)])
        yield time, titles, rows


def remarks(table: xr.Dataset) -> list[str]:
    """Write what brackets mean, where intervals come from, and what is not counted."""
    level, lines = _level(dict(columns_of(table))), []
    if level is not None:
        lines += [f"In brackets: intervals of {mark(level)} %.", ""]
    lines += [str(table.attrs[key]) for key in ("intervals", "limits") if key in table.attrs]
    gone = [table[name].values for name in table.coords if str(name).startswith("missing")]
    shares = np.concatenate(gone) if gone else np.zeros(0)
    if (missing := float(shares[shares < 1].max(initial=0))) > 0:
        lines.append(f"Up to {100 * missing:.1f} % of a zone has no data and is not counted.")
    if "unlike" in table.coords and (most := float(np.nan_to_num(table["unlike"].values).max())):
        lines.append(
            f"Up to {100 * most:.1f} % of a zone is unlike what the model was trained on: there no "
            "score holds."
        )
    return lines


def _level(columns: dict[str, xr.DataArray]) -> float | None:
    """Return the widest level that a table has."""
    return max((float(e[1]) for name in columns if (e := _LO.search(name))), default=None)


def _heads(columns: dict[str, xr.DataArray], target: str) -> dict[str, str]:
    """Choose the columns of a table of means and areas, with their titles."""
    plain = target.removesuffix("_difference")
    compared = "" if plain == target else ", a minus b"
    heads = {
        target: with_units(f"mean {plain}", columns[target]) + compared,
        f"{target}_change": "change since the origin",
    }
    for name in columns:
        if found := re.fullmatch(r"km2_above_([-0-9.e+]+)(_change|_difference)?", name):
            title = f"km2 above {found[1]}{compared}"
            heads[name] = f"change of {title}" if found[2] == "_change" else title
        elif name == f"{plain}_total" or name == f"{plain}_total_difference":
            heads[name] = with_units("total", columns[name]) + compared
        elif name == "p_greater":
            heads[name] = "probability that a is greater"
    return {name: title for name, title in heads.items() if name in columns}


def with_units(title: str, figure: xr.DataArray) -> str:
    """Write a title with the units of its figure."""
    units = figure.attrs.get("units", "1")
    return title if units == "1" else f"{title} ({units})"


def _conservation_heads(table: xr.Dataset) -> dict[str, str]:
    low = str(table["class"].values[0])
    word = low.replace("< ", "below_")
    share = mark(float(table.attrs["target_share"]))
    return {
        f"km2_{word}_origin": f"km2 {low} at the origin",
        f"km2_{word}_lost": "km2 of it lost",
        "percent_low": f"% of the zone {low}",
        "p_below_target": f"probability of less than {share} %",
        "p_mean_rises": "probability that the mean rises",
    }


def _figure(
    columns: dict[str, xr.DataArray], name: str, level: float | None, row: int, at: int
) -> str:
    """Write a figure, and its interval in brackets, with as many digits as the interval has."""

    def value(column: str) -> float:
        plane = columns[column].values
        return float(plane[row, at] if plane.ndim == 2 else plane[row])

    middle = value(name)
    if not math.isfinite(middle):
        return "no data"
    if name.startswith("p_"):  # a share of draws: none of them is not never
        return "< 0.01" if middle < 0.005 else "> 0.99" if middle >= 0.995 else f"{middle:.2f}"
    if level is None or f"{name}_lo_{mark(level)}" not in columns:
        return _number(middle, _digits(abs(middle)))
    low, high = (value(f"{name}_{end}_{mark(level)}") for end in ("lo", "hi"))
    largest = max(abs(low), abs(high))
    fine = _digits(largest) + 1  # three digits of the largest end
    digits = min(_digits(high - low), max(4, fine)) if high > low else fine
    scale = 10.0**digits
    low, high = math.floor(low * scale + 1e-6) / scale, math.ceil(high * scale - 1e-6) / scale
    return f"{_number(middle, digits)} ({_number(low, digits)} to {_number(high, digits)})"


def _digits(width: float) -> int:
    """Return the decimals that show two digits of a width."""
    return 0 if width <= 0 else int(np.clip(1 - math.floor(math.log10(width)), 0, 6))


def _number(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if not float(text.replace(",", "")) else text  # no -0.00
