"""Sections: the parts of a catalog, each a value that says what is allowed in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hmx.bounds import (
    FilePath,
    Folds,
    Leads,
    Processes,
    Side,
)  # fmt: skip
from hmx.errors import did_you_mean
from hmx.map_options import PointsOptions
from hmx.names import storable
from hmx.options import ForecastOptions, ModelOptions, Numbers, Options
from hmx.source_options import Source, Steps

__all__ = ["Source", "Steps"]  # which other modules know from here

PLACES = ("workers", "scheduler", "cluster")  # to compute, one of which a catalog names
# forecasters beside the model, in the order in which they are told
BASELINES = ("persistence", "linear trend", "damped trend", "ridge", "gradient boosting")


def _as_labels(value: Any) -> Any:
    """Take one label for a list of one; a date of YAML is its ISO text."""
    labels = value if isinstance(value, list | tuple) else [value]
    plain = isinstance(value, list | tuple | int | str) or hasattr(value, "isoformat")
    whole = [n.isoformat() if hasattr(n, "isoformat") else n for n in labels]
    return whole if plain else value


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

    @field_validator("sources")
    @classmethod
    def _are_names(cls, sources: dict[str, Source]) -> dict[str, Source]:
        for name in sources:
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
