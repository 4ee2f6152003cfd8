"""Anchor: the linear regression that says where the means of a network lie.

Ridge regression (Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634) of the
change over one step on all channels that a network is shown, and one size for each
lead: what the change over so many steps is of it. Sums over pixels add up, so it is
fitted block by block.
"""

from __future__ import annotations

import numpy as np
import torch

from hmx.folds import TRAIN
from hmx.learn.data import Reader, batch_of
from hmx.models.forecaster import Forecaster
from hmx.regression import NormalEquations
from hmx.windows import Window

_PENALTY = 1.0  # pixels
_MOST_BLOCKS = 400  # times origins; more change nothing
_MOST_SIZE = 2.0  # for each step of a lead


def fit_anchor(network: Forecaster, reader: Reader, *, seed: int) -> None:
    """Fit a network's anchor to the training blocks, in place.

    Parameters
    ----------
    network : Forecaster
        Direct, with an anchor; its other weights do not matter.
    reader : Reader
        Only its training blocks are learnt from.
    seed : int
        Draws blocks where there are very many.
    """
    if not network.anchored:
        return
    total = _sums(network, reader, seed=seed)
    _, scale, weights = (part[0] for part in NormalEquations(total.gram[:1]).solve(_PENALTY))
    mean = total.gram[0, 0, 1:-1] / total.gram[0, 0, 0]
    slopes = weights[1:] / scale
    full = np.concatenate([[weights[0] - float(slopes @ mean)], slopes])
    fitted = {
        "anchor_weight": torch.from_numpy(slopes[:, None]),
        "anchor_bias": torch.tensor([full[0]]),
        "anchor_size": torch.from_numpy(_sizes(total.gram, full)),
    }
    network.load_state_dict(fitted, strict=False)


def _sums(network: Forecaster, reader: Reader, *, seed: int) -> NormalEquations:
    """Sum up blocks and origins, one set of equations per lead."""
    pairs = [(block, o) for block in reader.split.windows(TRAIN) for o in reader.origins]
    if len(pairs) > _MOST_BLOCKS * len(reader.origins):
        draw = np.random.default_rng([seed, 3])
        kept = draw.choice(len(pairs), _MOST_BLOCKS * len(reader.origins), replace=False)
        pairs = [pairs[index] for index in np.sort(kept)]
    total: NormalEquations | None = None
    for block, origin in pairs:
        part = _block(network, reader, block, origin)
        total = part if total is None else total + part
    assert total is not None  # a split has training blocks
    return total


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
