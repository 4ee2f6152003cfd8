"""Choice: what is forecast, on which grid and steps, and what cannot go with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyproj
import xarray as xr

from hmx.cube.cadence import Cadence
from hmx.cube.dates import matched, read_date, short
from hmx.cube.grid import Grid
from hmx.errors import HmxError
from hmx.survey.sources import Found

# names of what people forecast, the likeliest first
_TARGETS = (
    r"^(g?hmi?|human_?mod\w*)$|^hm_",
    r"^hfp|footprint|^hii",
    r"built|urban|impervious|settlement|ghsl|crop|defor|forest|tree|lulc|landuse|land_use|cover",
)
_CODED = "its numbers look like classes: give a raster of 0 and 1 for each that matters"
_ANSWERS = {"truth", "prediction", "predicted", "forecast"}  # in names of products
LEAST = 3  # maps that a forecast needs: a history of two and one truth
_FINER, _COARSER = 0.8, 1.25  # times the size of a pixel


@dataclass(frozen=True)
class Chosen:
    """The sources of a catalog, the lead first, and those that are left out."""

    target: str | None  # of a forecast; None of a map
    why: str  # how the target was chosen
    sources: tuple[Found, ...]
    left: tuple[Found, ...]  # with their trouble


def series_of(found: Sequence[Found]) -> list[Found]:
    """List the variables that could be forecast, the likeliest first."""
    able = [
        each
        for each in found
        if not each.trouble and each.kind in ("year", "time", "own") and len(each.steps) >= LEAST
    ]
    return sorted(able, key=_likelihood)


def _likelihood(found: Found) -> tuple[bool, int, bool, int]:
    named = next((at for at, name in enumerate(_TARGETS) if re.search(name, found.name)), 9)
    values = found.values
    share = values is not None and values.low >= 0 and values.high <= 1
    return found.classes, named, not share, -len(found.steps)


def for_forecast(found: Sequence[Found], target: str | None) -> Chosen | None:
    """Choose what is forecast and what helps; ``None`` if nothing can be forecast."""
    able = series_of(found)
    if target is not None:
        able = [each for each in able if each.name == target]
    if not able:
        return None
    lead, why = regular(able[0]), "named on the command line"
    if target is None:
        others = [each.name for each in able[1:]]
        why = "the only series with a date for each map"
        if others:
            why = f"the likeliest of {len(able)} series by its name and values, of "
            why += ", ".join([able[0].name, *others[:4], *(["..."] if others[4:] else [])])
    rest = [each for each in found if each.name != lead.name]
    kept = [lead]
    left: list[Found] = []
    for each in rest:
        fitted = each if each.trouble else _fitted(each, lead)
        if fitted.classes and not fitted.trouble:
            fitted = replace(fitted, trouble=_CODED)
        (left if fitted.trouble else kept).append(fitted)
    return _settled(lead.name, why, _on_grid(kept), left)


def _settled(
    target: str | None, why: str, ordered: Sequence[Found], left: Sequence[Found]
) -> Chosen:
    """Part what can be read from what is left out."""
    kept = tuple(each for each in ordered if not each.trouble)
    return Chosen(target, why, kept, (*left, *(each for each in ordered if each.trouble)))


def for_map(found: Sequence[Found], quantity: str = "") -> Chosen:
    """Choose the covariates of a map: all that share their steps, and are not its answer."""
    found = [_unless_answer(each, quantity.lower()) for each in found]
    usable = [each for each in found if not each.trouble]
    left = [each for each in found if each.trouble]
    timed = [regular(each) for each in usable if each.kind in ("year", "time", "own")]
    monthly = [each for each in usable if each.kind == "month"]
    static = [each for each in usable if not each.kind]
    kept: list[Found] = []
    if timed:
        lead = max(timed, key=lambda each: len(each.steps))
        labels = [_labels(each) for each in timed]
        common = [step for step in _labels(lead) if all(matched([step], own) for own in labels)]
        shared = [each for each in timed if len(common) < 2 and each.name != lead.name]
        if len(common) >= 2 and len(common) < max(len(each.steps) for each in timed):
            timed = [_cut_to(each, common) for each in timed]
        for each in timed:
            if each in shared:
                fitted = _fitted(each, lead)
                (left if fitted.trouble else kept).append(fitted)
            else:
                kept.append(each)
        kept.sort(key=lambda each: each.name != lead.name)
    months = {each.steps for each in monthly}
    kept += [each for each in monthly if len(months) == 1 or len(each.steps) == 12]
    left += [
        replace(each, trouble="its months differ from those of the others")
        for each in monthly
        if each not in kept
    ]
    finest = sorted(static, key=lambda each: _pixel(each.grid)) if not kept else static
    ready = [
        replace(each, options={**each.options, "categories": True}).saying(
            "categories: its numbers look like classes"
        )
        if each.classes
        else each.saying(each.doubt)
        for each in (*kept, *finest)
    ]
    return _settled(None, "", _on_grid(ready), left)


def _unless_answer(found: Found, quantity: str) -> Found:
    """Leave out what may be a map of the quantity itself: a model would read the answer there."""
    words = found.name.split("_")
    if found.trouble or not (_ANSWERS & {*words} or (quantity and quantity in words)):
        return found
    return replace(
        found, trouble=f"by its name it may be a map of {quantity or 'what was sampled'} itself"
    )


def regular(found: Found) -> Found:
    """Keep the longest run of regular steps, the latest of several."""
    if found.kind == "own" or len(found.steps) < LEAST or "bands" in found.options:
        return found
    if found.kind == "year":
        run: tuple[int | str, ...] = _run([int(step) for step in found.steps])
    else:
        run = _dated_run([str(step) for step in found.steps])
    lost = [str(step) for step in found.steps if step not in run]
    if not lost:
        return found
    listed = ", ".join(lost[:6]) + (", ..." if lost[6:] else "")
    pairs = dict(zip(found.steps, found.headers, strict=False))
    headers = tuple(pairs[step] for step in run if step in pairs)
    made = replace(found, steps=run, headers=headers, grid=headers[0].grid if headers else None)
    if lost[-1] <= str(run[-1]):
        return made.saying(f"{listed} left out, because steps must be regular")
    # a forecast would start from an older map than the user has
    return made.saying(
        f"check: {listed} left out, because steps must be regular, so {run[-1]} is the last map; "
        f"between {run[-1]} and {lost[-1]} a map is missing, or its name differs"
    )


def _run(years: Sequence[int]) -> tuple[int, ...]:
    have = set(years)
    best: tuple[int, ...] = (years[-1],)
    for last in sorted(have, reverse=True):
        for step in sorted({last - year for year in have if year < last}):
            run = [last]
            while run[-1] - step in have:
                run.append(run[-1] - step)
            if len(run) > len(best):
                best = tuple(reversed(run))
    return best


def _dated_run(labels: Sequence[str]) -> tuple[str, ...]:
    """Find the longest run of dates in one cadence, from each date on."""
    dates = np.array([read_date(text).to_datetime64() for text in labels], "datetime64[ns]")
    best: tuple[str, ...] = ()
    for start in range(len(labels)):
        for stop in range(len(labels), start + max(LEAST, len(best)) - 1, -1):
            try:
                Cadence.infer(xr.DataArray(dates[start:stop], dims="time"))
            except HmxError:
                continue
            if stop - start > len(best):
                best = tuple(labels[start:stop])
            break
    return best or tuple(labels)


def _labels(found: Found) -> list[str]:
    """Write the steps as ISO labels, as ingest compares them."""
    if found.kind == "own":
        return list(found.steps)  # type: ignore[arg-type]
    return [
        f"{int(step):04d}-01-01T00:00:00" if found.kind == "year"
        else str(read_date(str(step)).isoformat())
        for step in found.steps
    ]  # fmt: skip


def _cut_to(found: Found, labels: Sequence[str]) -> Found:
    """Keep the steps that all series have; of files with bands or a time axis, all stay."""
    if found.kind == "own" or "bands" in found.options:
        return found
    known = dict(zip(_labels(found), found.steps, strict=True))
    steps = tuple(known[label] for label in labels if label in known)
    if steps == found.steps:
        return found
    lost = len(found.steps) - len(steps)
    return replace(found, steps=steps).saying(f"{lost} steps left out that other series lack")


def _fitted(found: Found, lead: Found) -> Found:
    """Leave out a covariate that lacks steps of the lead."""
    if not found.kind:
        return found
    if found.kind == "month":
        return replace(found, trouble=f"it has months of every year, and {lead.name} has dates")
    have, want = _labels(found), _labels(lead)
    lost = [label for label in want if label not in matched(want, have)]
    if lost:
        listed = ", ".join(map(short, lost[:4])) + (", ..." if lost[4:] else "")
        return replace(found, trouble=f"it has no {listed}, and {lead.name} has")
    extra = [label for label in have if label > want[-1]]
    if extra:
        return found.saying(
            f"it goes on to {short(extra[-1])}: where that is known in advance, write future: true"
        )
    return found


def _on_grid(found: Sequence[Found]) -> list[Found]:
    """Bring all to the grid of the first; leave out what lies elsewhere."""
    if not found or found[0].grid is None:
        return list(found)
    grid = found[0].grid
    return [_aligned(each, grid) for each in found]


def _aligned(found: Found, grid: Grid) -> Found:
    grids = [header.grid for header in found.headers if header.grid is not None]
    other = next((each for each in grids if grid.difference(each)), None)
    options = {key: value for key, value in found.options.items() if key != "align"}
    if other is None:
        return replace(found, options=options)
    if not _overlap(grid, other):
        return replace(found, trouble="it lies outside of the grid of the cube")
    ratio = _pixel(other) / _pixel(grid)
    how, why = "bilinear", "its pixels are about as large"
    if found.classes:
        how, why = "nearest", "its numbers look like classes"
    elif ratio < _FINER:
        how, why = "average", f"its pixels are finer, {_metres(other)}"
    elif ratio > _COARSER:
        why = f"its pixels are coarser, {_metres(other)}"
    options["align"] = how
    return replace(found, options=options).saying(
        f"align: {how}, because it lies on another grid and {why}"
    )


def _overlap(grid: Grid, other: Grid) -> bool:
    west, south, east, north = grid.bounds
    try:
        turn = pyproj.Transformer.from_crs(other.crs, grid.crs, always_xy=True)
        left, bottom, right, top = turn.transform_bounds(*other.bounds)
    except pyproj.exceptions.ProjError:
        return True
    if not np.isfinite([left, bottom, right, top]).all():
        return True
    period = 360.0 if grid.crs.is_geographic else 0.0
    shifts = (-period, 0.0, period) if period else (0.0,)
    across = any(left + s < east and right + s > west for s in shifts) or right < left
    return bool(across and bottom < north and top > south)


def _pixel(grid: Grid | None) -> float:
    """Return the side of a pixel on the ground, metres."""
    return 0.0 if grid is None else float(np.sqrt(np.prod(grid.pixel_size_m)))


def _metres(grid: Grid) -> str:
    side = _pixel(grid)
    return f"{side / 1000:.3g} km" if side >= 1000 else f"{side:.3g} m"


def describe_grid(grid: Grid) -> dict[str, Any]:
    """Describe a grid in words."""
    from hmx.cube.grid import crs_name

    rows, columns = grid.shape
    return {"size": f"{columns:,} x {rows:,} px", "pixel": _metres(grid), "crs": crs_name(grid.crs)}
