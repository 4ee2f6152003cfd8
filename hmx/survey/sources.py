"""Sources: the files of a folder as the variables of a cube, with what each guess rests on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hmx.cube.dates import first_date
from hmx.cube.grid import Grid
from hmx.errors import HmxError
from hmx.ingest.manifest import find_files
from hmx.ingest.mosaic import require_apart
from hmx.ingest.options import Source
from hmx.ingest.sources import endings, open_part
from hmx.settings import parse
from hmx.survey.headers import SourceBand, Values, headers_of, sampled
from hmx.survey.names import NameGroup, groups, joined, tile_pattern, variable_name

_SAMPLED = 12  # files of one series whose pixels are looked at
_MOST_BANDS = 24  # of a file that are written as sources of their own
_APART = 20.0  # times: sizes of two steps that differ so much are in different units
_DENSE = 0.2  # share of the whole numbers of its range that a quantity has at least
_CLASS = re.compile(r"class|lulc|land_?use|cover_?type|soil_?type|geolog|litholog|biome|ecoregion")
_KEYS = {"year": "years", "month": "months", "time": "times"}


@dataclass(frozen=True)
class Found:
    """One variable of a folder."""

    name: str  # of the variable
    path: str  # of its files, relative to the folder
    # ``year``, ``month`` or ``time`` of files or bands; ``own`` where the file has a time
    # axis; empty for a map without time
    kind: str = ""
    steps: tuple[int | str, ...] = ()  # as a catalog writes them
    options: dict[str, Any] = field(default_factory=dict)  # further keys of the catalog
    headers: tuple[SourceBand, ...] = ()  # of each step, or of the file
    values: Values | None = None  # what a sample of pixels shows
    grid: Grid | None = None  # of the first step
    remarks: tuple[str, ...] = ()  # guesses about this variable, one sentence each
    trouble: str = ""  # why it cannot be read; it is then left out
    files: int = 1  # how many files it has

    def saying(self, *remarks: str) -> Found:
        """Return the variable with further remarks."""
        return replace(self, remarks=(*self.remarks, *filter(None, remarks)))

    @property
    def classes(self) -> bool:
        """Whether the numbers look like codes of classes."""
        known = self.values
        if known is None or known.classes is None or known.high < 3:
            return False
        palette = any(header.palette for header in self.headers)
        # codes such as 11, 311, 512 leave most whole numbers out; a temperature does not
        gaps = known.classes < _DENSE * (known.high - known.low + 1)
        return palette or gaps or _CLASS.search(self.name) is not None

    @property
    def doubt(self) -> str:
        """A sentence if the numbers may be codes of classes, and nothing decides it."""
        known = self.values
        if known is None or self.classes or not known.whole or known.low < 0 or known.high < 3:
            return ""
        named = _CLASS.search(self.name) is not None
        if not named and (self.kind or known.classes is None):  # such as months of temperatures
            return ""
        listed = "many" if known.classes is None else f"{known.classes}"
        return (
            f"check: it has {listed} whole numbers from {known.low:g} to {known.high:g}, read as a "
            "quantity; if they are classes, write categories: true"
        )


def raster_files(folder: Path) -> list[str]:
    """List the rasters of a folder and of its subfolders, relative to it, without sidecars."""
    found, known = [], endings()
    for at, folders, names in os.walk(folder, followlinks=False):
        stores = [name for name in folders if name.lower().endswith(".zarr")]
        folders[:] = sorted(
            n for n in folders if n not in stores and n[0] not in "._" and n != "build"
        )
        for name in (*names, *stores):
            if name.lower().endswith(known) and not name.startswith("."):
                path = os.path.relpath(os.path.join(at, name), folder)
                found.append(path.replace(os.sep, "/"))
    return sorted(found)


def sources_in(folder: Path, on_file: Callable[[int, int], None]) -> list[Found]:
    """Look at all rasters of a folder."""
    paths = raster_files(folder)
    headers: dict[str, list[SourceBand]] = {}
    for number, path in enumerate(paths, 1):
        headers[path] = headers_of(str(folder / path))
        on_file(number, len(paths))
    found = []
    for group in _mosaics(folder, _joined(folder, groups(paths)), headers):
        found += _variables(folder, group, headers)
    root = f"{folder}{os.sep}"
    found = [
        replace(
            each,
            trouble=each.trouble.replace(root, ""),
            remarks=tuple(text.replace(root, "") for text in each.remarks),
        )
        for each in found
    ]
    return _distinct(_strays(found))


def _joined(folder: Path, given: Sequence[NameGroup]) -> list[NameGroup]:
    """Join files that are spelled differently, if one pattern matches them and no others."""
    found: list[NameGroup] = []
    for group in joined(given):
        exact = all(
            find_files(_options(folder, group, step)["path"]) == (str(folder / path),)
            for step, path in (group.files.items() if group.parts else ())
        )
        parts = {*group.files.values(), *(part.pattern for part in group.parts)}
        found += [group] if exact else [own for own in given if own.pattern in parts]
    return found


def _mosaics(
    folder: Path, given: Sequence[NameGroup], headers: dict[str, list[SourceBand]]
) -> list[NameGroup]:
    """Join groups that differ in the name of their tile alone, if the tiles lie side by side."""
    joined: dict[str, list[NameGroup]] = {}
    for group in given:
        joined.setdefault(tile_pattern(group.pattern) or group.pattern, []).append(group)
    found: list[NameGroup] = []
    for pattern, members in joined.items():
        whole = len(members) > 1 and len({tuple(group.files) for group in members}) == 1
        if not whole or "*" not in pattern:
            found += members
            continue
        merged = replace(members[0], pattern=pattern)
        for step, first in merged.files.items():
            files = [str(folder / group.files[step]) for group in members]
            try:
                source = parse(Source, _options(folder, merged, step))
                part = open_part(source, sorted(files), pattern)
                require_apart(pattern, part.tiles, pattern)
                apart = sorted(find_files(source.path)) == sorted(files)
                headers[first] = [replace(headers[first][0], grid=part.grid, trouble="")]
            except (HmxError, IndexError):
                apart = False
            if not apart:
                break
        found += [merged] if apart else members
    return found


def _options(folder: Path, group: NameGroup, step: int | str) -> dict[str, Any]:
    """Write the options of one step of a group."""
    if not group.kind:
        return {"path": str(folder / group.pattern)}
    raw = {"path": str(folder / group.pattern), _KEYS[group.kind]: list(group.files)}
    return {"path": parse(Source, raw).path_of(step)}


def _variables(folder: Path, group: NameGroup, headers: dict[str, list[SourceBand]]) -> list[Found]:
    """Make the variables of a group: one, or one for each band."""
    plain = Found(group.name, group.pattern, group.kind, tuple(group.files),
                  files=len(group.files))  # fmt: skip
    if group.trouble:
        return [replace(plain, kind="", steps=(), trouble=group.trouble)]
    own = {step: headers[path] for step, path in group.files.items()}
    bad = {step: h[0].trouble for step, h in own.items() if h[0].trouble and len(h) == 1}
    good = {step: h for step, h in own.items() if step not in bad}
    remarks = [f"left out: {step}, for {why}" for step, why in bad.items() if good]
    if group.parts:
        spelled = ", ".join(next(iter(part.files.values())) for part in group.parts)
        remarks.append(f"files whose names are spelled differently are one series: {spelled}")
    if not good:
        return [replace(plain, kind="", steps=(), trouble=next(iter(bad.values())))]
    counts = {len(h) for h in good.values()}
    if len(counts) > 1:
        several = f"its files have {' or '.join(map(str, sorted(counts)))} bands"
        return [replace(plain, kind="", steps=(), trouble=several)]
    first = next(iter(good.values()))
    plain = replace(plain, steps=tuple(good), remarks=tuple(remarks))
    if not group.kind and len(first) > 1 and first[0].title != first[0].variable:
        series = _in_bands(plain, first)
        if series is not None:
            return [_looked(folder, series, first)]
    found = []
    for at in range(min(len(first), _MOST_BANDS)):
        column = [h[at] for h in good.values()]
        found.append(_looked(folder, _of_band(plain, column), column))
    if len(first) > _MOST_BANDS:
        found[-1] = found[-1].saying(
            f"{group.pattern} has {len(first)} bands, and only the first {_MOST_BANDS} are listed"
        )
    return found


def _of_band(plain: Found, column: Sequence[SourceBand]) -> Found:
    """Name a variable by its band or by its name in the file."""
    header = column[0]
    steps = header.steps
    made = replace(plain, headers=tuple(column))
    if steps and not plain.kind:
        made = replace(made, kind="own", steps=steps)
    if header.variable is None:
        return made
    if header.variable == header.title:  # of a NetCDF or Zarr file
        return replace(made, name=variable_name(header.title), options={"variable": header.title})
    title = re.sub(r"\W+", "_", header.title).strip("_").lower() or f"b{header.variable}"
    return replace(made, name=f"{plain.name}_{title}", options={"variable": header.variable})


def _in_bands(plain: Found, bands: Sequence[SourceBand]) -> Found | None:
    """Read the bands of a file as steps, if their descriptions or the name of the file allow it."""
    dates = [first_date(header.title) for header in bands]
    count = len(bands)
    made = replace(plain, headers=tuple(bands))
    if None not in dates and len(set(dates)) == count:
        years = all(len(str(date)) == 4 for date in dates)
        steps = tuple(int(str(d)) if years else str(d) for d in dates)
        kind = "year" if years else "time"
        return replace(made, kind=kind, steps=steps, options={"bands": "description"}).saying(
            f"its {count} bands are steps, by their descriptions"
        )
    span = re.findall(r"(?<!\d)((?:1[89]|2[01])\d\d)(?!\d)", plain.path)
    if len(span) >= 2 and count > 2:
        start, stop = int(span[-2]), int(span[-1])
        if stop > start and (stop - start) % (count - 1) == 0:
            step = (stop - start) // (count - 1)
            steps = tuple(range(start, stop + 1, step))
            return replace(
                made, kind="year", steps=steps, options={"bands": {"start": start, "step": step}}
            ).saying(f"its {count} bands are the years {start} to {stop}, by its name")
    if count == 12 and not any(header.title for header in bands):
        return replace(
            made, kind="month", steps=tuple(range(1, 13)),
            options={"months": {"start": 1, "stop": 12}},
        ).saying("its 12 bands are the months of every year")  # fmt: skip
    return None


def _looked(folder: Path, found: Found, column: Sequence[SourceBand]) -> Found:
    """Sample the pixels of a variable, and note what differs among its files."""
    stride = max(1, -(-len(column) // _SAMPLED))
    sizes: dict[str, float] = {}
    values: Values | None = None
    for header in [*column[::stride], *column[-1:]]:
        if header.file in sizes and header.bands == 1:
            continue
        one = sampled(header)
        if one is not None:
            values = one if values is None else values.with_(one)
            sizes[os.path.relpath(header.file, folder)] = one.middle
    made = replace(found, values=values, grid=column[0].grid)
    if values is None:
        return replace(made, trouble="the pixels that were looked at have no data")
    few, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if found.kind and sizes[few] > 0 and sizes[most] > _APART * sizes[few]:
        made = made.saying(
            f"check: {few} has values up to about {sizes[few]:.3g} and {most} up to about "
            f"{sizes[most]:.3g}, so their units may differ"
        )
    nodata = {"none" if h.nodata is None else f"{h.nodata:g}" for h in column}
    if len(nodata) > 1:
        made = made.saying(
            f"its files declare different nodata ({', '.join(sorted(nodata))}), each read by its "
            "own"
        )
    if any(header.packed != (1.0, 0.0) for header in column):
        made = made.saying("scale and offset tags of the files are applied")
    base = column[0].grid
    grids = [(h.file, h.grid) for h in column if base is not None and h.grid is not None]
    other = [(file, why) for file, grid in grids if base and (why := base.difference(grid))]
    if other:
        first = os.path.relpath(other[0][0], folder)
        more = f" and {len(other) - 1} more are" if other[1:] else " is"
        made = made.saying(
            f"check: {first}{more} on another grid than the first file "
            f"({other[0][1]}) and resampled to it, whose blur looks like change"
        )
        made = replace(made, options={**made.options, "align": ""})
    return made


def _strays(found: Sequence[Found]) -> list[Found]:
    """Leave out single dated files whose name starts like a series: a step with an odd name."""
    series = {each.name: os.path.basename(each.headers[0].file)
              for each in found if each.kind and each.headers}  # fmt: skip
    return [
        replace(
            each,
            trouble=f"its name does not fit the series {near}. If it belongs there, rename it "
            f"like {series[near]}",
        )
        if (near := _near(each, series))
        else each
        for each in found
    ]


def _near(each: Found, series: Iterable[str]) -> str:
    dated = NameGroup(each.path, "", {}).dated
    if each.kind or each.trouble or not dated:
        return ""
    return next((name for name in sorted(series) if each.name.split("_")[0] == name), "")


def _distinct(found: Sequence[Found]) -> list[Found]:
    """Give every variable a name of its own: that of its folder in front, then a number."""
    taken: dict[str, int] = {}
    named = {}
    # sources that are left out need no name of their own
    for at, each in sorted(enumerate(found), key=lambda item: bool(item[1].trouble)):
        name = each.name
        if name in taken and "/" in each.path:
            name = f"{variable_name(each.path.rpartition('/')[0])}_{name}"
        while name in taken and not each.trouble:
            taken[each.name] += 1
            name = f"{each.name}_{taken[each.name]}"
        taken[name] = 1
        named[at] = replace(each, name=name)
    return [named[at] for at in range(len(found))]
