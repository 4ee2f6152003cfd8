"""Anchor: the linear forecast that gives the means of a network's distributions.

It is a mixture of no change, a damped trend and a ridge regression (Hoerl & Kennard 1970,
doi:10.1080/00401706.1970.10488634) on all input channels of a network, whose weights past steps
decide (:mod:`hmx.forecast.train.rungs`), and one size for each lead: the ratio of the
change over so many steps to the change over one. Sums over pixels add up, so all of it is fitted
block by block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from hmx.cube.dates import time_label
from hmx.errors import NotEnoughData
from hmx.features.linear import NormalEquations
from hmx.forecast.train.data import Reader
from hmx.forecast.train.rungs import Mixture, Origins
from hmx.hardware import in_threads
from hmx.networks.forecaster import CHANGE, Forecaster
from hmx.networks.inputs import NetworkInputs
from hmx.networks.stream.graph import SCALARS
from hmx.splits import TRAIN
from hmx.windows import Window

_MAX_BLOCKS = 200  # times origins; more blocks change nothing
_FEW_BLOCKS = 40  # times origins, for a look at how well steps are foreseen
_TOGETHER = 16  # pairs of block and origin between two sums


@dataclass(frozen=True)
class AnchorFit:
    """The mixture of an anchor and what it rests on.

    ``held`` is True if the network's means stay at the anchor: with one origin nothing can show
    that the network does better.
    """

    mixture: Mixture
    damping: float
    origins: tuple[str, ...]
    held: bool

    @property
    def trust(self) -> float:
        """How far totals may move the means: not at all where means are held."""
        return 0.0 if self.held else self.mixture.trust

    def facts(self) -> dict[str, Any]:
        """Return JSON values for a bundle."""
        mixture = self.mixture
        return {
            "fitted": mixture.total > 0,
            "held": self.held,
            "trend": mixture.trend,
            "regression": mixture.regression,
            "damping": self.damping,
            "trust": mixture.trust,
            "gains": dict(zip(self.origins, mixture.gains, strict=False)),
        }


def fit_anchor(network: Forecaster, reader: Reader, *, seed: int) -> AnchorFit | None:
    """Fit a network's anchor to the training blocks, in place; ``None`` without an anchor."""
    if not network.anchored:
        return None
    found = sums_by_origin(network, reader, seed=seed)
    sums = {at: one for at, one in found.items() if one.gram[0, 0, 0]}  # those with a truth
    if not sums:
        raise NotEnoughData(
            "no training pixel is known at a step with a whole history before it and at the step "
            "after it. Train with history=2, or on more complete maps."
        )
    origins = Origins([*sums.values()], **channels_of_change(reader))
    mixture = origins.mixture()
    labels = tuple(time_label(reader.cube.data["time"].values[at]) for at in sums)
    held = len(origins) == 1 or not mixture.total
    if held:
        network.hold_means()
    if not mixture.total:
        return AnchorFit(mixture, 0.0, labels, held)
    rungs = origins.rungs()
    mixed = rungs.mixed(mixture)
    full = mixed * origins.factors(origins.latest, rungs.usual)
    fitted = {
        "anchor_weight": torch.from_numpy(full[1:, None]),
        "anchor_bias": torch.tensor([full[0]]),
        "anchor_size": torch.from_numpy(origins.lead_sizes(mixture)),
    }
    network.load_state_dict(fitted, strict=False)
    # in training, each origin has the size of the step before it
    before = dict(zip(sums, origins.before, strict=True))
    sizes = [before.get(at, origins.latest) for at in reader.origins]
    network.set_paces([mixed * origins.factors(float(size), rungs.usual) for size in sizes])
    return AnchorFit(mixture, rungs.damping, labels, held)


def foreseen(reader: Reader, *, seed: int) -> float:
    """Return the least share of a past step's squared change that the others' anchor foresees.

    It is 0 with fewer than two origins. A few blocks of each origin are enough for it.
    """
    network = Forecaster.of(reader.spec, reader.scaler)
    if not network.anchored:
        return 0.0
    found = sums_by_origin(network, reader, seed=seed, most=_FEW_BLOCKS).values()
    sums = [one for one in found if one.gram[0, 0, 0]]
    if len(sums) < 2:
        return 0.0
    return min(Origins(sums, **channels_of_change(reader)).mixture().gains, default=0.0)


def channels_of_change(reader: Reader) -> dict[str, Any]:
    """Find the channels in units of change among those of :meth:`Forecaster.linear`."""
    spec = reader.spec
    frame = np.zeros(SCALARS + spec.channels[0], bool)
    frame[CHANGE] = True
    context = ["_change_mean_", "_abschange_mean_", "_abschange_max_"]
    static = [any(part in name for part in context) for name in spec.static_names()]
    known = [False] * (spec.h * spec.channels[2])
    history = spec.network.past_steps
    changes = np.concatenate([np.tile(frame, history), static, known]).astype(bool)
    return {"last_change": (history - 1) * len(frame) + CHANGE, "changes": changes}


def sums_by_origin(
    network: Forecaster, reader: Reader, *, seed: int, most: int | None = None
) -> dict[int, NormalEquations]:
    """Sum up the training blocks of each origin, one set of equations per lead."""
    pairs = [(block, o) for block in reader.split.windows(TRAIN) for o in reader.origins]
    most = _MAX_BLOCKS if most is None else most
    if len(pairs) > most * len(reader.origins):
        # the 3 makes this draw independent of those that use the same seed with a role, 1 or 2
        draw = np.random.default_rng([seed, 3])
        kept = draw.choice(len(pairs), most * len(reader.origins), replace=False)
        pairs = [pairs[index] for index in np.sort(kept)]
    # a field is derived for each origin, and only some are kept: those of an origin first
    pairs.sort(key=lambda pair: pair[1])
    totals: dict[int, NormalEquations] = {}
    for start in range(0, len(pairs), _TOGETHER):
        some = pairs[start : start + _TOGETHER]
        parts = in_threads(partial(_sums_of, network, reader), some)
        for (_, origin), part in zip(some, parts, strict=True):
            totals[origin] = totals[origin] + part if origin in totals else part
    return dict(sorted(totals.items()))


def _sums_of(network: Forecaster, reader: Reader, pair: tuple[Window, int]) -> NormalEquations:
    """Sum up a training block at an origin."""
    block, origin = pair
    inputs, truth = reader.fields.cut(block, origin)
    with torch.inference_mode():
        seen = NetworkInputs(*(torch.from_numpy(part.copy())[None] for part in inputs.tensors()))
        linear = network.linear(seen)[0].numpy().astype("float64")
    known = (inputs.valid[-1] > 0) & (reader.split.roles(block) == TRAIN)
    change = np.where(known, truth - inputs.past[-1], np.nan) / reader.scaler.change[0]
    return NormalEquations.of(linear, change.astype("float64"))
