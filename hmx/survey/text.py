"""Text: a catalog with comments, in the style of the demo's."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hmx.cube.bands import HISTORY
from hmx.survey.choice import Chosen, describe_grid
from hmx.survey.limits import limits_of
from hmx.survey.sources import Found
from hmx.survey.tables import FoundPoints

_PLAIN = re.compile(r"[\w./][\w./{}%-]*")  # of a text that YAML reads without quotes
_HEIGHT, _HIGHEST = re.compile(r"^(elev|dem(_|$)|dtm|srtm|altitude)"), 9000  # m
_LONG_NAMES = {"hm": "human modification", "hfp": "human footprint"}
_LARGE = 2**22  # pixels of a map from which workers help
_LEADS = 4  # forecast where a series can teach them
_SHARE = 0.2  # of a long series, as leads
_SHOWN = 6  # of a list


def forecast_text(
    name: str, chosen: Chosen, *, base: Path, folder: Path, zones: Sequence[str], also: str
) -> str:
    """Write the catalog of a forecast."""
    lead = chosen.sources[0]
    count = len(lead.steps)
    h = max(1, min(count - 3, max(_LEADS, math.floor(_SHARE * count))))
    middle = f"{(lead.values.low + lead.values.high) / 2:.2g}" if lead.values else "0.5"
    return "\n".join(
        [
            *_head(name, folder, ("forecast", "evaluate", "report", "export"), also),
            "cube:",
            f"  path: build/{name}.zarr",
            f"  target: {quoted(lead.name)} # guess: {chosen.why}",
            *_sources(chosen, base, folder),
            "model:",
            f"  path: build/{name}.model",
            "train:",
            f"  h: {h} # leads: {_ahead(lead, h)}; {count} maps can teach {max(1, count - 3)}",
            "  epochs: 20",
            "  seed: 0",
            "forecast:",
            f"  h: {h}",
            "  level: [50, 80, 95] # central intervals, percent",
            f"  # exceed: [{middle}] # the probability of more than this, as a layer",
            f"  output: build/{name}_forecast.zarr",
            *_zonal(zones, base, folder),
            *_workers(lead),
            "",
        ]
    )


def map_text(
    name: str,
    points: FoundPoints,
    chosen: Chosen,
    *,
    base: Path,
    folder: Path,
    zones: Sequence[str],
    also: str,
) -> str:
    """Write the catalog of a map."""
    lead = chosen.sources[0]
    timed = [each for each in chosen.sources if each.kind in ("year", "time", "own")]
    options = dict(points.options)
    if not timed:
        options.pop("date", None)
    history = max((len(each.steps) for each in timed), default=0)
    low, high = points.values
    skewed = low >= 0 and high > 5 * max(low, 1e-9)
    model = [f"  path: build/{name}.model"]
    if timed and points.early is None:
        model.append(f"  history: {history} # guess: the samples have no dates, so all steps count")
    elif timed and (before := _steps_until(timed[0], str(points.early))) < min(HISTORY, history):
        model.append(f"  history: {before} # guess: so many maps exist up to the earliest samples")
    why = "samples are skewed and not negative" if skewed else "samples are not skewed"
    return "\n".join(
        [
            *_head(name, folder, ("map", "evaluate", "report", "export"), also),
            "points:",
            *(f"  # {_remark(text)}" for text in points.remarks),
            f"  path: {_path(points.path, base, folder)} # {points.rows:,} rows",
            *(f"  {key}: {_value(value)}" for key, value in options.items()),
            f"  # units: g/kg # fill in: of {options['target']}, here {low:.4g} to {high:.4g}",
            "cube:",
            f"  path: build/{name}.zarr",
            *_sources(chosen, base, folder),
            "model:",
            *model,
            "train:",
            f"  transform: {'log1p' if skewed else 'none'} # guess: {why}",
            *_split(lead),
            "  seed: 0",
            "map:",
            "  level: [90] # central intervals, percent",
            f"  output: build/{name}_map.zarr",
            *_zonal(zones, base, folder),
            *_workers(lead),
            "",
        ]
    )


def open_text(
    name: str,
    found: Sequence[Found],
    tables: Sequence[FoundPoints],
    *,
    base: Path,
    folder: Path,
    why: str,
) -> str:
    """Write a catalog that lacks what only the user can know, as comments to fill in."""
    lines = [*_head(name, folder, ("map" if tables else "forecast",), ""), f"# fill in: {why}"]
    if tables:
        lines += [
            "points:",
            *(f"  # fill in: {each.path}: {_line(each.trouble)}" for each in tables),
        ]
        lines += [f"  path: {_path(tables[0].path, base, folder)}"]
        lines += ["  target: soc # fill in: the column that is mapped"]
    lines += ["cube:", f"  path: build/{name}.zarr"]
    if not tables:
        lines += ["  target: hm # fill in: the name of the series below that is forecast"]
    lines += ["  sources:"]
    if not tables:
        example = _path("HM_{year}.tif", base, folder)
        lines += [
            "    # fill in the steps of a series, and take its # away:",
            f"    # hm: {{path: {example}, years: [1990, 1995, 2000]}}",
        ]
    stacks: dict[str, int] = {}
    for each in found:
        if each.headers and each.headers[0].bands > 2:
            stacks[each.path] = each.headers[0].bands
    for path, count in stacks.items():
        lines += [
            f"    # hm: {{path: {_path(path, base, folder)}, bands: {{start: 1990, step: 5}}}} "
            f"# fill in: the first year of its {count} bands, and the years between two"
        ]
    for each in found:
        if each.path in stacks:
            continue
        lines += [f"    # left out: {each.name} ({each.path}): {each.trouble}"] if each.trouble \
            else _source(each, base, folder, target=False)  # fmt: skip
    return "\n".join([*lines, "model:", f"  path: build/{name}.model", ""])


def _head(name: str, folder: Path, commands: Sequence[str], also: str) -> list[str]:
    return [
        f"# Written by hmx init from the folder {folder.name}. Nothing was asked: lines with",
        '# "guess", "check" and "fill in" name what was decided, or left open. Then run:',
        "#",
        *(f"#   hmx {command} {name}.yaml" for command in commands),
        "#",
        *([f"# {also}", "#"] if also else []),
        "# Paths are relative to this file. All keys: hmx guide catalogs, hmx guide rasters.",
        "hmx: 1",
        f"name: {quoted(name)}",
    ]


def _sources(chosen: Chosen, base: Path, folder: Path) -> list[str]:
    grid = chosen.sources[0].grid
    lines = ["  sources:"]
    if grid is not None:
        facts = describe_grid(grid)
        first = chosen.sources[0].name
        lines.append(
            f"    # the grid is that of {first}: {facts['size']} of {facts['pixel']}, "
            f"{facts['crs']}"
        )
    for each in chosen.sources:
        lines += _source(each, base, folder, target=each.name == chosen.target)
    for each in chosen.left:
        lines.append(f"    # left out: {each.name} ({each.path}): {_line(each.trouble)}")
    return lines


def _source(found: Found, base: Path, folder: Path, *, target: bool) -> list[str]:
    values = found.values
    lines = [f"    {quoted(found.name)}: # {_summary(found)}"]
    options: list[tuple[str, Any, str]] = [("path", _path(found.path, base, folder), "")]
    if found.kind in ("year", "month", "time") and not _declared(found):
        options.append((f"{found.kind}s", _steps(found), ""))
    options += [(key, _value(value), "") for key, value in found.options.items()]
    options += [(key, _value(value), why) for key, value, why in limits_of(found, target=target)]
    remarks = list(found.remarks)
    if found.headers and found.headers[0].bands > 2 and not found.kind:
        remarks.append(
            "fill in: if the bands of its file are steps of time, list them in one source "
            "(hmx guide time)"
        )
    if found.classes and target:
        remarks.append(
            "check: its numbers look like classes, and are forecast as a quantity: a share or a "
            "mask of the class that matters is better (hmx guide rasters)"
        )
    units = found.headers[0].units if found.headers else None
    lines += [f"      # {_remark(text)}" for text in remarks]
    lines += [f"      {key}: {text}{f' # {why}' if why else ''}" for key, text, why in options]
    if units:
        lines.append(f"      units: {quoted(units)}")
    else:
        known = "" if values is None else f"{values.low:.4g} to {values.high:.4g}"
        share = target and values is not None and values.low >= 0 and values.high <= 1
        height = _HEIGHT.search(found.name) and values is not None and values.high < _HIGHEST
        lines.append(
            f"      units: m # guess: by the name; here {known}"
            if height
            else f"      units: '1' # guess: an index or a share, by its values; here {known}"
            if share
            else f"      # units: '1' # fill in; here {known}"
        )
    if target:
        title = _LONG_NAMES.get(found.name)
        lines.append(
            f"      long_name: {title} # guess: by the name; it stands on pictures"
            if title
            else "      # long_name: human modification # fill in: the name on pictures"
        )
    return lines


def _declared(found: Found) -> bool:
    """Return True if the options list the steps already."""
    return "bands" in found.options or "months" in found.options


def _summary(found: Found) -> str:
    if not found.kind:
        return "one map without time"
    first, last = found.steps[0], found.steps[-1]
    if found.kind == "month":
        return "months of every year"
    short = (re.sub(r"(-01-01)?T00:00:00$", "", str(step)) for step in (first, last))
    return f"{len(found.steps)} maps, {' to '.join(short)}"


def _steps(found: Found) -> str:
    """Write the steps of a source, as a run where they are one."""
    steps = list(found.steps)
    if found.kind == "time":
        return "[" + ", ".join(f'"{step}"' for step in steps) + "]"
    numbers = [int(step) for step in steps]
    gaps = {b - a for a, b in pairwise(numbers)}
    if len(gaps) == 1 and len(numbers) > 2:
        step = gaps.pop()
        more = f", step: {step}" if step > 1 else ""
        return f"{{start: {numbers[0]}, stop: {numbers[-1]}{more}}}"
    return str(numbers)


def _steps_until(found: Found, date: str) -> int:
    """Count the steps up to a date, of years up to its year; at least one."""
    end = date[:4] if found.kind == "year" else date
    return max(1, sum(str(step)[: len(end)] <= end for step in found.steps))


def _ahead(lead: Found, h: int) -> str:
    """Name the steps that are forecast."""
    numbers = [int(step) for step in lead.steps] if lead.kind == "year" else []
    if len(numbers) < 2:
        return f"{h} steps after {str(lead.steps[-1])[:10]}"
    step = numbers[1] - numbers[0]
    return f"{numbers[-1] + step} to {numbers[-1] + h * step}" if h > 1 else str(numbers[-1] + step)


def _split(lead: Found) -> list[str]:
    """Choose blocks of a region that is small for the usual 20 km."""
    grid = lead.grid
    if grid is None:
        return []
    width, height = (n * side / 1000 for n, side in zip(grid.shape[::-1], grid.pixel_size_m,
                                                        strict=True))  # fmt: skip
    block = float(f"{math.sqrt(width * height) / 8:.1g}")
    if block >= 20:
        return []
    return [
        f"  split: {{method: blocks, block_km: {block:g}, folds: 5}} "
        f"# guess: the rasters cover {width:.3g} x {height:.3g} km"
    ]


def _zonal(zones: Sequence[str], base: Path, folder: Path) -> list[str]:
    if not zones:
        return []
    others = f", others: {', '.join(zones[1:_SHOWN])}" if zones[1:] else ""
    return ["zonal:", f"  zones: {_path(zones[0], base, folder)} # of hmx zonal{others}"]


def _workers(lead: Found) -> list[str]:
    if lead.grid is None or math.prod(lead.grid.shape) < _LARGE:
        return []
    count = max(1, min(4, (os.cpu_count() or 2) // 2))
    return ["dask:", f"  workers: {count} # processes; hmx guide large-rasters for clusters"]


def _path(path: str, base: Path, folder: Path) -> str:
    """Write a path relative to the catalog, or whole if only the root is common to both."""
    whole = folder / path
    common = os.path.commonpath([base, folder])
    text = str(whole) if common == os.sep else os.path.relpath(whole, base)
    return quoted(text.replace(os.sep, "/"))


def quoted(text: str) -> str:
    """Write a text as YAML, in quotes where it needs them."""
    word = text.lower() in ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "~")
    number = re.match(r"[\d.+-](?!\.?/)", text)
    if _PLAIN.fullmatch(text) and not word and number is None:
        return text
    return "'" + text.replace("'", "''") + "'"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _number(value)


def _number(value: float) -> str:
    """Write a number so that YAML reads the same: 1.0e+20, and not 1e+20, which is a text."""
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = repr(float(value))
    return text if "e" not in text or "." in text else text.replace("e", ".0e")


def _remark(text: str) -> str:
    text = _line(text)
    return text if text.startswith(("check:", "left out:", "fill in:")) else f"guess: {text}"


def _line(text: str) -> str:
    """Keep the text on one line: a comment ends with it."""
    return " ".join(text.split())
