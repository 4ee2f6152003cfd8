"""Joint: how the errors of a forecast's pixels depend on each other, in numbers and in words."""

from __future__ import annotations

import math

from hmx.cube.cube import Cube
from hmx.cube.grid import Grid
from hmx.forecast.bundle import Bundle
from hmx.progress import counted
from hmx.uncertainty.joint.dependence import PRIOR_REGION, Dependence, phi_of


def dependence_of(bundle: Bundle, cube: Cube) -> tuple[Dependence, str | None]:
    """Return the dependence of a model's errors, or the prior and a line on why it is that.

    The ranges of the prior are numbers of the cube's pixels.
    """
    if bundle.dependence is not None:
        return bundle.dependence, None
    years = cube.cadence.years if cube.data.sizes["time"] > 1 else None
    prior = Dependence.prior(pixel_side(cube.grid), phi_of(years))
    return prior, f"intervals of totals are {describe_dependence(bundle)}"


def pixel_side(grid: Grid) -> float:
    """Return the geometric mean of width and height of the central pixel, metres."""
    return math.sqrt(math.prod(grid.pixel_size_m))


def describe_dependence(bundle: Bundle) -> str:
    """Describe in a line what intervals of zone totals rest on."""
    if bundle.dependence is None or bundle.dependence.is_prior:
        reason = (
            why_none(bundle) or "has no fit of how its errors depend on each other; train it again"
        )
        return f"from the prior: the model {reason}"
    first = bundle.dependence.at(1)
    fitted, seen = counted(first.origins, "origin"), counted(first.origins, "training origin")
    spread = f"from {seen}"
    if first.region <= PRIOR_REGION:
        spread = f"from the prior, and no larger in {seen}"
    line = f"ranges fitted on {fitted}, region-wide spread {spread} (0 held out)"
    if times := bundle.dependence.unexplained:
        return f"{line}; TOO NARROW: past squared errors were up to {times:.0f} times the expected"
    return line


def why_none(bundle: Bundle) -> str | None:
    """Return in words why a model has no fitted dependence, after "the model", or ``None``."""
    if bundle.spec.network.point:
        return "forecasts one number at each pixel, not a distribution"
    if not bundle.calibration.leads:
        return "is not calibrated: no blocks were kept for it"
    return None
