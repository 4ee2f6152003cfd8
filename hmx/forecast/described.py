"""Described: what the ``bundle.json`` of a forecaster may hold, checked before use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from hmx.bundles.described import (
    Description,
    Names,
    Positive,
    Real,
    Rows,
    Share,
    Value,
    VariablesForm,
    read_form,
    require_ascending,
    require_scales,
    require_table,
)
from hmx.errors import BadArgument
from hmx.features.context import Context
from hmx.features.scaling import Scaler
from hmx.features.transforms import Transform
from hmx.forecast.spec import Spec
from hmx.networks.options import ModelOptions
from hmx.settings import Leads, Options, Radius
from hmx.uncertainty.calibration import PROBABILITIES, Calibration


class _ContextForm(Options):
    radii: Annotated[tuple[Radius, ...], Field(max_length=32)]
    maxima: bool = False
    distance: bool
    threshold: Annotated[Real, Field(ge=0, le=1e30)] = 0.0
    terrain: Names = ()


class _SpecForm(VariablesForm):
    transforms: dict[str, Transform] = Field(default_factory=dict)
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
        require_ascending(self.nodes, "nodes")
        if not len(self.ranks) == len(self.counts) == len(self.stretch):
            raise ValueError("ranks, counts and stretch have an entry for each lead")
        for table, counts in zip(self.ranks, self.counts, strict=True):
            require_table(table, len(self.nodes), len(PROBABILITIES), "ranks")
            if len(counts) != len(self.nodes):
                raise ValueError("counts have a number for each node")
        return self


class _Forecaster(Description):
    spec: _SpecForm
    scaler: _ScalerForm
    calibration: _CalibrationForm

    @model_validator(mode="after")
    def _fit(self) -> _Forecaster:
        spec = self.spec
        context = _context(spec.context)
        names = (spec.target, *spec.dynamic, *spec.static, *context.names(spec.target))
        require_scales(names, self.scaler.mean, self.scaler.std)
        if len(self.scaler.change) != spec.h:
            raise ValueError(f"scaler.change has {len(self.scaler.change)} leads, and h={spec.h}")
        if self.scaler.change[0] <= 0:
            raise ValueError("scaler.change of the first lead must be greater than 0")
        if len(self.calibration.ranks) > spec.h:
            raise ValueError("calibration has more leads than spec.h")
        return self


def _context(form: _ContextForm) -> Context:
    try:
        return Context(**dict(form))
    except BadArgument as error:
        raise ValueError(str(error)) from None


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
    form = read_form(_Forecaster, raw, folder)
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
