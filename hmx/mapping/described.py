"""Described: what the ``bundle.json`` of a mapper may hold, checked before use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from hmx.bundles.described import (
    Description,
    Positive,
    Real,
    Rows,
    Share,
    TrainingForm,
    Value,
    VariablesForm,
    read_form,
    require_ascending,
    require_scales,
    require_table,
)
from hmx.features.transforms import Transform
from hmx.mapping.options import TargetTransform
from hmx.mapping.spec import BandScaler, MapSpec, TargetScaler
from hmx.networks.options import MapperOptions
from hmx.settings import Leads, Options
from hmx.uncertainty.calibration import PROBABILITIES
from hmx.uncertainty.conformal import Conformal


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
            require_ascending(self.nodes, "nodes")
            require_table(self.table, len(self.nodes), len(PROBABILITIES), "table")
        if self.count and not self.nodes:
            raise ValueError("there is a count, and nothing that was counted")
        return self


class _MapSpecForm(VariablesForm):
    transforms: dict[str, Transform] = Field(default_factory=dict)
    network: MapperOptions
    steps: Leads
    climatology: bool
    blend: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    min_valid: Share = 0.5


class _MapTrainingForm(TrainingForm):
    split: dict[str, Any] = Field(default_factory=dict)


class _Mapper(Description):
    spec: _MapSpecForm
    scaler: _BandScalerForm
    target: _TargetForm
    training: _MapTrainingForm = _MapTrainingForm()
    calibration: _ConformalForm

    @model_validator(mode="after")
    def _fit(self) -> _Mapper:
        spec = self.spec
        require_scales((*spec.dynamic, *spec.static), self.scaler.mean, self.scaler.std)
        for name in (*spec.dynamic, *spec.static):
            mean, std = self.scaler.mean[name], self.scaler.std[name]
            each = spec.steps if spec.climatology and name in spec.dynamic else 1
            if not len(mean) == len(std) == each:
                raise ValueError(f"scaler of {name!r} has {len(mean)} numbers and needs {each}")
        return self


def read_mapper(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read what a bundle says of a mapper, likewise: also ``target``."""
    form = read_form(_Mapper, raw, folder)
    table = np.array(form.calibration.table) if form.calibration.table else np.empty((0, 0))
    return {
        "spec": MapSpec(**dict(form.spec)),
        "scaler": BandScaler(**dict(form.scaler)),
        "target": TargetScaler(**dict(form.target)),
        "calibration": Conformal(**{**dict(form.calibration), "table": table}),
    }
