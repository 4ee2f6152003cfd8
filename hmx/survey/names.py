"""Names: the date or month in the name of a file, and files that differ in it alone.

A path is cut into literals and tokens (``2000``, ``2000-02``, ``20000218``, ``2000049``). Paths
with the same literals are one group. A token that is the same in all paths of a group is part
of the name (``v2020``); the one that differs is the step. Nothing is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Literal

_YEAR, _MONTH, _DAY = r"(?:1[89]|2[01])\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
# longest first: a year is also the start of a date
_TOKEN = re.compile(
    rf"(?<!\d)(?:(?P<day>{_YEAR}([-_.]?){_MONTH}\2{_DAY})"
    rf"|(?P<ordinal>{_YEAR}[-_]?(?:[0-2]\d\d|3[0-6]\d))"
    rf"|(?P<month>{_YEAR}[-_.]?{_MONTH})|(?P<year>{_YEAR}))(?!\d)"
)
_FORMATS = {"day": ("%Y", "%m", "%d"), "ordinal": ("%Y", "%j"), "month": ("%Y", "%m")}
_ISO = {"%Y-%m-%d", "%Y%m%d", "%Y-%j", "%Y%j", "%Y-%m"}  # what {time} stands for without a format
_NUMBER = re.compile(r"(?<!\d)(\d{1,2})(?!\d)")
# what distinguishes the tiles of a map: offsets of Earth Engine, MODIS, degrees, rows and columns
_TILE = re.compile(
    r"-?\d{10}-\d{10}|h\d{2}v\d{2}|[ns]\d{1,2}_?[ew]\d{1,3}|\d{1,2}[ns]_?\d{1,3}[ew]"
    r"|r\d+_?c\d+|x\d+_?y\d+|tile[_-]?\d+|part[_-]?\d+",
    re.IGNORECASE,
)

Kind = Literal["year", "month", "time", ""]


@dataclass(frozen=True)
class NameGroup:
    """Files whose names differ in one step, or one file without a step."""

    pattern: str  # their path, with ``{year}``, ``{month}`` or ``{time}`` where they differ
    kind: Kind  # of the step; empty for a single file
    files: dict[int | str, str]  # step, as a catalog writes it, to path; ascending
    trouble: str = ""  # why the names cannot be read as one series; empty if they can
    # the groups that were joined, whose names are spelled differently
    parts: tuple[NameGroup, ...] = ()

    @property
    def name(self) -> str:
        """The name of the variable: the file's name without its step and ending."""
        return variable_name((self.parts or (self,))[0].pattern)

    @property
    def dated(self) -> bool:
        """Whether the name of a single file has a date of its own."""
        return not self.kind and _TOKEN.search(_stem(self.pattern)) is not None


def variable_name(path: str) -> str:
    """Write the name of a file as that of a variable: lower case, without step and ending."""
    stem = re.sub(r"\{\w+(?::[^}]*)?\}", "", _stem(path))
    name = _word(_TILE.sub("", _TOKEN.sub("", stem))) or _word(stem)
    if not name and "/" in path:  # hm/2000.tif: the folder names it
        return variable_name(f"{path.rpartition('/')[0]}.")
    # a number alone would read as an index
    return f"map_{name}".strip("_") if not name or name[0].isdigit() else name


def _word(text: str) -> str:
    return re.sub(r"\W+|_+", "_", text).strip("_").lower()


def tile_pattern(path: str) -> str | None:
    """Write a path with ``*`` for what names its tile, or return ``None``."""
    folder, slash, name = path.rpartition("/")
    found = _TILE.sub("*", name)
    return None if found == name else folder + slash + found


def groups(paths: Iterable[str]) -> list[NameGroup]:
    """NameGroup paths by everything but their step, in the order of their names."""
    buckets: dict[tuple[str, ...], list[tuple[str, list[tuple[str, str]]]]] = {}
    for path in sorted(paths):
        literals, tokens = _cut(path)
        buckets.setdefault((*literals, *(kind for kind, _ in tokens)), []).append((path, tokens))
    found = []
    alone: list[str] = []
    for members in buckets.values():
        if len(members) == 1:
            alone.append(members[0][0])
        else:
            found += _series(members)
    found += _monthly(alone)
    return sorted(found, key=lambda group: group.pattern)


def joined(given: Iterable[NameGroup]) -> list[NameGroup]:
    """Join years of one name that is spelled differently: ``HM_2000.tif`` and ``hm 2005.TIF``.

    The pattern of what is joined has ``*`` where spellings differ, so it may match other files.
    """
    alike: dict[tuple[str, str], list[NameGroup]] = {}
    found = []
    for group in given:
        year = group if group.kind == "year" else _of_one_year(group)
        folder, _, name = year.pattern.rpartition("/")
        if year.kind != "year" or group.trouble or "{" in folder or name.count("{year}") != 1:
            found.append(group)
        else:
            alike.setdefault((folder, variable_name(name)), []).append(year)
    for (folder, _), parts in alike.items():
        steps = [step for part in parts for step in part.files]
        if len(parts) == 1 or len(set(steps)) < len(steps):
            found += [part if len(part.files) > 1 else _alone(part) for part in parts]
            continue
        ends = [part.pattern.rpartition("/")[2].partition("{year}") for part in parts]
        before = _common([start for start, _, _ in ends])
        after = _common([end[::-1] for _, _, end in ends])[::-1]
        files = {step: path for part in parts for step, path in part.files.items()}
        pattern = f"{folder}/" * bool(folder) + f"{before}{{year}}{after}"
        # the group of most years gives the name
        parts.sort(key=lambda part: -len(part.files))
        found.append(NameGroup(pattern, "year", dict(sorted(files.items())), parts=tuple(parts)))
    return sorted(found, key=lambda group: group.pattern)


def _of_one_year(group: NameGroup) -> NameGroup:
    """Read a single file whose name has one year as a series of one step."""
    found = _matches(group.pattern)
    if group.kind or len(found) != 1 or found[0][2] != "year":
        return group
    start, end, _ = found[0]
    path = group.pattern
    return NameGroup(f"{path[:start]}{{year}}{path[end:]}", "year", {int(path[start:end]): path})


def _alone(group: NameGroup) -> NameGroup:
    (path,) = group.files.values()
    return NameGroup(path, "", {"": path})


def _common(texts: Sequence[str]) -> str:
    """Return how all texts begin, and ``*`` for what differs."""
    same = list(takewhile(lambda letters: len({*letters}) == 1, zip(*texts, strict=False)))
    first = "".join(letter for letter, *_ in same)
    return first if len(set(texts)) == 1 else f"{first}*"


def _series(members: Sequence[tuple[str, list[tuple[str, str]]]]) -> list[NameGroup]:
    """Read paths with the same literals as a series."""
    columns = list(zip(*([text for _, text in tokens] for _, tokens in members), strict=True))
    varying = [at for at, texts in enumerate(columns) if len(set(texts)) > 1]
    first, tokens = members[0]
    if any(columns[at] != columns[varying[0]] for at in varying):
        several = " and ".join(tokens[at][1] for at in varying)
        return [
            NameGroup(path, "", {"": path}, f"its name has two dates that change, {several}")
            for path, _ in members
        ]
    kind, text = tokens[varying[0]]
    style = _style(kind, text)
    mark = "{year}" if kind == "year" else "{time}" if style in _ISO else f"{{time:{style}}}"
    pattern, at = "", 0
    for number, (found, (_, token)) in enumerate(zip(_matches(first), tokens, strict=True)):
        pattern += first[at : found[0]] + (mark if number in varying else token)
        at = found[1]
    pattern += first[at:]
    steps: dict[int | str, str] = {}
    for path, own in members:
        value = own[varying[0]][1]
        steps[int(value) if kind == "year" else _step(value, style)] = path
    return [NameGroup(pattern, "year" if kind == "year" else "time", dict(sorted(steps.items())))]


def _monthly(paths: Sequence[str]) -> list[NameGroup]:
    """Find the twelve months among files without a date; each other file is alone."""
    found, left = [], dict.fromkeys(paths)
    buckets: dict[tuple[str, str], dict[int, str]] = {}
    for path in paths:
        folder, slash, name = path.rpartition("/")
        numbers = list(_NUMBER.finditer(name))
        if not numbers:
            continue
        last = numbers[-1]
        key = (folder + slash + name[: last.start()], name[last.end() :])
        buckets.setdefault(key, {})[int(last[1])] = path
    for (before, after), members in buckets.items():
        if sorted(members) == list(range(1, 13)):
            short = any(f"{before}{month}{after}" in left for month in range(1, 10))
            mark = "{month:%-m}" if short else "{month}"
            files: dict[int | str, str] = {month: members[month] for month in sorted(members)}
            found.append(NameGroup(f"{before}{mark}{after}", "month", files))
            for path in members.values():
                del left[path]
    return [*found, *(NameGroup(path, "", {"": path}) for path in left)]


def _cut(path: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Cut a path into what stands between dates, and the dates with their kinds."""
    literals, tokens, at = [], [], 0
    for start, end, kind in _matches(path):
        literals.append(path[at:start])
        tokens.append((kind, path[start:end]))
        at = end
    return [*literals, path[at:]], tokens


def _matches(path: str) -> list[tuple[int, int, str]]:
    return [(m.start(), m.end(), str(m.lastgroup)) for m in _TOKEN.finditer(path) if m.lastgroup]


def _style(kind: str, text: str) -> str:
    """Write the format of a date: ``%Y_%m_%d`` of 2000_02_18."""
    if kind == "year":
        return "%Y"
    sign = "" if text.isdigit() else text[4]
    return sign.join(_FORMATS[kind])


def _step(text: str, style: str) -> str:
    """Write a date of a file name in ISO, or as it stands where {time} stands for it."""
    if style in _ISO:
        return text
    date = datetime.strptime(text, style)
    return date.strftime("%Y-%m" if "%d" not in style and "%j" not in style else "%Y-%m-%d")


def _stem(path: str) -> str:
    name = path.rstrip("/").rpartition("/")[2]
    return name.rpartition(".")[0] or name
