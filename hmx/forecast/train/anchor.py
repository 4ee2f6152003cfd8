"""Anchor: the linear regression that says where the means of a network lie.

Ridge regression (Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634) of the
change over one step on all channels that a network is shown, and one size for each
lead: what the change over so many steps is of it. Sums over pixels add up, so it is
fitted block by block.

What such a regression finds may be the accident of a few steps: the noise of one map
that the next takes back. So each origin is left out in turn, and forecast by the
regression on the others; where that is worse than persistence, the anchor had better say
"no change". Knowing costs nothing: the sums of each origin are all it takes.
"""

from __future__ import annotations

import numpy as np
import torch

from hmx.features.linear import NormalEquations
from hmx.forecast.train.data import Reader, batch_of
from hmx.networks.forecaster import Forecaster
from hmx.splits import TRAIN
from hmx.windows import Window

_PENALTY = 1.0  # pixels
_MOST_BLOCKS = 400  # times origins; more change nothing
_MOST_SIZE = 2.0  # for each step of a lead
_JUDGED = 0.1  # of the pixels: what few origins teach is noisier than what all do
LEAST_GAIN = -0.01  # RMSE skill on origins left out, below which there is harm


def fit_anchor(network: Forecaster, reader: Reader, *, seed: int) -> float | None:
    """Fit a network's anchor to the training blocks, or hold its means; in place.

    Parameters
    ----------
    network : Forecaster
        Its other weights do not matter.
    reader : Reader
        Only its training blocks are learnt from.
    seed : int
        Draws blocks where there are very many.

    Returns
    -------
    float or None
        RMSE skill against persistence of such a regression one step ahead, over all
        origins, each left out in turn; where it does harm, means are held at the last
        map. ``None`` without an anchor, with one origin alone, or where nothing changes.
    """
    if not network.anchored:
        return None
    origins = _sums(network, reader, seed=seed)
    gain = left_out_gain(origins)
    if gain is not None and gain < LEAST_GAIN:
        network.hold_means()
        return gain
    total = sum(origins[1:], origins[0])
    full = _solve(total, _PENALTY)
    fitted = {
        "anchor_weight": torch.from_numpy(full[1:, None]),
        "anchor_bias": torch.tensor([full[0]]),
        "anchor_size": torch.from_numpy(_sizes(total.gram, full)),
    }
    network.load_state_dict(fitted, strict=False)
    return gain


def left_out_gain(origins: list[NormalEquations]) -> float | None:
    """Score regressions one step ahead from origins that they have not seen.

    They are shrunk more than the one that is fitted, as they learn from fewer origins.

    Parameters
    ----------
    origins : list of NormalEquations
        Of each origin.

    Returns
    -------
    float or None
        RMSE skill against persistence; ``None`` of one origin, or without change.
    """
    if len(origins) < 2:
        return None
    error = still = 0.0
    for index, left_out in enumerate(origins):
        others = origins[:index] + origins[index + 1 :]
        total = sum(others[1:], others[0])
        fitted = _solve(total, _JUDGED * total.gram[0, 0, 0])
        apart = np.append(fitted, -1.0)  # forecast - truth
        gram = left_out.gram[0]
        error += float(apart @ gram @ apart)
        still += float(gram[-1, -1])
    return 1 - float(np.sqrt(error / still)) if still else None


def _sums(network: Forecaster, reader: Reader, *, seed: int) -> list[NormalEquations]:
    """Sum up the blocks of each origin, one set of equations per lead."""
    pairs = [(block, o) for block in reader.split.windows(TRAIN) for o in reader.origins]
    if len(pairs) > _MOST_BLOCKS * len(reader.origins):
        draw = np.random.default_rng([seed, 3])
        kept = draw.choice(len(pairs), _MOST_BLOCKS * len(reader.origins), replace=False)
        pairs = [pairs[index] for index in np.sort(kept)]
    totals: dict[int, NormalEquations] = {}
    for block, origin in pairs:
        part = _block(network, reader, block, origin)
        totals[origin] = totals[origin] + part if origin in totals else part
    return list(totals.values())


def _solve(total: NormalEquations, penalty: float) -> np.ndarray:
    """Solve for the first lead: intercept and slopes of the channels as they are."""
    mean, scale, weights = (part[0] for part in NormalEquations(total.gram[:1]).solve(penalty))
    slopes = weights[1:] / scale
    return np.concatenate([[weights[0] - float(slopes @ mean)], slopes])


def _block(network: Forecaster, reader: Reader, block: Window, origin: int) -> NormalEquations:
    seen = batch_of([reader.sample(block, origin, TRAIN)]).seen
    with torch.inference_mode():
        linear = network.linear(seen)[0].numpy().astype("float64")
    inputs, truth = reader.fields.cut(block, origin)
    known = (inputs.valid[-1] > 0) & (reader.split.roles(block) == TRAIN)
    change = np.where(known, truth - inputs.past[-1], np.nan) / reader.scaler.change[0]
    return NormalEquations.of(linear, change.astype("float64"))


def _sizes(gram: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Compute what each lead's change is of the anchor's, by least squares."""
    found = []
    for lead, sums in enumerate(gram, start=1):
        explained = full @ sums[:-1, :-1] @ full
        size = float(full @ sums[:-1, -1] / explained) if explained > 0 else 1.0
        found.append(1.0 if lead == 1 else min(max(size, 0.0), _MOST_SIZE * lead))
    return np.array(found)
