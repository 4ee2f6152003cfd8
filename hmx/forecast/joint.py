"""Joint: how the errors of a forecast's pixels depend on each other."""

from __future__ import annotations

import math

from hmx.cube.cube import Cube
from hmx.forecast.bundle import Bundle
from hmx.uncertainty.joint.dependence import Dependence


def dependence_of(bundle: Bundle, cube: Cube) -> tuple[Dependence, str | None]:
    """Return the dependence of a model, or the prior and a line that says so."""
    found: Dependence | None = getattr(bundle, "dependence", None)
    if found is not None:
        return found, None
    width, height = cube.grid.pixel_size_m
    return Dependence.prior(math.sqrt(width * height)), (
        "the model has no fitted dependence of errors, so ranges and the spread of the whole "
        "region are assumed; train it again to fit them"
    )
