"""Dependence: how the errors of pixels vary together, as numbers that travel in a bundle.

A forecast describes each pixel alone. The sum over a zone also depends on how often
neighbouring pixels are wrong in the same direction. This is described on the scale of a standard
normal field ``z``, whose value at a pixel chooses a quantile of that pixel's own distribution, so
no pixel's distribution changes:

    z = sqrt(1 - wR) (sqrt(w0) e + sum_k sqrt(w_k) F_k) + sqrt(wR) Z

with independent noise ``e``, five smooth fields ``F_k`` whose correlation at distance d is
``exp(-d^2 / 4 sigma_k^2)``, and one number ``Z`` for the whole region. All terms vary from lead to
lead as an autoregression of order one with coefficient ``phi``. Tails are those of a t
distribution: all pixels of a draw share one factor of scale (a t copula, Demarta & McNeil 2005,
doi:10.1111/j.1751-5823.2005.tb00254.x).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Probabilities of the quantiles that stand for a pixel's distribution; it is linear between them
# and flat beyond the outermost
LEVELS: tuple[float, ...] = (
    0.001, 0.0025, 0.005, 0.01, 0.025,
    *(round(0.05 * step, 2) for step in range(1, 20)),
    0.975, 0.99, 0.995, 0.9975, 0.999,
)  # fmt: skip
RANGES = (1.5, 4.0, 12.0, 36.0, 108.0)  # standard deviations of the kernels, px where fitted
PRIOR_WEIGHTS = (0.15, 0.15, 0.15, 0.10, 0.05)  # measured on series of three regions
# Variance of the shift of a whole region: shifts of held-out years had a root mean square of .2-.25
PRIOR_REGION = 0.05
_POOR = 1 / 3  # ratio of expected and past squared errors below which intervals are too narrow
_YEARLY = 0.75  # correlation of a zone's errors over five years, measured on past forecasts


@dataclass(frozen=True)
class LeadDependence:
    """The dependence of the errors of one lead."""

    weights: tuple[float, ...] = PRIOR_WEIGHTS  # of the five fields; the rest is independent
    region: float = PRIOR_REGION  # wR, the share of the whole region
    origins: int = 0  # that it was fitted on; 0: this is the prior
    shifts: tuple[float, ...] = ()  # of each origin, standard deviations of z
    # Variance of block means over their squared errors, by the side of the block, px
    ratios: Mapping[str, float] = field(default_factory=dict)

    @property
    def nugget(self) -> float:
        """Share of independent noise."""
        return max(0.0, 1.0 - sum(self.weights))


@dataclass(frozen=True)
class Dependence:
    """The dependence of all leads."""

    leads: tuple[LeadDependence, ...]  # lead 1 first; later leads use the last one
    # side of a pixel where it was fitted, metres: elsewhere the ranges keep their length
    pixel_m: float
    phi: float = _YEARLY  # correlation of each term from one lead to the next
    nu: float = 10.0  # degrees of freedom of the tails

    @classmethod
    def prior(cls, pixel_m: float, phi: float = _YEARLY) -> Dependence:
        """Return the dependence that is assumed where none was fitted."""
        return cls((LeadDependence(),), pixel_m, phi)

    @property
    def is_prior(self) -> bool:
        """Whether no lead was fitted."""
        return not any(lead.origins for lead in self.leads)

    @property
    def unexplained(self) -> float | None:
        """How many times larger past squared errors of zones were than expected, if thrice or more.

        Then means were wrong for whole zones together, which no dependence of errors can describe.
        """
        ratios = [ratio for lead in self.leads for ratio in lead.ratios.values()]
        return 1 / min(ratios) if ratios and 0 < min(ratios) < _POOR else None

    @property
    def sigmas_m(self) -> tuple[float, ...]:
        """Standard deviations of the five kernels, metres."""
        return tuple(sigma * self.pixel_m for sigma in RANGES)

    def at(self, lead: int) -> LeadDependence:
        """Return the dependence at a lead, which counts from 1."""
        return self.leads[min(lead, len(self.leads)) - 1]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        leads = [
            {
                "weights": list(lead.weights),
                "region": lead.region,
                "origins": lead.origins,
                "shifts": list(lead.shifts),
                "ratios": dict(lead.ratios),
            }
            for lead in self.leads
        ]
        return {"leads": leads, "pixel_m": self.pixel_m, "phi": self.phi, "nu": self.nu}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Dependence:
        """Build a dependence from JSON values."""
        leads = tuple(
            LeadDependence(
                tuple(lead["weights"]),
                lead["region"],
                lead["origins"],
                tuple(lead["shifts"]),
                dict(lead["ratios"]),
            )
            for lead in raw["leads"]
        )
        return cls(leads, raw["pixel_m"], raw["phi"], raw["nu"])


def phi_of(years: float | None) -> float:
    """Return the correlation between two leads that are so many years apart."""
    return _YEARLY if years is None else float(_YEARLY ** (years / 5))
