"""Timeline: the time axis of a cube, from the sources that define it.

The target's steps come first. Covariates that are known ahead continue the axis in the
target's own cadence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from hmx.cube.cadence import Cadence
from hmx.cube.dates import matched, short
from hmx.errors import CatalogError, NotEnoughData, SourceError
from hmx.ingest.manifest import find_files, label, labels_on, steps_of
from hmx.ingest.mosaic import require_apart, require_complete
from hmx.ingest.options import CubeSection, Source
from hmx.ingest.sources import Part, open_part

_TIME = {"standard_name": "time", "axis": "T"}


def time_of(name: str, source: Source) -> xr.DataArray:
    """Build the time axis from the target or the first source with time."""
    if source.axis is None:
        own = open_step(source, "").time
        if own is None:
            raise NotEnoughData(
                f"{name!r} has no time: {source.path} is a single map, and its steps would be "
                "those of the cube. Give its years: path: HM_{year}.tif, years: [1990, 1995, ...], "
                "or, if its bands are steps, bands: {start: 1990, step: 5}."
            )
        return xr.DataArray(own.values, dims="time", attrs=_TIME)
    keys = list(steps_of(source))
    months = source.axis == "month"
    values = np.array([int(key) for key in keys]) if months else np.array(keys, "datetime64[ns]")
    attrs = {"long_name": "month of year", "axis": "T"} if months else _TIME
    return xr.DataArray(values, dims="time", attrs=attrs)


def axis_of(cube: CubeSection) -> xr.DataArray:
    """Build the time axis of a cube; without time in any covariate it is empty."""
    sources, lead = cube.sources, cube.lead
    if cube.target is None and all(source.axis is None for source in sources.values()):
        timed = (n for n, source in sources.items() if open_step(source, "").time is not None)
        lead = next(timed, "")
        if not lead:
            return xr.DataArray(np.zeros(0, "int64"), dims="time")
    return time_of(lead, sources[lead])


def open_step(source: Source, step: int | str) -> Part:
    """Open the part of a step, headers only."""
    path = source.path_of(step)
    files = find_files(path)
    name = files[0] if len(files) == 1 else path
    if source.in_bands:
        # readers find a band by `variable`
        source = source.model_copy(update={"variable": str(step)})
    part = open_part(source, files, name)
    if len(part.tiles) > 1:
        require_apart(source.path, part.tiles, name)
    if source.axis is not None and part.time is not None:
        raise CatalogError(
            f"{part.name} holds {part.steps} times, and stands for one: a path with a mark names "
            f"one file per {source.axis}. Give the whole file's path and no {source.axis}s."
        )
    return part


def open_steps(name: str, source: Source, keys: Sequence[str]) -> tuple[Part, ...]:
    """Open the parts of some steps; refuse a step without a tile that another step has."""
    steps = steps_of(source)
    found = require_steps(name, keys, have=list(steps))
    parts = {found[key]: open_step(source, steps[found[key]]) for key in keys}
    # one earlier step is enough to show which tiles a later one must have
    earlier = [key for key in steps if key not in parts and "*" in source.path][-1:]
    known = {
        k: open_step(source, steps[k]) for k in earlier if find_files(source.path_of(steps[k]))
    }
    require_complete(name, known | parts)
    return tuple(parts.values())


def labels_ahead(name: str, source: Source, done: Part | None) -> list[str]:
    """List the steps of a covariate that is known ahead."""
    if source.axis is not None:
        return list(steps_of(source))
    exists = done is None or find_files(source.path)
    time = (open_step(source, "") if exists or done is None else done).time
    if time is None:
        raise CatalogError(
            f"{name} has future: true, and {source.path} is a single map without time. Give it "
            "years, or leave out future: true."
        )
    return [label(value) for value in time.values]


def in_kind(labels: Sequence[str], like: str) -> list[str]:
    """Convert labels between years and dates to match the axis."""
    years = all(len(text) == 4 for text in labels)
    if years and len(like) > 4:
        return [f"{year}{like[4:]}" for year in labels]
    return [text[:4] for text in labels] if len(like) == 4 and not years else list(labels)


def extended(time: xr.DataArray, steps: int) -> xr.DataArray:
    """Carry a time axis on, in its own cadence."""
    if not time.size:  # of covariates without time
        return time
    later = Cadence.infer(time).extend(time, steps)
    return xr.DataArray(np.concatenate([time.values, later]), dims="time", attrs=time.attrs)


def later_steps(name: str, have: Sequence[str], time: xr.DataArray) -> int:
    """Count the steps of a covariate known ahead after the target's last one."""
    wanted = labels_on(time, have)
    missing = [short(key) for key in wanted if key not in have]
    if missing:
        raise SourceError(
            f"{name} has no {', '.join(missing)}, and goes on to {short(have[-1])}: what is known "
            f"ahead goes on in steps of {Cadence.infer(time)}, as the target does. Add the missing "
            f"maps, or list only the years before them under sources.{name}."
        )
    return len(wanted)


def require_steps(name: str, keys: Sequence[str], *, have: Sequence[str]) -> dict[str, str]:
    """Match the steps of the target to those of a source; refuse missing ones."""
    found = matched(keys, have)
    missing = [short(key) for key in keys if key not in found]
    if missing:
        kinds = {len(text) == 4 for text in (*keys, *have)}
        more = (
            ""
            if len(kinds) == 1
            else (" Integer years and dates match only where each year has one map.")
        )
        raise SourceError(
            f"{name} has no {', '.join(missing)} (it has {', '.join(map(short, have))}): what has "
            "time covers every step of the target. Add the missing maps, or shorten the target."
            f"{more}"
        )
    return found
