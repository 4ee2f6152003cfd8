"""Sections: the parts of a catalog, each a value that says what is allowed in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hmx.bounds import (
    MOST_STEPS,
    YEARS,
    Factor,
    FilePath,
    Folds,
    Leads,
    Nodata,
    Processes,
    Shift,
    Side,
    unique,
)  # fmt: skip
from hmx.covariates import Transform
from hmx.errors import did_you_mean
from hmx.map_options import PointsOptions
from hmx.options import ForecastOptions, ModelOptions, Numbers, Options

PLACES = ("workers", "scheduler", "cluster")  # to compute, one of which a catalog names
# forecasters beside the model, in the order in which they are told
BASELINES = ("persistence", "linear trend", "damped trend", "ridge", "gradient boosting")


def _as_labels(value: Any) -> Any:
    """Take one label for a list of one; a date of YAML is its ISO text."""
    labels = value if isinstance(value, list | tuple) else [value]
    plain = isinstance(value, list | tuple | int | str) or hasattr(value, "isoformat")
    whole = [n.isoformat() if hasattr(n, "isoformat") else n for n in labels]
    return whole if plain else value


class Steps(Options):
    """A run of years or months: ``start`` to ``stop`` inclusive, every ``step``."""

    start: Annotated[int, Field(strict=True)]
    stop: Annotated[int, Field(strict=True)]
    step: Annotated[int, Field(ge=1, le=9999, strict=True)] = 1

    @model_validator(mode="after")
    def _ascends(self) -> Steps:
        if self.stop < self.start:
            raise ValueError(
                f"stop={self.stop} comes before start={self.start}, and steps ascend. "
                f"Try start: {self.stop}, stop: {self.start}"
            )
        if self.stop - self.start >= MOST_STEPS * self.step:
            raise ValueError(f"a run has at most {MOST_STEPS:,} steps. Give a larger step")
        return self

    def values(self) -> list[int]:
        """List the years or months."""
        return list(range(self.start, self.stop + 1, self.step))


def _branch(value: Any) -> str:
    return "[run]" if isinstance(value, dict | Steps) else "[list]"


Numbered = Annotated[
    Annotated[Steps, Tag("[run]")] | Annotated[list[int], Field(min_length=1), Tag("[list]")],
    Discriminator(_branch),
]


class Source(Options):
    """Where one variable comes from.

    Parameters
    ----------
    path : str
        File, URL or glob; ``{year}``, ``{month}`` or ``{time}`` stand for the step.
    years, months : list of int or {start, stop, step}
        The steps that ``{year}`` or ``{month}`` takes.
    times : list of str
        ISO dates that ``{time}`` takes.
    variable : str, optional
        Name in a NetCDF or Zarr file.
    valid_range : tuple of float, optional
        Smallest and largest valid value, in the units of the cube (after ``scale``).
    nodata : float, optional
        A number of the file, before ``scale``, that means missing, beside what the file
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
        How to bring a raster on another grid to the target's; default: an error.
    future : bool
        Whether a covariate is known ahead: it may have steps after the target's last
        one, which forecasts then read at their leads.
    """

    path: FilePath
    years: Numbered | None = None
    months: Numbered | None = None
    times: Annotated[list[str], Field(min_length=1)] | None = None
    variable: str | None = None
    valid_range: tuple[float, float] | None = None
    nodata: Nodata | None = None
    scale: Factor | None = None
    offset: Shift | None = None
    units: str | None = None
    long_name: str | None = None
    align: Literal["average", "bilinear", "nearest"] | None = None
    transform: Transform = "none"
    future: bool = False

    @field_validator("valid_range")
    @classmethod
    def _ascending(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and limits[0] >= limits[1]:
            raise ValueError(f"the range ascends. Try [{limits[1]:g}, {limits[0]:g}]")
        return limits

    @field_validator("years", "months")
    @classmethod
    def _in_the_calendar(cls, given: Any, info: ValidationInfo) -> Any:
        low, high = YEARS if info.field_name == "years" else (1, 12)
        what = str(info.field_name).removesuffix("s")
        steps = given.values() if isinstance(given, Steps) else unique(given or [], f"the {what}")
        for step in steps:
            if not low <= step <= high:
                raise ValueError(f"the {what} {step} is none: {what}s are {low} to {high}")
        return given

    @field_validator("times")
    @classmethod
    def _each_once(cls, times: list[str] | None) -> list[str] | None:
        return None if times is None else list(unique(times, "the time"))

    @field_validator("times", mode="before")
    @classmethod
    def _texts(cls, times: Any) -> Any:
        return [str(time) for time in times] if isinstance(times, list) else times

    @model_validator(mode="after")
    def _one_axis(self) -> Source:
        axes = {"{year}": self.years, "{month}": self.months, "{time}": self.times}
        for mark, steps in axes.items():
            key = mark.strip("{}") + "s"
            if mark in self.path and steps is None:
                raise ValueError(f"the path has {mark}, so it needs {key}: [...]")
            if steps is not None and mark not in self.path:
                raise ValueError(f"{key} is given, but the path has no {mark}")
        if sum(steps is not None for steps in axes.values()) > 1:
            raise ValueError("give one of years, months and times")
        if self.future and self.months is not None:
            raise ValueError(
                "months go round, so none lies ahead. Leave out future: true, or give years"
            )
        return self

    @property
    def axis(self) -> Literal["year", "month", "time"] | None:
        """Which mark the path carries, or ``None`` for a single file."""
        if self.years is not None:
            return "year"
        if self.months is not None:
            return "month"
        return None if self.times is None else "time"

    def steps(self) -> list[int] | list[str]:
        """List the steps of the source's axis, in the order given."""
        found = self.years or self.months or self.times or []
        return found.values() if isinstance(found, Steps) else found

    def path_of(self, step: int | str) -> str:
        """Fill the step into the path; months have two digits."""
        if self.axis == "month":
            return self.path.replace("{month}", f"{int(step):02d}")
        return self.path.replace("{" + str(self.axis) + "}", str(step))


class CubeSection(Options):
    """The cube: where it lies and what it is made of."""

    path: FilePath
    sources: dict[str, Source] = Field(min_length=1)
    target: str | None = "hm"

    @property
    def lead(self) -> str:
        """Source whose steps are the time axis: the target, or the first with a calendar."""
        axes = {name: source.axis for name, source in self.sources.items()}
        dated = [name for name, axis in axes.items() if axis in ("year", "time")]
        timed = [name for name, axis in axes.items() if axis is not None]
        return self.target or next(iter((*dated, *timed, *self.sources)))

    @property
    def monthly(self) -> tuple[str, ...]:
        """Covariates of a map with months of their own, beside a calendar."""
        if self.target is not None or self.sources[self.lead].axis == "month":
            return ()
        return tuple(name for name, source in self.sources.items() if source.axis == "month")

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
        if self.sources[self.target].future:
            raise ValueError(
                f"future: true belongs to covariates, and {self.target} is what is forecast. "
                f"Leave it out of sources.{self.target}"
            )
        return self


class PointsSection(PointsOptions):
    """Samples of a quantity: a CSV, a GeoPackage or another vector file, and its columns."""

    path: FilePath


class ModelSection(ModelOptions):
    """The network, and the folder its bundle is saved in."""

    path: FilePath | None = None


class ForecastSection(ForecastOptions):
    """The forecast, and the store it is written to."""

    output: FilePath | None = None


class BacktestOptions(Options):
    """What a backtest scores.

    Parameters
    ----------
    h : int
        Leads to score, as far as there is truth.
    origins : tuple of int or str, optional
        Steps to forecast from, as labels of the time axis. Default: the last that
        leaves a target and, with enough history, the one that leaves most leads.
    folds : int, optional
        Folds of spatial cross-validation: each origin is refitted so often, and
        scored on the blocks that were left out.
    level : tuple of float
        Central intervals whose coverage is told, percent.
    baselines : tuple of str, optional
        Forecasters beside the model. Default: all, or persistence and trends alone
        on a grid of 4 Mpx and more.
    tile : int
        Side of the pieces that tasks score, px; it changes no score.
    precision : str
        Of the forecasts: ``float32``, or ``float64`` for proofs.
    """

    h: Leads = 3
    origins: Annotated[tuple[int | str, ...], BeforeValidator(_as_labels)] | None = None
    folds: Folds | None = None
    level: Numbers = (50.0, 80.0, 95.0)
    baselines: Annotated[tuple[str, ...], BeforeValidator(_as_labels)] | None = None
    tile: Side = 256
    precision: Literal["float32", "float64"] = "float32"

    @field_validator("baselines")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in BASELINES:
                raise ValueError(
                    f"{name!r} is none of these: {', '.join(BASELINES)}."
                    f"{did_you_mean(name, BASELINES)}"
                )
        return names

    @field_validator("level")
    @classmethod
    def _percent(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not levels or any(not 0 < level < 100 for level in levels):
            raise ValueError("a level is a percentage between 0 and 100. Try 80.")
        return tuple(sorted(set(levels)))


class EvaluateSection(BacktestOptions):
    """The backtest, zones to score apart, and the folder of its scorecard."""

    zones: FilePath | None = None
    output: FilePath | None = None


class TlsSection(Options):
    """Certificates of a scheduler at ``tls://``: PEM files."""

    ca: FilePath
    cert: FilePath
    key: FilePath


class DaskSection(Options):
    """Where tiles are computed: on this machine, by a running scheduler, or in batch jobs.

    Parameters
    ----------
    workers : int, optional
        Processes of this machine. Default: this process alone.
    scheduler : str, optional
        Address of a running Dask scheduler.
    tls : {ca, cert, key}, optional
        PEM files for a scheduler at ``tls://``.
    cluster : {"slurm", "pbs", "lsf", "sge", "htcondor", "moab", "oar"}, optional
        Batch system that starts the workers. Every key that is not listed here
        is then an argument of dask-jobqueue: ``cores``, ``memory``, ``queue`` ...
    jobs : int, optional
        Jobs to submit to it; default: 1.
    """

    model_config = ConfigDict(extra="allow")  # the fields of Options stay frozen

    workers: Processes | None = None
    scheduler: str | None = None
    tls: TlsSection | None = None
    cluster: Literal["slurm", "pbs", "lsf", "sge", "htcondor", "moab", "oar"] | None = None
    jobs: Processes | None = None

    @model_validator(mode="after")
    def _only_a_cluster_takes_more(self) -> DaskSection:
        if self.cluster is None and self.model_extra:
            raise ValidationError.from_exception_data(
                "dask",
                [
                    {"type": "extra_forbidden", "loc": (key,), "input": value}
                    for key, value in self.model_extra.items()
                ],
            )
        return self

    @model_validator(mode="after")
    def _one_place(self) -> DaskSection:
        given = {name: getattr(self, name) for name in PLACES if getattr(self, name) is not None}
        if len(given) > 1:
            both = " and ".join(f"{name}={value!r}" for name, value in given.items())
            raise ValueError(f"{both} name two places. Give one of {', '.join(PLACES)}")
        for name, place in (("tls", "scheduler"), ("jobs", "cluster")):
            if getattr(self, name) is not None and place not in given:
                raise ValueError(f"{name} belongs to a {place}. Add {place}: or leave out {name}")
        return self


class TrackSection(Options):
    """Where training is logged besides the CSV that is always written."""

    wandb: Literal["offline", "online", "disabled"] = "disabled"
    project: str = "hmx"
