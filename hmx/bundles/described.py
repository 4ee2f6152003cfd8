"""Described: rules for the ``bundle.json`` of a model, checked before anything is built from it.

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

from hmx.errors import BundleError
from hmx.settings import Members, Options, parse

# a whole number that arrays can hold stays one: the digest of a model is that of its text
Real = Annotated[int, Field(ge=-(2**53), le=2**53)] | float
# Bounds lie far above any real model and far below what fills a memory. 1e30 leaves float32,
# which ends at 3.4e38, room for sums of a window.
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


class VariablesForm(Options):
    """What models of both jobs are fed with."""

    target: Name
    dynamic: Names
    static: Names
    cadence: Name
    pixel_size_m: tuple[Metres, Metres]
    valid_range: tuple[Value | None, Value | None] | None = None
    units: Annotated[str, Field(max_length=256)] | None = None
    members: Members = 1
    transforms: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("valid_range")
    @classmethod
    def _ascending(cls, limits: Any) -> Any:
        if limits is not None and None not in limits and limits[0] >= limits[1]:
            raise ValueError("the range ascends")
        return limits

    @model_validator(mode="after")
    def _each_once(self) -> VariablesForm:
        names = [self.target, *self.dynamic, *self.static]
        if len(set(names)) != len(names):
            raise ValueError("a variable stands twice")
        if strange := set(self.transforms) - set(names[1:]):
            raise ValueError(f"transforms of {sorted(strange)[0]!r}, which is not a covariate")
        return self


# Nothing here decides a result (digest_of leaves the section out), so an unknown key is not an
# error, unlike in the rest of the file.
class TrainingForm(Options, extra="allow"):
    """The facts of a training that are read again; the others are for people."""

    fit: dict[str, Any] = Field(default_factory=dict)
    network: dict[str, Any] = Field(default_factory=dict)
    table: dict[str, Any] = Field(default_factory=dict)
    transforms: dict[str, Any] = Field(default_factory=dict)
    anchor: dict[str, Any] = Field(default_factory=dict)
    body: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, Any] = Field(default_factory=dict)
    held_out: dict[str, Any] = Field(default_factory=dict)
    folds: dict[str, Any] = Field(default_factory=dict)
    points: dict[str, Any] = Field(default_factory=dict)
    importance: dict[str, Any] = Field(default_factory=dict)
    steps: list[Any] = Field(default_factory=list)
    seed: Annotated[int, Field(ge=-(2**63), le=2**63, strict=True)] | None = None


class _LeadDependenceForm(Options):
    weights: Annotated[tuple[Share, ...], Field(min_length=5, max_length=5)]
    region: Share
    origins: Annotated[int, Field(ge=0, le=2**53, strict=True)] = 0
    shifts: Annotated[tuple[Value, ...], Field(max_length=1000)] = ()
    ratios: Annotated[dict[Name, Value], Field(max_length=100)] = Field(default_factory=dict)

    @field_validator("weights")
    @classmethod
    def _within_one(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if sum(weights) > 1 + 1e-6:
            raise ValueError("weights of the fields sum to 1 at most")
        return weights


class DependenceForm(Options):
    """How errors of pixels depend on each other, as :mod:`hmx.uncertainty.joint` reads it."""

    leads: Annotated[tuple[_LeadDependenceForm, ...], Field(min_length=1, max_length=1000)]
    pixel_m: Metres
    phi: Annotated[Real, Field(ge=0, lt=1)]
    nu: Annotated[Real, Field(gt=2, le=1e6)]


class _Shapes(Options):
    weights: Annotated[dict[str, Shape], Field(max_length=1_000_000)]


class Description(_Shapes):
    """A ``bundle.json`` of either job."""

    format: int
    job: Literal["forecast", "map"]
    training: TrainingForm = TrainingForm()


def require_scales(names: tuple[str, ...], mean: Mapping[str, Any], std: Mapping[str, Any]) -> None:
    """Raise unless each variable has a mean and a standard deviation."""
    for name in names:
        if name not in mean or name not in std:
            raise ValueError(f"scaler has no mean or std of {name!r}")


def require_ascending(numbers: tuple[float, ...], what: str) -> None:
    """Raise unless each number is greater than the one before it."""
    if any(low >= high for low, high in pairwise(numbers)):
        raise ValueError(f"{what} ascend")


def require_table(table: tuple[tuple[float, ...], ...], rows: int, columns: int, what: str) -> None:
    """Refuse a table without a row for each node, or whose quantiles cross."""
    if len(table) != rows or any(len(row) != columns for row in table):
        raise ValueError(f"{what} have a row for each node and {columns} columns")
    # 1e-9: of two equal quantiles the second may be smaller by rounding.
    if rows and (np.diff(np.array(table), axis=1) < -1e-9).any():
        raise ValueError(f"{what} never descend within a row")


def read_form(kind: type[Form], raw: Mapping[str, Any], folder: Path) -> Form:
    """Check values against a form; an error names the file, the value and the rule."""
    try:
        return parse(kind, raw, error=BundleError)
    except (BundleError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(
            f"{folder / 'bundle.json'} does not describe a model: {error} Copy the model anew, or "
            "train it again."
        ) from None


def read_shapes(raw: Mapping[str, Any], folder: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the arrays that a bundle is to hold."""
    return read_form(
        _Shapes, {key: value for key, value in raw.items() if key == "weights"}, folder
    ).weights
