"""SourceManifest: the files of a cube, and the changes among them.

A manifest is plain JSON: for each source its options, and for each step the stamps of
its files (:mod:`hmx.ingest.stamps`). The cube stores it in ``hmx_sources``, so a later run
can decide from stamps alone, without opening a raster.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hmx.cube.cadence import Cadence
from hmx.cube.dates import first_date, read_date, short
from hmx.cube.geojson import layer_of
from hmx.cube.integrity.reading import damage_of
from hmx.cube.store import attributes, finished_manifest
from hmx.errors import CatalogError, SourceError
from hmx.files.paths import is_url
from hmx.ingest.options import BandRun, CubeCatalog, Source
from hmx.ingest.sources import reader_of
from hmx.ingest.stamps import Stamp, stamp

SourceManifest = dict[str, Any]

_DATE = re.compile(r"\d{4}-")
_MAGIC = re.compile(r"([?[])")  # signs of glob that are plain characters in a path here
# files next to a raster that the pattern of its path may match too
_SIDECARS = (".aux.xml", ".ovr", ".msk", ".tfw", ".tifw", ".wld", ".prj", ".xml", ".json")
_FORMAT = 2  # raise it when the same rasters would give another store


def recipe_of(catalog: CubeCatalog, known: SourceManifest) -> SourceManifest:
    """Write the recipe of a catalog's cube from the files as they are now."""
    cube = catalog.cube
    lead = cube.sources[cube.lead]
    before = known.get("sources", {})
    wanted = set(steps_of(lead) or before.get(cube.lead, {}).get("files", ())) or None
    # a file with its own time axis has its steps inside, unknown until it is opened
    wanted = wanted if lead.axis else None
    facts = {
        n: _facts(
            s,
            None if n in cube.monthly else wanted,
            before.get(n),
            ahead=_ahead(s, wanted if s.future else None),
        )
        for n, s in cube.sources.items()
    }
    led = {} if cube.target else {"lead": cube.lead}  # covariates alone
    # of a file its shapes, so that a cube is built anew when they change
    region = cube.region
    shapes = layer_of(region, "cube.region") if isinstance(region, str) else region
    cut = {} if region is None else {"region": json.loads(json.dumps(shapes))}
    return {"format": _FORMAT, "target": cube.target, **led, **cut, "sources": facts}


def _facts(
    source: Source, wanted: set[str] | None, known: SourceManifest | None, *, ahead: set[str]
) -> SourceManifest:
    # These options change which steps exist, not their values: `kept_steps` compares the files
    # of steps, and a cube with one more year keeps the others.
    ignored = {"path", "years", "months", "times", "bands", "future"}
    options = source.model_dump(mode="json", exclude=ignored)
    if not options["categories"]:  # the manifest of an older cube stays its own
        del options["categories"]
    before = known["files"] if known and known["options"] == options else {}
    files: dict[str, list[Any]] = {}
    seen: dict[str, Stamp] = {}  # bands are many steps of one file
    for key, step in (steps_of(source) or dict.fromkeys(before, "")).items():
        if wanted is None or source.axis is None or key in wanted | ahead:
            # a known stamp with the same state spares reading the file
            known_as = {text: rest for text, *rest in before.get(key, [])}
            found = []
            for file in find_files(source.path_of(step)):
                name = os.path.basename(file)
                if file not in seen:
                    seen[file] = stamp(file, [name, *known_as.get(name, [])])
                found.append(seen[file])
            # part of the stamp: if bands change their order, every step is new
            found += [["band", step]] if found and source.in_bands else []
            # a file that is gone counts as unchanged: rasters may be archived after ingest
            files[key] = found or before.get(key, [])
    return {"options": options, "files": files, **({"future": True} if source.future else {})}


def settled(catalog: CubeCatalog, known: SourceManifest) -> SourceManifest:
    """Convert the manifest of an older hmx to the current format if its rasters are gone.

    Where they are all there the cube is built anew, by the rules of today. Where one is
    missing that cannot be: the cube is all there is, and it is kept.
    """
    if known.get("format", _FORMAT) == _FORMAT or not rasters_gone(catalog, known):
        return known
    sources = {
        name: {**facts, "options": _as_today(facts["options"])}
        for name, facts in known["sources"].items()
    }
    return {**known, "format": _FORMAT, "sources": sources}


def rasters_gone(catalog: CubeCatalog, known: SourceManifest) -> list[str]:
    """List the steps of a cube whose files no longer exist."""
    missing = []
    for name, facts in known.get("sources", {}).items():
        source = catalog.cube.sources.get(name)
        if source is None:
            continue
        steps = steps_of(source) or dict.fromkeys(facts["files"], "")
        existing = {key for key in steps if find_files(source.path_of(steps[key]))}
        missing += [f"{name} {short(key)}".strip() for key in facts["files"] if key not in existing]
    return missing


def is_older(known: SourceManifest) -> bool:
    """Return True for the recipe of a cube that an older hmx made."""
    return bool(known.get("format", _FORMAT) != _FORMAT)


def _as_today(options: SourceManifest) -> SourceManifest:
    """Write the options of format 1, whose scale and offset had numbers for none."""
    plain = {"scale": 1.0, "offset": 0.0}
    return {k: None if k in plain and v == plain[k] else v for k, v in options.items()}


def _ahead(source: Source, wanted: set[str] | None) -> set[str]:
    """Find the steps of a covariate known ahead that lie after the target's."""
    if not wanted or source.axis is None or not all(map(_DATE.match, wanted)):
        return set()
    time = xr.DataArray(np.array(sorted(wanted), "datetime64[ns]"), dims="time")
    return set(labels_on(time, list(steps_of(source))))


def labels_on(time: xr.DataArray, have: Sequence[str]) -> list[str]:
    """Continue the labels of a time axis in its cadence, up to the last of ``have``."""
    # ISO labels sort like their dates
    later = [key for key in have if key > label(time.values[-1])]
    ahead = map(label, Cadence.infer(time).extend(time, len(later)))
    return [key for key in ahead if later and key <= later[-1]]


def steps_of(source: Source) -> dict[str, int | str]:
    """Map labels of time, ascending, to the text that each step has in the path."""
    if source.axis is None:
        return {"": ""}
    given: dict[Any, Any] = {step: step for step in source.steps()}
    given = _band_steps(source) if source.in_bands else given
    if source.axis == "month":
        return {str(month): given[month] for month in sorted(given, key=int)}
    steps: dict[str, int | str] = {}
    for step, stands in given.items():
        key = _date(step)
        if key in steps:
            raise CatalogError(
                f"{step!r} and {steps[key]!r} of {source.path} are one date, {short(key)}: each "
                "step has one map. Take one out."
            )
        steps[key] = stands
    return dict(sorted(steps.items()))


def _band_steps(source: Source) -> dict[int | str, int]:
    """Map steps to the numbers of the bands that they are."""
    files = find_files(source.path)
    if not files:  # a list names its steps without the file
        listed: list[Any] = list(source.steps())
        return {step: band for band, step in enumerate(listed, 1)}
    bands = reader_of(files[0]).bands
    assert bands is not None  # `Source` refuses steps in bands of other formats
    descriptions = bands(files[0])
    if isinstance(source.bands, BandRun):
        steps: list[Any] = list(source.bands.values(len(descriptions)))
    else:
        steps = source.steps() or _described(files[0], descriptions)
    if len(steps) != len(descriptions):
        raise CatalogError(
            f"{files[0]} has {len(descriptions)} bands, and the catalog lists {len(steps)} steps: "
            "where the path has no mark, each band is one. List one for each band, or write bands: "
            "{start: 1990, step: 5}."
        )
    return {step: band for band, step in enumerate(steps, 1)}


def _described(file: str, descriptions: Sequence[str]) -> list[str]:
    """Read the first year or date in each band's description; all must differ."""
    dates = [first_date(text) for text in descriptions]
    if None in dates or len(set(dates)) < len(dates):
        listed = ", ".join(repr(text) for text in descriptions[:4]) + (
            ", ..." if len(descriptions) > 4 else ""
        )
        raise CatalogError(
            f"the bands of {file} are described as {listed}, and bands: description takes the "
            "first year or ISO date of each, which must all differ. List them: "
            "bands: [1990, 1995, ...]."
        )
    return [date for date in dates if date is not None]


def _date(step: int | str) -> str:
    try:
        date = pd.Timestamp(f"{step:04d}-01-01") if isinstance(step, int) else read_date(step)
        return str(date.as_unit("ns").isoformat())
    except ValueError:
        raise CatalogError(
            f"{step!r} in years or times is not a date: years lie between 1678 and 2261, and times "
            "are ISO dates. Write times: ['2020-01-31', ...]."
        ) from None


def label(value: Any) -> str:
    """Label a value of a time axis as :func:`steps_of` does."""
    if isinstance(value, np.integer):
        return str(int(value))
    date = pd.Timestamp(value) if isinstance(value, np.datetime64) else value
    return str(date.isoformat())


def kept_steps(old: SourceManifest, new: SourceManifest) -> int:
    """Count the steps that a new cube can take from the old one."""
    if not old or any(old.get(k) != new.get(k) for k in ("format", "target", "lead", "region")):
        return 0
    before, after = old["sources"], new["sources"]
    if set(before) != set(after):
        return 0
    for name, source in before.items():  # each may only have gained steps at its end
        first = list(after[name]["files"].items())[: len(source["files"])]
        grew = first == list(source["files"].items())
        if not grew or source["options"] != after[name]["options"]:
            return 0
    lead = new["target"] or new["lead"]
    have, want = (len(sources[lead]["files"]) for sources in (before, after))
    return have if want >= have and old != new else 0


def require_files(catalog: CubeCatalog, recipe: SourceManifest) -> None:
    """Raise :class:`SourceError` naming every step whose file is missing."""
    lines = []
    for name, facts in recipe["sources"].items():
        source = catalog.cube.sources[name]
        missing = [key for key, files in facts["files"].items() if not files]
        if missing or (source.in_bands and not facts["files"]):
            steps = {"": ""} if source.in_bands else steps_of(source)
            missing = [""] if source.in_bands else missing
            paths = ", ".join(source.path_of(steps[key]) for key in missing)
            named = " for " + ", ".join(map(short, missing)) if any(missing) else ""
            lines.append(
                f"{name} has no file{named}: {paths}. Every step needs its file: add it, "
                f"or list the steps there are under sources.{name}."
                + " Only * is a pattern: [, ] and ? are read as they stand."
                * ("[" in paths or "?" in paths)
            )
    if lines:
        raise SourceError("\n".join(lines))


def find_files(path: str) -> tuple[str, ...]:
    """List the files of a path or pattern, sorted; URLs without ``*`` are trusted."""
    if is_url(path) and "*" not in path:
        return (path,)
    if "://" in path:
        return _find_remote(path)
    if Path(path).exists() or "*" not in path:
        return (path,) if Path(path).exists() else ()
    # glob has no fixed order, and later tiles of a mosaic cover earlier ones
    found = sorted(glob.glob(_pattern(path)))
    return tuple(file for file in found if not file.lower().endswith(_SIDECARS))


def _pattern(path: str) -> str:
    """Write a path for glob: only ``*`` is a pattern, and no folder that is really named so."""
    literal, parts = "", []
    for part in Path(path).parts:
        literal = os.path.join(literal, part)
        plain = "*" not in part or os.path.isdir(literal)
        parts.append(glob.escape(part) if plain else _MAGIC.sub(r"[\1]", part))
    return os.path.join(*parts)


def _find_remote(path: str) -> tuple[str, ...]:
    import fsspec

    from hmx.ingest.readers.rasters import reading

    with reading(path):
        system, inner = fsspec.core.url_to_fs(path)
        found = system.glob(_MAGIC.sub(r"[\1]", inner))
        return tuple(sorted(system.unstrip_protocol(file) for file in found))


def is_current(catalog: CubeCatalog) -> bool:
    """Return True if the cube is complete, undamaged and made of the catalog's files."""
    if damage_of(catalog.cube.path) is not None:
        return False
    known = known_of(catalog, attributes(catalog.cube.path))
    return bool(known) and recipe_of(catalog, known) == known


def known_of(catalog: CubeCatalog, attrs: dict[str, Any]) -> SourceManifest:
    """Return the manifest of the existing cube in the current format; empty without a cube."""
    return settled(catalog, finished_manifest(attrs))


def note_of(catalog: CubeCatalog) -> str | None:
    """Describe what happens to a cube of an older hmx; ``None`` for other cubes."""
    known = finished_manifest(attributes(catalog.cube.path))
    if not is_older(known):
        return None
    missing = rasters_gone(catalog, known)
    rules = "which read scale tags, masks and ranges by other rules"
    if not missing:
        return f"it was made by an older hmx, {rules}, and its rasters are there: built anew"
    listed = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return (
        f"it was made by an older hmx, {rules}, and rasters of it are gone ({listed}): kept as it "
        "is. To build it anew, bring them back"
    )
