"""Options: the cube of a catalog, and the sources of its variables."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Protocol

import pandas as pd
from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from hmx.cube.dates import read_date
from hmx.cube.names import storable
from hmx.errors import did_you_mean
from hmx.features.scaling import Transform
from hmx.ingest.sources import ending_of, reader_of
from hmx.settings import YEARS, Area, Factor, FilePath, Nodata, Options, Shift, ValidRange, unique


class Steps(Options):
    """A run of years or months: ``start`` to ``stop`` inclusive, every ``step``."""

    start: Annotated[int, Field(ge=0, le=9999, strict=True)]
    stop: Annotated[int, Field(ge=0, le=9999, strict=True)]
    step: Annotated[int, Field(ge=1, le=9999, strict=True)] = 1

    @model_validator(mode="after")
    def _ascends(self) -> Steps:
        if self.stop < self.start:
            raise ValueError(
                f"stop={self.stop} comes before start={self.start}, and steps ascend. "
                f"Try start: {self.stop}, stop: {self.start}"
            )
        return self

    def values(self) -> list[int]:
        """List the years or months."""
        return list(range(self.start, self.stop + 1, self.step))


class BandRun(Options):
    """Steps of as many bands as a file has: from ``start``, every ``step``.

    A year steps by years, ``"2000-01"`` by months and ``"2000-01-31"`` by days.
    """

    start: int | str
    step: Annotated[int, Field(ge=1, le=9999, strict=True)] = 1

    @field_validator("start")
    @classmethod
    def _is_a_date(cls, start: int | str) -> int | str:
        year = isinstance(start, int)
        if year and not YEARS[0] <= int(start) <= YEARS[1]:
            raise ValueError(f"the year {start} does not exist: years are {YEARS[0]} to {YEARS[1]}")
        if not year and "T" in _iso(str(start)):
            raise ValueError("bands step by years, months or days. List the others under times")
        return start

    def values(self, count: int) -> list[int] | list[str]:
        """List the years or dates of a number of bands."""
        if isinstance(self.start, int):
            return [self.start + self.step * band for band in range(count)]
        # by the number of digits: 2000, 200001, 20000131
        unit = "days" if len(self.start.replace("-", "")) > 6 else "months"
        unit = "years" if len(self.start) == 4 else unit
        first = read_date(self.start)
        ahead = (pd.DateOffset(**{unit: self.step * band}) for band in range(count))
        return [str((first + offset).date()) for offset in ahead]


def _branch(value: Any) -> str:
    return "[run]" if isinstance(value, dict | Steps | BandRun) else "[list]"


def _iso(text: str) -> str:
    """Require an ISO date; return the text unchanged."""
    try:
        read_date(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an ISO date, and others are read differently from country to "
            "country. Write '2000-02-01', '20000201' or '2000-02-01T06:00'"
        ) from None
    return text


# tags, so that an error names the one form that was meant and not every form
Numbered = Annotated[
    Annotated[Steps, Tag("[run]")] | Annotated[list[int], Field(min_length=1), Tag("[list]")],
    Discriminator(_branch),
]


Banded = Annotated[
    Annotated[BandRun, Tag("[run]")]
    | Annotated[list[int | str], Field(min_length=1), Tag("[list]")]
    | Annotated[Literal["description"], Tag("[word]")],
    Discriminator(lambda given: "[word]" if isinstance(given, str) else _branch(given)),
]


Axis = Literal["year", "month", "time"]

# what stands for a step in a path, and how it is written there
_MARK = re.compile(r"\{(?P<axis>year|month|time)(?::(?P<style>[^{}]*))?\}")
_STYLES = {
    "year": re.compile(r"%Y"),
    "month": re.compile(r"%-?m"),
    "time": re.compile(r"(?:%[YmdjHM]|[^%/{}])+"),
}


class Source(Options):
    """The files of one variable.

    Parameters
    ----------
    path : str
        File or URL; ``{year}``, ``{month}`` or ``{time}`` stand for the step, and ``*``
        for what differs between the tiles of a mosaic. No other character is a pattern.
        ``{time:%Y_%m_%d}`` writes a date otherwise than in ISO form, of ``%Y %m %d %j %H %M``,
        and ``{month:%-m}`` a month without its zero.
    years, months : list of int or {start, stop, step}
        The steps that ``{year}`` or ``{month}`` takes, or of the bands, one each.
    times : list of str
        ISO dates that ``{time}`` takes, or of the bands.
    bands : list, {start, step} or "description", optional
        Years or ISO dates of the bands of a raster, one each, from a start on, or as
        the first year or ISO date in each band's description.
    variable : str, optional
        Name in a NetCDF or Zarr file.
    valid_range : tuple of float, optional
        Smallest and largest valid value, in the units of the cube (after ``scale``).
    nodata : float, optional
        A number of the file, before ``scale``, that means missing, in addition to what the file
        declares.
    scale, offset : float, optional
        Stored in the cube: file value x scale + offset. Default: the file's own tags; a
        NetCDF or Zarr variable is unpacked by its attributes first.
    units, long_name : str, optional
        Written to the cube.
    transform : {"none", "log"}
        What a covariate goes through before it is scaled: ``log`` suits population or
        GDP.
    align : {"average", "bilinear", "nearest"}, optional
        How to bring a raster on another grid to the target's; default: an error, or nearest for
        classes.
    categories : bool or mapping of int to str, optional
        Whether the numbers are codes of classes, or the classes' names by code; a map learns
        each class by itself.
    future : bool
        Whether a covariate is known ahead: it may have steps after the target's last
        one, which forecasts then read at their leads.
    """

    path: FilePath
    years: Numbered | None = None
    months: Numbered | None = None
    times: Annotated[list[str], Field(min_length=1)] | None = None
    bands: Banded | None = None
    variable: str | None = None
    valid_range: ValidRange | None = None
    nodata: Nodata | None = None
    scale: Factor | None = None
    offset: Shift | None = None
    units: str | None = None
    long_name: str | None = None
    align: Literal["average", "bilinear", "nearest"] | None = None
    categories: bool | dict[int, str] | None = None
    transform: Transform = "none"
    future: bool = False

    @field_validator("years", "months")
    @classmethod
    def _in_the_calendar(cls, given: Any, info: ValidationInfo) -> Any:
        low, high = YEARS if info.field_name == "years" else (1, 12)
        what = str(info.field_name).removesuffix("s")
        steps = given.values() if isinstance(given, Steps) else unique(given or [], f"the {what}")
        for step in steps:
            if not low <= step <= high:
                raise ValueError(f"the {what} {step} does not exist: {what}s are {low} to {high}")
        return given

    @field_validator("times")
    @classmethod
    def _each_once(cls, times: list[str] | None) -> list[str] | None:
        return None if times is None else unique([_iso(time) for time in times], "the time")

    @field_validator("times", mode="before")
    @classmethod
    def _texts(cls, times: Any) -> Any:
        # YAML parses 2000-01-31 as a date and 2000 as a number
        return [str(time) for time in times] if isinstance(times, list) else times

    @field_validator("bands", mode="before")
    @classmethod
    def _dates(cls, bands: Any) -> Any:
        """Write the dates that YAML has parsed as texts again."""
        if isinstance(bands, dict) and hasattr(bands.get("start"), "isoformat"):
            return {**bands, "start": str(bands["start"])}
        if isinstance(bands, list):
            return [str(band) if hasattr(band, "isoformat") else band for band in bands]
        return bands

    @field_validator("bands")
    @classmethod
    def _one_kind(cls, bands: Any) -> Any:
        if not isinstance(bands, list):
            return bands
        texts = [band for band in bands if isinstance(band, str)]
        if texts and len(texts) < len(bands):
            raise ValueError("bands are all years, or all dates. Write all as ISO texts")
        years = [band for band in bands if isinstance(band, int)]
        if any(not YEARS[0] <= year <= YEARS[1] for year in years):
            raise ValueError(f"years are {YEARS[0]} to {YEARS[1]}. For months write months: [...]")
        return unique([_iso(text) for text in texts] if texts else years, "the band")

    @model_validator(mode="after")
    def _one_axis(self) -> Source:
        axes = {"year": self.years, "month": self.months, "time": self.times}
        for mark in _MARK.finditer(self.path):
            if axes[mark["axis"]] is None:
                raise ValueError(f"the path has {mark[0]}, so it needs {mark['axis']}s: [...]")
            if mark["style"] is not None and not _STYLES[mark["axis"]].fullmatch(mark["style"]):
                raise ValueError(
                    f"the path has {mark[0]}, and a style is made of %Y %m %d %j %H %M and signs, "
                    "{month:%-m} of a month. Try {time:%Y_%m_%d}"
                )
        given = [key for key in ("years", "months", "times", "bands") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError("give one of years, months, times and bands")
        if self.in_bands:
            self._require_bands(given[0])
        if self.future and self.months is not None:
            raise ValueError(
                "months go round, so none lies ahead. Leave out future: true, or give years"
            )
        return self

    def _require_bands(self, key: str) -> None:
        """Refuse steps in bands if the format has no bands, or one band is chosen."""
        if reader_of(self.path).bands is None:
            mark = "{" + key.removesuffix("s") + "}"
            raise ValueError(
                f"{key} is given, but the path has no {mark}, and {ending_of(self.path)} files "
                "have times of their own, not bands. Leave it out, or put the mark in the path"
            )
        if self.variable is not None:
            raise ValueError(
                f"{key} makes each band a step, and variable: {self.variable!r} chooses one band. "
                "Leave out one of them"
            )

    @model_validator(mode="after")
    def _classes_stay_whole(self) -> Source:
        if not self.categories:
            return self
        if self.align not in (None, "nearest"):
            raise ValueError(
                f"align: {self.align} makes numbers between codes of classes, which mean nothing. "
                "Write align: nearest, or leave out categories"
            )
        if self.scale is not None or self.offset is not None or self.transform != "none":
            raise ValueError(
                "categories are codes, which have no scale, offset or transform. Leave these out"
            )
        # assigned past the validation, which would run this check again
        self.__dict__["align"] = "nearest"
        return self

    @property
    def axis(self) -> Axis | None:
        """Kind of the steps, or ``None`` for a single map or a file with its own time axis."""
        if self.years is not None:
            return "year"
        if self.months is not None:
            return "month"
        if isinstance(self.bands, BandRun | list):
            first = self.bands.start if isinstance(self.bands, BandRun) else self.bands[0]
            return "year" if isinstance(first, int) else "time"
        return None if self.times is None and self.bands is None else "time"

    @property
    def in_bands(self) -> bool:
        """Whether the steps are bands, and not files."""
        marks = {mark["axis"] for mark in _MARK.finditer(self.path)}
        return self.axis is not None and (self.bands is not None or self.axis not in marks)

    def steps(self) -> list[int] | list[str]:
        """List the steps in the order given; empty if only the file can list them."""
        found: Any = self.years or self.months or self.times or self.bands or []
        if isinstance(found, Steps):
            return found.values()
        return found if isinstance(found, list) else []

    def path_of(self, step: int | str) -> str:
        """Fill the step into the path; months have two digits, bands share one path."""
        if self.in_bands:
            return self.path
        return _MARK.sub(lambda mark: _written(mark, step), self.path)


def _written(mark: re.Match[str], step: int | str) -> str:
    """Write a step as its mark in a path has it; months have two digits."""
    style = mark["style"]
    if mark["axis"] == "month":
        return str(int(step)) if style == "%-m" else f"{int(step):02d}"
    return (
        str(step) if mark["axis"] == "year" or not style else read_date(str(step)).strftime(style)
    )


class CubeSection(Options):
    """The cube: its path, its sources, and the part of the target's rasters that it covers."""

    path: FilePath
    sources: dict[str, Source] = Field(min_length=1)
    target: str | None = "hm"
    region: Area | None = None  # in the CRS of the rasters

    @property
    def lead(self) -> str:
        """Source whose steps are the time axis: the target, or the first with a calendar."""
        axes = {name: source.axis for name, source in self.sources.items()}
        dated = [name for name, axis in axes.items() if axis in ("year", "time")]
        timed = [name for name, axis in axes.items() if axis is not None]
        return self.target or next(iter((*dated, *timed, *self.sources)))

    @property
    def monthly(self) -> tuple[str, ...]:
        """Covariates of a map job with an axis of months in addition to the calendar."""
        if self.target is not None or self.sources[self.lead].axis == "month":
            return ()
        return tuple(name for name, source in self.sources.items() if source.axis == "month")

    @field_validator("sources")
    @classmethod
    def _are_names(cls, sources: dict[str, Source]) -> dict[str, Source]:
        for name in sources:
            # the name of a source becomes that of an array in the store
            if problem := storable(name):
                raise ValueError(f"the name {name[:60]!r} {problem}. Call the source otherwise")
        return sources

    @model_validator(mode="after")
    def _months_agree(self) -> CubeSection:
        for name in self.monthly:
            first, own = (sorted(self.sources[n].steps()) for n in (self.monthly[0], name))
            if own != first:
                raise ValueError(
                    f"months of {name} are {own}, and those of {self.monthly[0]} {first}: a cube "
                    f"has one axis of months. List the same under sources.{name}"
                )
        return self

    @model_validator(mode="after")
    def _target_is_a_source(self) -> CubeSection:
        if self.target is None:
            ahead = [name for name, source in self.sources.items() if source.future]
            if ahead:
                raise ValueError(
                    "future: true belongs to forecasts, and a map of points looks at what is "
                    f"past. Leave it out of sources.{ahead[0]}"
                )
            return self
        if self.target not in self.sources:
            names = ", ".join(self.sources)
            near = did_you_mean(self.target, self.sources)
            raise ValueError(f"target {self.target!r} is not among the sources ({names}).{near}")
        coded = [name for name, source in self.sources.items() if source.categories]
        if coded:
            raise ValueError(
                f"sources.{coded[0]} has categories, and a forecast reads its covariates as "
                "quantities. Give it a raster of 0 and 1 for each class that matters"
            )
        if self.sources[self.target].future:
            raise ValueError(
                f"future: true belongs to covariates, and {self.target} is what is forecast. "
                f"Leave it out of sources.{self.target}"
            )
        return self


class CubeCatalog(Protocol):
    """A catalog as ingest needs it; both jobs have one."""

    @property
    def name(self) -> str:
        """Title of the cube."""

    @property
    def cube(self) -> CubeSection:
        """Path and sources of the cube."""
