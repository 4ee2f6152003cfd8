"""Anchor: the linear regression that gives the means of a network's distributions.

Ridge regression (Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634) of the
change over one step on all input channels of a network, and one size for each
lead: the ratio of the change over so many steps to the change over one. Sums over pixels
add up, so the regression is fitted block by block.

With few steps, such a regression can fit an accident: the noise of one map
that the next map takes back. So each origin is left out in turn, and forecast by the
regression on the others; if that is worse than persistence, the anchor predicts
"no change". This test costs nothing: it needs only the sums of each origin.
"""

from __future__ import annotations

import numpy as np
import torch

from hmx.features.linear import NormalEquations
from hmx.forecast.train.data import Reader, batch_of
from hmx.networks.forecaster import Forecaster
from hmx.splits import TRAIN

_PENALTY = 1.0  # pixels
_MAX_BLOCKS = 400  # times origins; more blocks change nothing
_MAX_SIZE = 2.0  # for each step of a lead
_LEFT_OUT_PENALTY = 0.1  # of the pixels: a fit on fewer origins is noisier than the final one
LEAST_GAIN = -0.01  # RMSE skill on origins left out, below which the anchor does harm


def fit_anchor(network: Forecaster, reader: Reader, *, seed: int) -> float | None:
    """Fit a network's anchor to the training blocks, in place; return its left-out RMSE skill.

    If the anchor does harm, the network's means stay at the last map. The skill is ``None``
    without an anchor, with a single origin, or if nothing changes.
    """
    if not network.anchored:
        return None
    origins = list(sums_by_origin(network, reader, seed=seed).values())
    gain = left_out_gain(origins)
    if gain is not None and gain < LEAST_GAIN:
        network.hold_means()
        return gain
    total = sum(origins[1:], origins[0])
    full = _solve(total, _PENALTY)
    fitted = {
        "anchor_weight": torch.from_numpy(full[1:, None]),
        "anchor_bias": torch.tensor([full[0]]),
        "anchor_size": torch.from_numpy(lead_sizes(total.gram, full)),
    }
    network.load_state_dict(fitted, strict=False)
    return gain


def left_out_gain(origins: list[NormalEquations]) -> float | None:
    """Score regressions one step ahead on the origin that each was fitted without.

    Returns RMSE skill against persistence; ``None`` with one origin, or without change.
    """
    if len(origins) < 2:
        return None
    error = persistence = 0.0
    for index, left_out in enumerate(origins):
        others = origins[:index] + origins[index + 1 :]
        total = sum(others[1:], others[0])
        fitted = _solve(total, _LEFT_OUT_PENALTY * total.gram[0, 0, 0])
        residual = np.append(fitted, -1.0)  # coefficients of forecast - truth
        gram = left_out.gram[0]
        error += float(residual @ gram @ residual)
        persistence += float(gram[-1, -1])
    return 1 - float(np.sqrt(error / persistence)) if persistence else None


def sums_by_origin(network: Forecaster, reader: Reader, *, seed: int) -> dict[int, NormalEquations]:
    """Sum up the training blocks of each origin, one set of equations per lead."""
    pairs = [(block, o) for block in reader.split.windows(TRAIN) for o in reader.origins]
    if len(pairs) > _MAX_BLOCKS * len(reader.origins):
        # the 3 makes this draw independent of those that use the same seed with a role, 1 or 2
        draw = np.random.default_rng([seed, 3])
        kept = draw.choice(len(pairs), _MAX_BLOCKS * len(reader.origins), replace=False)
        pairs = [pairs[index] for index in np.sort(kept)]
    totals: dict[int, NormalEquations] = {}
    for block, origin in pairs:
        seen = batch_of([reader.sample(block, origin, TRAIN)]).seen
        with torch.inference_mode():
            linear = network.linear(seen)[0].numpy().astype("float64")
        inputs, truth = reader.fields.cut(block, origin)
        known = (inputs.valid[-1] > 0) & (reader.split.roles(block) == TRAIN)
        change = np.where(known, truth - inputs.past[-1], np.nan) / reader.scaler.change[0]
        part = NormalEquations.of(linear, change.astype("float64"))
        totals[origin] = totals[origin] + part if origin in totals else part
    return totals


def lead_sizes(gram: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Fit each lead's change as a multiple of the anchor's change, by least squares, (h,)."""
    sizes = []
    for lead, sums in enumerate(gram, start=1):
        explained = full @ sums[:-1, :-1] @ full
        size = float(full @ sums[:-1, -1] / explained) if explained > 0 else 1.0
        # bounded, so that a far lead with few truths cannot run away
        sizes.append(1.0 if lead == 1 else min(max(size, 0.0), _MAX_SIZE * lead))
    return np.array(sizes)


def _solve(total: NormalEquations, penalty: float) -> np.ndarray:
    """Solve for the first lead: intercept and slopes of the unscaled channels."""
    mean, scale, weights = (part[0] for part in NormalEquations(total.gram[:1]).solve(penalty))
    slopes = weights[1:] / scale
    return np.concatenate([[weights[0] - float(slopes @ mean)], slopes])
