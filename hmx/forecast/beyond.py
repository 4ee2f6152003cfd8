"""Beyond: the leads after those that a network has learnt, and quantiles that never narrow there.

A network goes on from its own mean (:func:`hmx.networks.inputs.go_on`). The distribution of a
later lead is that of the last learnt lead plus the change since, quantile by quantile (a comonotone
sum), so its width does not shrink. What follows can take width away: members of an ensemble come
closer, values near the origin are drawn to it, and the bounds of the target cut a side off. So
three rules hold at an extrapolated lead:

- knots move outward from the median until no gap is smaller than at the lead before;
- quantiles are read from these knots with the ranks of the last learnt lead, so the distance of
  any two of them is at least what it was there; the bounds of the target then cut them;
- an end of an interval at a bound leaves the other end at least the former width away from it.

Sums and differences of ascending numbers ascend when rounded, so quantiles ascend and nest to the
bit. Probabilities of exceedance come from the same knots, before the last rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hmx.forecast.bundle import Bundle
from hmx.uncertainty.calibration import Strata
from hmx.uncertainty.distribution import Floats

EXTRAPOLATED = "extrapolated_leads"  # attribute of a forecast: list of leads


def learnt_leads(bundle: Bundle) -> int:
    """Return the number of leads that a model has learnt: later ones had no truth in training."""
    spec, steps = bundle.spec, bundle.training.get("steps", ())
    maps = steps[2] if len(steps) > 2 else None
    # a recursive network is trained for its leads whether or not all of them have a truth
    if spec.network.strategy == "direct" or not isinstance(maps, int):
        return spec.h
    return max(1, min(spec.h, maps - spec.network.past_steps))


def extrapolated_leads(bundle: Bundle, h: int) -> list[int]:
    """List the leads of a forecast that go beyond those that its model has learnt."""
    return list(range(learnt_leads(bundle) + 1, h + 1))


def listed(leads: Sequence[int]) -> str:
    """Write consecutive leads: ``lead 4``, ``leads 5-6``."""
    return f"lead {leads[0]}" if len(leads) == 1 else f"leads {leads[0]}-{leads[-1]}"


def describe_extrapolated(bundle: Bundle, h: int) -> str | None:
    """Describe in a line the extrapolated leads of a forecast, if there are any."""
    if not (leads := extrapolated_leads(bundle, h)):
        return None
    known, alone = learnt_leads(bundle), len(leads) == 1
    return (
        f"{listed(leads)} {'goes' if alone else 'go'} beyond the {known} "
        f"lead{'s' if known > 1 else ''} that the model has learnt: extrapolated from its own "
        "mean, intervals uncalibrated"
    )


def outward(knots: Floats, learnt: int, middle: int) -> Floats:
    """Move the knots of later leads, (h, q, y, x), outward from the median, ``middle``.

    After it, no gap between two knots is smaller than at the lead before, from the last learnt
    lead on. Values may leave the bounds of the target.
    """
    if len(knots) <= learnt:
        return knots
    found = knots.copy()
    for before, now in zip(found[learnt - 1 :], found[learnt:], strict=False):
        growth = now - before
        up, down = growth[middle:], growth[middle::-1]  # views
        np.maximum.accumulate(up, axis=0, out=up)
        np.minimum.accumulate(down, axis=0, out=down)
        np.add(before, growth, out=now)
    return found


def keep_width(
    bundle: Bundle,
    last: Floats,
    found: Floats,
    distance: Floats | Strata | None,
    probabilities: Sequence[float],
) -> None:
    """Widen quantiles of extrapolated leads, (n, lead, y, x), that a bound has cut; in place.

    ``last`` has the knots of the last learnt lead, (q, y, x). An end at a bound leaves the other
    end at least the width of that lead away from it.
    """
    spec, calibration, lead = bundle.spec, bundle.calibration, learnt_leads(bundle)
    low, high = spec.valid_range or (None, None)
    ends = np.array([(p, 1 - p) for p in probabilities]).ravel()
    known = calibration.quantiles(
        last, spec.network.knots, distance, lead=lead, probabilities=[float(end) for end in ends]
    )
    np.clip(known, low, high, out=known)
    for plane, p, own, mirrored in zip(found, probabilities, known[::2], known[1::2], strict=True):
        if p > 0.5 and low is not None:
            np.maximum(plane, low + (own - mirrored), out=plane)
        elif p < 0.5 and high is not None:
            np.minimum(plane, high - (mirrored - own), out=plane)
