"""Described: what the ``bundle.json`` of a model may say, checked before anything is made of it.

A model may come from a stranger, or from a disk that lost some of it. What is written here
has a type and a bound for every value, so that no number of a file decides how much memory is
taken or how long a loop runs. Beyond types, the parts must fit together: each variable has its
scale, tables have a row for each stratum, quantiles ascend. What holds here can be computed
with; shapes of weights are checked where networks are built.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field, field_validator, model_validator

from hmx.bounds import Leads, Members, Radius
from hmx.calibration import PROBABILITIES, Calibration
from hmx.conformal import Conformal
from hmx.context import Context
from hmx.covariates import Transform
from hmx.errors import BadArgument, BundleError
from hmx.map_options import MapperOptions, TargetTransform
from hmx.map_spec import BandScaler, MapSpec, TargetScaler
from hmx.options import ModelOptions
from hmx.parsing import Options, parse
from hmx.scaling import Scaler
from hmx.spec import Spec

# a whole number that arrays can hold stays one: the digest of a model is that of its text
Real = Annotated[int, Field(ge=-(2**53), le=2**53)] | float
Name = Annotated[str, Field(min_length=1, max_length=256)]
Names = Annotated[tuple[Name, ...], Field(max_length=1000)]
Value = Annotated[Real, Field(ge=-1e30, le=1e30)]
Positive = Annotated[Real, Field(gt=1e-30, le=1e30)]
Metres = Annotated[Real, Field(gt=0, le=1e8)]
Share = Annotated[Real, Field(ge=0, le=1)]
Rows = Annotated[tuple[tuple[Value, ...], ...], Field(max_length=64)]
Shape = Annotated[
    tuple[Annotated[int, Field(ge=0, le=2**40, strict=True)], ...], Field(max_length=8)
]

Form = TypeVar("Form", bound=Options)


class _Variables(Options):
    """What models of both jobs are fed with."""

    target: Name
    dynamic: Names
    static: Names
    cadence: Name
    pixel_size_m: tuple[Metres, Metres]
    valid_range: tuple[Value | None, Value | None] | None = None
    units: Annotated[str, Field(max_length=256)] | None = None
    members: Members = 1
    transforms: dict[str, Transform] = Field(default_factory=dict)

    @field_validator("valid_range")
    @classmethod
    def _ascending(cls, limits: Any) -> Any:
        if limits is not None and None not in limits and limits[0] >= limits[1]:
            raise ValueError("the range ascends")
        return limits

    @model_validator(mode="after")
    def _each_once(self) -> _Variables:
        names = [self.target, *self.dynamic, *self.static]
        if len(set(names)) != len(names):
            raise ValueError("a variable stands twice")
        if strange := set(self.transforms) - set(names[1:]):
            raise ValueError(f"transforms of {sorted(strange)[0]!r}, which is no covariate")
        return self


class _ContextForm(Options):
    radii: Annotated[tuple[Radius, ...], Field(max_length=32)]
    maxima: bool = False
    distance: bool
    threshold: Annotated[Real, Field(ge=0, le=1e30)] = 0.0
    terrain: Names = ()


class _SpecForm(_Variables):
    network: ModelOptions
    h: Leads
    context: _ContextForm
    future: Names = ()

    @model_validator(mode="after")
    def _known(self) -> _SpecForm:
        if self.future != self.dynamic[: len(self.future)]:
            raise ValueError("covariates known ahead come first among the dynamic ones")
        if strange := set(self.context.terrain) - set(self.static):
            raise ValueError(f"terrain {sorted(strange)[0]!r} is no static covariate")
        return self


class _ScalerForm(Options):
    mean: dict[str, Value]
    std: dict[str, Positive]
    change: Annotated[tuple[Annotated[Real, Field(ge=0, le=1e30)], ...], Field(min_length=1)]
    step: Annotated[Real, Field(ge=0, le=1e30)] = 0.0


class _CalibrationForm(Options):
    ranks: Annotated[tuple[Rows, ...], Field(max_length=1000)]
    counts: tuple[tuple[Annotated[Real, Field(ge=0)], ...], ...]
    nodes: Annotated[tuple[Annotated[Real, Field(ge=0, le=1e6)], ...], Field(min_length=1)]
    stretch: tuple[Annotated[Real, Field(ge=0, le=1e30)], ...]
    far: Share = 1.0

    @model_validator(mode="after")
    def _tables(self) -> _CalibrationForm:
        _require_ascending(self.nodes, "nodes")
        if not len(self.ranks) == len(self.counts) == len(self.stretch):
            raise ValueError("ranks, counts and stretch have an entry for each lead")
        for table, counts in zip(self.ranks, self.counts, strict=True):
            _require_table(table, len(self.nodes), "ranks")
            if len(counts) != len(self.nodes):
                raise ValueError("counts have a number for each node")
        return self


class _BandScalerForm(Options):
    mean: dict[str, tuple[Value, ...]]
    std: dict[str, tuple[Positive, ...]]


class _TargetForm(Options):
    transform: TargetTransform = "none"
    mean: Value = 0.0
    std: Positive = 1.0
    ratio: Annotated[Real, Field(gt=0, le=1e6)] = 1.0


class _ConformalForm(Options):
    table: Rows
    nodes: tuple[Value, ...]
    trust: Share
    typical: Positive
    count: Annotated[int, Field(ge=0, le=2**53, strict=True)]

    @model_validator(mode="after")
    def _tables(self) -> _ConformalForm:
        if self.count or self.table:
            _require_ascending(self.nodes, "nodes")
            _require_table(self.table, len(self.nodes), "table")
        if self.count and not self.nodes:
            raise ValueError("there is a count, and nothing that was counted")
        return self


class _MapSpecForm(_Variables):
    network: MapperOptions
    steps: Leads
    climatology: bool
    blend: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    min_valid: Share = 0.5


class _TrainingForm(Options, extra="allow"):
    """What is read of how a model came about; the rest is only shown."""

    fit: dict[str, Any] = Field(default_factory=dict)
    network: dict[str, Any] = Field(default_factory=dict)
    table: dict[str, Any] = Field(default_factory=dict)
    transforms: dict[str, Any] = Field(default_factory=dict)
    anchor: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, Any] = Field(default_factory=dict)
    held_out: dict[str, Any] = Field(default_factory=dict)
    folds: dict[str, Any] = Field(default_factory=dict)
    points: dict[str, Any] = Field(default_factory=dict)
    importance: dict[str, Any] = Field(default_factory=dict)
    steps: list[Any] = Field(default_factory=list)
    seed: Annotated[int, Field(strict=True)] | None = None


class _MapTrainingForm(_TrainingForm):
    split: dict[str, Any] = Field(default_factory=dict)


class _Shapes(Options):
    weights: Annotated[dict[str, Shape], Field(max_length=1_000_000)]


class _Description(_Shapes):
    format: int
    job: Literal["forecast", "map"]
    training: _TrainingForm = _TrainingForm()


class _Forecaster(_Description):
    spec: _SpecForm
    scaler: _ScalerForm
    calibration: _CalibrationForm

    @model_validator(mode="after")
    def _fit(self) -> _Forecaster:
        spec = self.spec
        context = _context(spec.context)
        names = (spec.target, *spec.dynamic, *spec.static, *context.names(spec.target))
        _require_scales(names, self.scaler.mean, self.scaler.std)
        if len(self.scaler.change) != spec.h:
            raise ValueError(f"scaler.change has {len(self.scaler.change)} leads, and h={spec.h}")
        if self.scaler.change[0] <= 0:
            raise ValueError("scaler.change of the first lead must be greater than 0")
        if len(self.calibration.ranks) > spec.h:
            raise ValueError("calibration has more leads than spec.h")
        return self


class _Mapper(_Description):
    spec: _MapSpecForm
    scaler: _BandScalerForm
    target: _TargetForm
    training: _MapTrainingForm = _MapTrainingForm()
    calibration: _ConformalForm

    @model_validator(mode="after")
    def _fit(self) -> _Mapper:
        spec = self.spec
        _require_scales((*spec.dynamic, *spec.static), self.scaler.mean, self.scaler.std)
        for name in (*spec.dynamic, *spec.static):
            mean, std = self.scaler.mean[name], self.scaler.std[name]
            each = spec.steps if spec.climatology and name in spec.dynamic else 1
            if not len(mean) == len(std) == each:
                raise ValueError(f"scaler of {name!r} has {len(mean)} numbers and needs {each}")
        return self


def _context(form: _ContextForm) -> Context:
    try:
        return Context(**dict(form))
    except BadArgument as error:
        raise ValueError(str(error)) from None


def _require_scales(
    names: tuple[str, ...], mean: Mapping[str, Any], std: Mapping[str, Any]
) -> None:
    for name in names:
        if name not in mean or name not in std:
            raise ValueError(f"scaler has no mean or std of {name!r}")


def _require_ascending(numbers: tuple[float, ...], what: str) -> None:
    if any(low >= high for low, high in pairwise(numbers)):
        raise ValueError(f"{what} ascend")


def _require_table(table: tuple[tuple[float, ...], ...], rows: int, what: str) -> None:
    """Refuse a table without a row for each node, or whose quantiles cross."""
    if len(table) != rows or any(len(row) != len(PROBABILITIES) for row in table):
        raise ValueError(f"{what} have a row for each node and {len(PROBABILITIES)} columns")
    if rows and (np.diff(np.array(table), axis=1) < -1e-9).any():
        raise ValueError(f"{what} never descend within a row")


def _parsed(kind: type[Form], raw: Mapping[str, Any], folder: Path) -> Form:
    try:
        return parse(kind, raw, error=BundleError)
    except (BundleError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(
            f"{folder / 'bundle.json'} does not describe a model: {error} Copy the model anew, or "
            "train it again."
        ) from None


def read_forecaster(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read what a bundle says of a forecaster.

    Parameters
    ----------
    raw : mapping
        Of its ``bundle.json``.
    folder : Path
        Where that lies, for messages.

    Returns
    -------
    dict
        ``spec``, ``scaler`` and ``calibration``.

    Raises
    ------
    BundleError
        If a value is missing, unknown or impossible, or parts do not fit together.
    """
    form = _parsed(_Forecaster, raw, folder)
    calibration = form.calibration
    return {
        "spec": Spec(**{**dict(form.spec), "context": _context(form.spec.context)}),
        "scaler": Scaler(**dict(form.scaler)),
        "calibration": Calibration(
            tuple(np.array(table) for table in calibration.ranks),
            tuple(np.array(counts) for counts in calibration.counts),
            calibration.nodes,
            calibration.stretch,
            calibration.far,
        ),
    }


def read_mapper(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read what a bundle says of a mapper, likewise: also ``target``."""
    form = _parsed(_Mapper, raw, folder)
    table = np.array(form.calibration.table) if form.calibration.table else np.empty((0, 0))
    return {
        "spec": MapSpec(**dict(form.spec)),
        "scaler": BandScaler(**dict(form.scaler)),
        "target": TargetScaler(**dict(form.target)),
        "calibration": Conformal(**{**dict(form.calibration), "table": table}),
    }


def read_shapes(raw: Mapping[str, Any], folder: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the arrays that a bundle is to hold."""
    return _parsed(
        _Shapes, {key: value for key, value in raw.items() if key == "weights"}, folder
    ).weights
